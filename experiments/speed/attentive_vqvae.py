"""Times a training step of the Attentive VQ-VAE: ``python experiments/speed/attentive_vqvae.py``.

Per variant: seconds per step (updates of generator and discriminator), the share of this machine's matrix-multiply rate
reached, the share of attention and quantizers in the step, and the effect of channels_last. Torch counts the operations of
the whole step, including backward passes.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from typing import Literal

import torch
from timing import seconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attnae.papers.attentive_vqvae import AttentiveVQVAE, PatchDiscriminator
from attnae.papers.attentive_vqvae.blocks import PixelAttention
from attnae.papers.attentive_vqvae.quantizer import Quantizer

VARIANTS: dict[str, tuple[int, Literal["none", "pixel"]]] = {
    "vqvae": (1, "none"),
    "h": (2, "none"),
    "ah": (2, "pixel"),
    "a": (1, "pixel"),
}


class Parts:
    """Inputs of the attention and quantizer modules in a forward pass, to time the modules separately."""

    def __init__(self, net: nn.Module):
        self.seen: list[tuple[nn.Module, Tensor]] = []
        kinds = (PixelAttention, Quantizer)
        self.hooks = [m.register_forward_pre_hook(self._note) for m in net.modules() if isinstance(m, kinds)]

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen.append((module, inputs[0].detach().requires_grad_()))

    def close(self) -> None:
        """Stops recording."""
        for hook in self.hooks:
            hook.remove()

    def run(self) -> None:
        """Runs the forward and backward pass of all modules."""
        for module, features in self.seen:
            made = module(features)
            (made if isinstance(made, Tensor) else made.latents.sum() + made.loss).sum().backward()


def step_of(net: AttentiveVQVAE, opponent: PatchDiscriminator, images: Tensor) -> Callable[[], None]:
    """Returns a training step as in the task, without logging."""
    adam = torch.optim.Adam(net.parameters(), 2e-4), torch.optim.Adam(opponent.parameters(), 2e-4)

    def step() -> None:
        opponent.requires_grad_(False)
        output = net.forward_with_codes(images)
        made = opponent(torch.cat([images, output.reconstruction])).chunk(2)[1]
        adam[0].zero_grad()
        ((output.reconstruction - images).abs().mean() + output.loss - 0.02 * made.mean()).backward()
        adam[0].step()
        opponent.requires_grad_(True)
        real, made = opponent(torch.cat([images, output.reconstruction.detach()])).chunk(2)
        adam[1].zero_grad()
        ((1 - real).relu().mean() + (1 + made).relu().mean()).backward()
        adam[1].step()

    return step


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="A training step of the Attentive VQ-VAE on this machine's CPU.")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--width", type=int, default=128, help="channels; latents have twice as many")
    parser.add_argument("--batch", type=int, default=16, help="images per batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--repeats", type=int, default=3, help="number of timed steps")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    rate = 2 * 2048**3 / seconds(lambda: left @ right, 9)
    print(
        f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}, {arguments.size}x{arguments.size}, "
        f"width {arguments.width}, batch {arguments.batch}, fp32\nmatrix product 2048 x 2048: {rate / 1e9:.0f} GFLOP/s\n"
    )
    print(f"{'':8}{'step':>10}{'images/s':>10}{'of matmul rate':>16}{'attention, VQ':>15}{'contiguous':>12}")
    for name in arguments.variants:
        levels, attention = VARIANTS[name]
        times = {}
        for layout in (torch.channels_last, torch.contiguous_format):
            net = AttentiveVQVAE(levels, attention, width=arguments.width, latent=2 * arguments.width)
            opponent = PatchDiscriminator(arguments.width)
            images = torch.rand(arguments.batch, 3, arguments.size, arguments.size).contiguous(memory_format=layout)
            step = step_of(net.to(memory_format=layout), opponent.to(memory_format=layout), images)
            with FlopCounterMode(display=False) as counter:
                step()
            times[layout] = seconds(step, arguments.repeats)
            if layout is torch.channels_last:
                parts = Parts(net)
                net.forward_with_codes(images)
                parts.close()
                extra = seconds(parts.run, arguments.repeats)
        whole, plain = times[torch.channels_last], times[torch.contiguous_format]
        reached = counter.get_total_flops() / whole / rate
        speed = arguments.batch / whole
        print(f"{name:8}{whole:>8.2f} s{speed:>10.1f}{reached:>16.0%}{extra / whole:>15.1%}{plain / whole:>11.2f}x")


if __name__ == "__main__":
    main()

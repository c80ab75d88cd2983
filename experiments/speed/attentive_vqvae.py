"""Times a training step of the Attentive VQ-VAE: ``python experiments/speed/attentive_vqvae.py``.

Per variant: seconds per step (updates of generator and discriminator), the share of this machine's matrix-multiply rate
reached, the share of attention and quantizers in the step, and the effect of channels_last. Torch counts the operations of
the whole step, including backward passes. The last column is the time that an epoch of 128 images takes beyond its steps.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from typing import Literal

import torch
from timing import PRODUCT, add_precisions, autocast, epoch_overhead, product, rounded, seconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attnae.data import CelebAHQDataModule
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask, PatchDiscriminator
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


def step_of(net: AttentiveVQVAE, opponent: PatchDiscriminator, images: Tensor, precision: str) -> Callable[[], object]:
    """Returns a training step as in the task, without logging."""
    adam = torch.optim.Adam(net.parameters(), 2e-4), torch.optim.Adam(opponent.parameters(), 2e-4)

    def step() -> None:
        with autocast(precision):  # the backward passes, too, as Lightning does under manual optimization
            opponent.requires_grad_(False)
            output = net.forward_with_codes(images)
            reconstruction = output.reconstruction.float()
            made = opponent(torch.cat([images, reconstruction])).chunk(2)[1].float()
            adam[0].zero_grad()
            ((reconstruction - images).abs().mean() + output.loss - 0.02 * made.mean()).backward()
            adam[0].step()
            opponent.requires_grad_(True)
            real, made = opponent(torch.cat([images, reconstruction.detach()])).float().chunk(2)
            adam[1].zero_grad()
            ((1 - real).relu().mean() + (1 + made).relu().mean()).backward()
            adam[1].step()

    return rounded(step, precision)


def overhead(name: str, size: int, width: int, batch: int, precision: str) -> float:
    """Overhead of an epoch of 128 procedural faces."""
    levels, attention = VARIANTS[name]
    task = AttentiveVQVAETask(
        AttentiveVQVAE(levels, attention, width=width, latent=2 * width), PatchDiscriminator(width)
    )
    return epoch_overhead(task, CelebAHQDataModule(image_size=size, batch_size=batch, train_images=128), precision)


def times(name: str, precision: str, arguments: argparse.Namespace) -> tuple[float, float, float, int]:
    """Seconds of a step, of one without channels_last, and of attention and quantizers; operations of a step."""
    levels, attention = VARIANTS[name]
    taken = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        net = AttentiveVQVAE(levels, attention, width=arguments.width, latent=2 * arguments.width)
        opponent = PatchDiscriminator(arguments.width)
        images = torch.rand(arguments.batch, 3, arguments.size, arguments.size).contiguous(memory_format=layout)
        step = step_of(net.to(memory_format=layout), opponent.to(memory_format=layout), images, precision)
        with FlopCounterMode(display=False) as counter:
            step()
        taken[layout] = seconds(step, arguments.repeats)
    parts = Parts(net)
    with autocast(precision):
        rounded(lambda: net.forward_with_codes(images), precision)()
        parts.close()
        extra = seconds(rounded(parts.run, precision), arguments.repeats)
    return taken[torch.channels_last], taken[torch.contiguous_format], extra, counter.get_total_flops()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="A training step of the Attentive VQ-VAE on this machine's CPU.")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--width", type=int, default=128, help="channels; latents have twice as many")
    parser.add_argument("--batch", type=int, default=16, help="images per batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--repeats", type=int, default=3, help="number of timed steps")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    add_precisions(parser)
    arguments = parser.parse_args()
    arguments.precisions.sort(reverse=True)  # fp32 first: the others are compared with it
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}, {arguments.size}x{arguments.size}, "
        f"width {arguments.width}, batch {arguments.batch}"
    )
    rates = {}
    for each in arguments.precisions:
        rates[each] = PRODUCT / seconds(product(each), 9)
        print(f"matrix product 2048 x 2048, {each}: {rates[each] / 1e9:.0f} GFLOP/s")
    print(
        f"\n{'':8}{'precision':>10}{'step':>10}{'vs fp32':>9}{'images/s':>10}{'of matmul rate':>16}{'attention, VQ':>15}"
        f"{'contiguous':>12}{'overhead':>10}"
    )
    for name in arguments.variants:
        single = None
        for each in arguments.precisions:
            whole, plain, extra, operations = times(name, each, arguments)
            single = whole if each == "fp32" else single
            cells = (
                f"{whole:.2f} s",
                f"{single / whole:.2f}x" if single else "-",
                f"{arguments.batch / whole:.1f}",
                f"{operations / whole / rates[each]:.0%}",
                f"{extra / whole:.1%}",
                f"{plain / whole:.2f}x",
                f"{overhead(name, arguments.size, arguments.width, arguments.batch, each):.1%}",
            )
            widths = (10, 9, 10, 16, 15, 12, 10)
            print(f"{name:8}{each:>10}" + "".join(map(str.rjust, cells, widths)), flush=True)


if __name__ == "__main__":
    main()

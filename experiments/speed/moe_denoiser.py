"""Compares the speed of the MoE denoiser with the released algorithm: ``python experiments/speed/moe_denoiser.py``.

The reference below is a plain implementation of that algorithm: each query selects its k largest scores and gathers its k
value rows from a tensor expanded to N x N x d, and the experts run one by one. Its parameters have the names of the released
weights, so ``MoEDenoiser.from_released_weights`` can read its ``state_dict()``.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
import torch.nn.functional as F
from timing import PRODUCT, add_precisions, autocast, epoch_overhead, product, rounded
from torch import Tensor, nn

from attnae.papers.moe_denoiser import MoEDenoiser

FORWARD_FLOP = 86e6
"""Multiplications and additions in the forward pass of a 32x32 image; a training step counts as three."""


class ReleasedExpert(nn.Module):
    """Attention with one budget: tokens (B, N, width) -> (B, N, width)."""

    def __init__(self, width: int, heads: int, k: int):
        super().__init__()
        self.heads, self.k = heads, k
        self.W_q, self.W_k, self.W_v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.W_out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        batch, count, width = tokens.shape
        size = width // self.heads
        query, key, value = (
            layer(tokens).view(batch, count, self.heads, size).transpose(1, 2)
            for layer in (self.W_q, self.W_k, self.W_v)
        )
        scores = query @ key.transpose(-2, -1) / size**0.5  # (B, heads, N, N)
        top, index = scores.topk(min(self.k, count), dim=-1)  # (B, heads, N, k)
        expanded = value.unsqueeze(2).expand(-1, -1, count, -1, -1)  # (B, heads, N, N, d)
        gathered = expanded.gather(3, index.unsqueeze(-1).expand(-1, -1, -1, -1, size))  # (B, heads, N, k, d)
        attended = (top.softmax(-1).unsqueeze(-1) * gathered).sum(3)  # (B, heads, N, d)
        output: Tensor = self.W_out(attended.transpose(1, 2).reshape(batch, count, width))
        return output


class ReleasedRouter(nn.Module):
    """Probabilities of the experts per token: (B, N, width) -> (B, N, E)."""

    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        self.routing_net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, experts))

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        probabilities: Tensor = self.routing_net(tokens).softmax(-1)
        return probabilities


class ReleasedMoE(nn.Module):
    """All experts on every token, weighted by the router and merged."""

    def __init__(self, width: int, heads: int, budgets: Sequence[int], router_hidden: int):
        super().__init__()
        self.router = ReleasedRouter(width, router_hidden, len(budgets))
        self.experts = nn.ModuleList(ReleasedExpert(width, heads, k) for k in budgets)
        self.merge_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        probabilities = self.router(tokens)
        outputs = torch.stack([expert(tokens) for expert in self.experts], dim=-2)  # (B, N, E, width)
        merged: Tensor = self.merge_proj((outputs * probabilities.unsqueeze(-1)).sum(-2))
        return merged


class ReleasedBlock(nn.Module):
    """Pre-norm block: tokens (B, N, width) -> tokens."""

    def __init__(self, width: int, heads: int, budgets: Sequence[int], router_hidden: int, feedforward: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = ReleasedMoE(width, heads, budgets, router_hidden)
        self.ffn = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        tokens = tokens + self.attn(self.norm1(tokens))
        output: Tensor = tokens + self.ffn(self.norm2(tokens))
        return output


class ReleasedMoEDenoiser(nn.Module):
    """The reference: images (B, 3, H, W) in [0, 1] -> images in [0, 1]. Arguments as in ``MoEDenoiser``."""

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 4,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        budgets: Sequence[int] = (32, 64, 128),
        router_hidden: int = 64,
        feedforward: int = 256,
    ):
        super().__init__()
        self.grid = image_size // patch_size
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, self.grid**2, width))
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(
            ReleasedBlock(width, heads, budgets, router_hidden, feedforward) for _ in range(depth)
        )
        self.patch_unembed = nn.ConvTranspose2d(width, 3, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Applies the module."""
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed  # (B, N, width)
        for block in self.blocks:
            tokens = block(tokens)
        grid = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))  # (B, width, H / p, W / p)
        output: Tensor = self.patch_unembed(grid).clamp(0, 1)
        return output


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def overhead(batch: int, precision: str) -> float:
    """Overhead of an epoch of 3,200 images."""
    from attnae.data import CIFAR10DataModule, GaussianNoise
    from attnae.papers.moe_denoiser import MoEDenoiserTask

    class Few(CIFAR10DataModule):
        embedded_counts = (4000, 64)  # 80% are training images

    return epoch_overhead(
        MoEDenoiserTask(MoEDenoiser(clamp="eval")), Few(GaussianNoise(0.2), batch_size=batch), precision
    )


def metric_seconds(images: int = 10_000) -> float:
    """Seconds to compute PSNR and SSIM of 32x32 images in batches of 256."""
    from attnae.metrics.functional import psnr, ssim_uniform

    clean = torch.rand(images, 3, 32, 32)
    noisy = (clean + 0.1 * torch.randn_like(clean)).clamp(0, 1)

    def run() -> None:
        for output, target in zip(noisy.split(256), clean.split(256), strict=True):
            psnr(output, target), ssim_uniform(output, target)

    return seconds(run)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="MoE denoiser against the released algorithm, on this machine's CPU.")
    parser.add_argument("--batch", type=int, default=64, help="images per batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--repeats", type=int, default=5, help="number of rounds; each times everything at least once")
    add_precisions(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    clean = torch.rand(arguments.batch, 3, 32, 32)
    noisy = (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1)

    def inference(net: nn.Module, precision: str = "fp32") -> Callable[[], object]:
        @torch.no_grad()
        def run() -> None:
            with autocast(precision):
                net.eval()(noisy)

        return rounded(run, precision)

    def training(net: nn.Module, precision: str = "fp32") -> Callable[[], object]:
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

        def run() -> None:
            optimizer.zero_grad()
            with autocast(precision):
                loss = F.mse_loss(net.train()(noisy).float(), clean)
            loss.backward()
            optimizer.step()

        return rounded(run, precision)

    ours, released = MoEDenoiser(), ReleasedMoEDenoiser()
    kinds = {"inference": (inference, 1), "training step": (training, 3)}
    actions = {("matmul", each): product(each) for each in arguments.precisions}
    for kind, (build, _) in kinds.items():
        actions[kind, "released"] = build(released)
        actions |= {(kind, each): build(ours, each) for each in arguments.precisions}
    for action in actions.values():
        action()  # warm up
    times: dict[tuple[str, str], list[float]] = {name: [] for name in actions}
    for _ in range(arguments.repeats):  # interleaved, so other load on the machine affects all of them
        for name, action in actions.items():
            times[name] += [seconds(action) for _ in range(1 if "released" in name else 5)]
    typical = {name: median(values) for name, values in times.items()}

    print(f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}, batch {arguments.batch}")
    rates = {each: PRODUCT / typical["matmul", each] for each in arguments.precisions}
    for each, rate in rates.items():
        print(f"matrix product 2048 x 2048, {each}: {rate / 1e9:.0f} GFLOP/s")
    print(
        f"\n{'':15}{'released':>12}{'precision':>11}{'ours':>12}{'vs released':>13}{'vs fp32':>9}{'of matmul rate':>16}"
    )
    for kind, (_, passes) in kinds.items():
        slow = typical[kind, "released"]
        for each, rate in rates.items():
            fast, used = typical[kind, each], passes * FORWARD_FLOP * arguments.batch / typical[kind, each] / rate
            gain = f"{typical[kind, 'fp32'] / fast:.1f}x" if "fp32" in rates else "-"
            print(
                f"{kind:15}{slow * 1e3:>9.0f} ms{each:>11}{fast * 1e3:>9.1f} ms{slow / fast:>12.1f}x{gain:>9}{used:>16.0%}"
            )
    print()
    for each in arguments.precisions:
        print(f"epoch of 3,200 images, {each}: {overhead(arguments.batch, each):.1%} of the steps' time is added to it")
    print(f"PSNR and SSIM of 10,000 images: {metric_seconds():.1f} s")


if __name__ == "__main__":
    main()

"""Compares the speed of the MoE denoiser with the released algorithm: ``python experiments/speed/moe_denoiser.py``.

The algorithm is in ``released_moe.py``; it computes in fp32, ours in each precision.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from released_moe import ReleasedMoEDenoiser
from timing import PRODUCT, add_precisions, autocast, epoch_overhead, product, rounded
from torch import nn

from attnae.papers.moe_denoiser import MoEDenoiser

FORWARD_FLOP = 86e6
"""Multiplications and additions in the forward pass of a 32x32 image; a training step counts as three."""


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

    data = Few(GaussianNoise(0.2), batch_size=batch)
    return epoch_overhead(MoEDenoiserTask(MoEDenoiser(clamp="eval")), data, precision, clip=1.0)


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

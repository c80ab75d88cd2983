"""Measures the cost of top-k attention over image size: ``python experiments/speed/moe_scaling.py``.

Paper: Adaptive Sparse Attention MoE denoiser, "29% of the FLOPs of full attention at 64x64". That figure counts N x k
products of one average expert. We: operations counted by torch, time and memory of forward passes and training steps, for the
mixture, the same mixture without top-k, and one full attention per block.

Each measurement runs in a separate process, to separate the memory peaks. ``--out`` writes the output as a report with a
figure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import seconds
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attnae.papers.moe_denoiser import MoEDenoiser

BUDGETS = (32, 64, 128)
MODELS: dict[str, tuple[int | None, ...]] = {
    "dense": (None,),
    "3 dense experts": (None, None, None),
    "MoE": BUDGETS,
}
"""Budgets of each model's experts: the baseline, the mixture without top-k, the paper's mixture."""

WIDTH, PATCH = 128, 4


@dataclass(frozen=True)
class Cost:
    """Cost per image.

    Attributes:
        attention_mflop: Both matrix products of attention in one block (scores, and weights times values).
        mflop: Operations of the forward pass.
        forward_ms: Milliseconds of the forward pass in evaluation mode.
        step_ms: Milliseconds of the forward and backward pass in training mode.
        memory_mb: Increase of the process's peak memory by the training step, for the whole batch.
    """

    attention_mflop: float
    mflop: float
    forward_ms: float
    step_ms: float
    memory_mb: float


def estimate(size: int, budgets: tuple[int | None, ...]) -> float:
    """The paper's estimate: N x k products of one average expert, 10^6 operations; k = 128 of 64 tokens counts as 128."""
    tokens = (size // PATCH) ** 2
    return sum(2 * tokens * (k or tokens) * WIDTH for k in budgets) / len(budgets) / 1e6


def measure(budgets: tuple[int | None, ...], size: int, batch: int, repeats: int, threads: int) -> Cost:
    """Runs the model. Must run in a separate process for a meaningful memory peak."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = MoEDenoiser(image_size=size, patch_size=PATCH, width=WIDTH, budgets=budgets, clamp="eval")
    images = torch.rand(batch, 3, size, size)

    def forward() -> None:
        with torch.no_grad():
            net.eval()(images)

    def step() -> None:
        net.zero_grad()
        F.mse_loss(net.train()(images), images).backward()

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        net.train()(images[:1])  # the fused attention of evaluation is not counted
    products = sum(count for op, count in counter.get_flop_counts()["Global"].items() if str(op) == "aten.bmm")
    before = _peak_mb()
    step_ms = 1e3 * seconds(step, repeats) / batch
    memory = _peak_mb() - before
    return Cost(
        products / len(net.blocks) / 1e6,
        counter.get_total_flops() / 1e6,
        1e3 * seconds(forward, repeats) / batch,
        step_ms,
        memory,
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(costs: dict[tuple[str, int], Cost], sizes: list[int], setting: str) -> str:
    """Formats the results as Markdown."""
    lines = [
        "# MoE denoising, scaling: cost of top-k attention over image size",
        "",
        f"Measured by `python experiments/speed/moe_scaling.py`: {setting}. Width {WIDTH}, patches of {PATCH}x{PATCH},",
        f"experts of {', '.join(map(str, BUDGETS))} keys; random images, fp32.",
        "Times and operations per image; in parentheses, relative to dense.",
        "",
        "| image | tokens | model | attention, paper's estimate [MFLOP] | counted [MFLOP] | forward [MFLOP] "
        "| forward [ms] | training step [ms] | step memory [MB] |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sizes:
        base, base_estimate = costs["dense", size], estimate(size, MODELS["dense"])
        for name, budgets in MODELS.items():
            cost = costs[name, size]
            cells = [
                _relative(estimate(size, budgets), base_estimate, ".2f"),
                _relative(cost.attention_mflop, base.attention_mflop, ".2f"),
                _relative(cost.mflop, base.mflop, ".0f"),
                _relative(cost.forward_ms, base.forward_ms, ".2f"),
                _relative(cost.step_ms, base.step_ms, ".1f"),
                _relative(cost.memory_mb, base.memory_mb, ".0f"),
            ]
            lines.append(f"| {size}x{size} | {(size // PATCH) ** 2} | {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "The estimate counts one of the two matrix products of attention, so its figures for dense are half of those counted.",
        "",
        "![Milliseconds of a training step over image size](scaling.png)",
        "",
    ]
    return "\n".join(lines)


def _relative(value: float, base: float, digits: str) -> str:
    return f"{value:{digits}} ({value / base:.0%})" if base else f"{value:{digits}}"


def draw(costs: dict[tuple[str, int], Cost], sizes: list[int], path: Path) -> None:
    """Plots time and memory of a training step over image size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in MODELS:
        left.plot(sizes, [costs[name, size].step_ms for size in sizes], marker="o", label=name)
        right.plot(sizes, [costs[name, size].memory_mb for size in sizes], marker="o", label=name)
    for axes, label in ((left, "training step [ms per image]"), (right, "step memory [MB]")):
        axes.set(xscale="log", yscale="log", xlabel="image size [pixels]", ylabel=label)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description="Cost of top-k attention over image size, on this machine's CPU.")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[32, 64, 128], help="image sizes in pixels, multiples of 4"
    )
    parser.add_argument("--batch", type=int, default=8, help="images per batch")
    parser.add_argument("--repeats", type=int, default=7, help="number of timed calls")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--out", type=Path, help="folder for README.md and scaling.png; default: print only")
    arguments = parser.parse_args()
    if any(size < PATCH or size % PATCH for size in arguments.sizes) or min(arguments.batch, arguments.repeats) < 1:
        parser.error(f"sizes must be multiples of {PATCH}, batch and repeats at least 1")
    costs = {}
    for size in arguments.sizes:
        for name, budgets in MODELS.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                costs[name, size] = pool.apply(
                    measure, (budgets, size, arguments.batch, arguments.repeats, arguments.threads)
                )
    setting = f"{platform.machine()}, {arguments.threads} thread(s), torch {torch.__version__}, batch {arguments.batch}"
    text = page(costs, arguments.sizes, setting)
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "README.md").write_text(text, encoding="utf-8")
        draw(costs, arguments.sizes, arguments.out / "scaling.png")


if __name__ == "__main__":
    main()

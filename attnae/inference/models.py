"""``attnae models``: lists the trained models that ship with the package. Does not import torch."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from attnae.inference.folders import Stored, data_license, describe, shipped_models
from attnae.paths import shown
from attnae.result import Result

TASKS = {"noise": "denoise", "mask": "fill in", "": "reconstruct"}

MEASURES = {"psnr_mean": "PSNR {:.2f} dB", "ssim_mean": "SSIM {:.4f}"}
"""Listed metrics and their formats."""


def models(options: argparse.Namespace) -> int:
    """Runs the command; returns 0.

    Raises:
        UserError: A shipped model is damaged.
    """
    found = shipped_models()
    if not found:
        print("No models are shipped with this installation.")
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for heading in ("model", "task", "held-out images", "size", "license of the data"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "model")
    for name, folder in found.items():
        stored = describe(folder)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        table.add_row(name, task(stored), numbers(stored), f"{size:.2f} MB", data_license(stored.origin))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table, markup=False)
    first = next(iter(found))
    print(f"Next: attnae apply {first} photos/ -o out, or attnae.load({first!r}) in Python.")
    print(f"Model cards: {shown(found[first].parent)}/*/README.md")
    return 0


def task(stored: Stored) -> str:
    """Task and image size of a model."""
    return f"{TASKS.get(stored.corruption or '', 'restore')}, {stored.config.get('image_size')}x{stored.config.get('image_size')}"


def numbers(stored: Stored) -> str:
    """PSNR and SSIM on held-out images, one protocol per line."""
    origin = stored.origin
    if not isinstance(origin, Result):
        return "not measured"
    lines = [f"{origin.data.get('test', '?')} images of {origin.data.get('title', 'unknown images')}"]
    for protocol in sorted({key.partition("/")[0] for key in origin.metrics}):
        if protocol.startswith("heldout"):
            values = {name: origin.metrics.get(f"{protocol}/{name}") for name in MEASURES}
            told = [MEASURES[name].format(value) for name, value in values.items() if value is not None]
            lines.append(f"{protocol}: {', '.join(told)}")
    return "\n".join(lines)

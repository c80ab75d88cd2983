"""What ``attnae apply`` reports: a table, ``metrics.csv``, or JSON, and a warning where a result is worse than its input."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnae.inference.terminal import show_table

MEASURES = ("psnr_input", "ssim_input", "psnr", "ssim", "psnr_hole", "psnr_outside")
"""PSNR in dB and SSIM of the input and of the saved result against the truth, and for models that fill in the PSNR
inside the hole and the PSNR of the network's own output outside it, which the saved result does not show."""

COLUMNS = ("image", "pixels", *MEASURES, "seconds", "file")

NAMED = 5
"""A warning names no more images than this."""

Row = Mapping[str, Any]


def is_worse(row: Row) -> bool | None:
    """Whether a result has a lower PSNR than its input, to two digits; ``None`` where one of them is not known."""
    if row["psnr"] is None or row["psnr_input"] is None:
        return None
    return round(row["psnr"], 2) < round(row["psnr_input"], 2)


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Mean over the images of each measure that all of them have."""
    return {
        name: sum(row[name] for row in rows) / len(rows)
        for name in MEASURES
        if rows and all(row[name] is not None for row in rows)
    }


def warning(rows: Sequence[Row], trained: str) -> str:
    """One line that names the images whose result is worse than the input; empty if there are none.

    Args:
        rows: One for each image.
        trained: What the model was trained on.
    """
    names = [Path(row["image"]).name for row in rows if is_worse(row)]
    if not names:
        return ""
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    verb = "result has" if len(names) == 1 else "results have"
    return f"Warning: {len(names)} of {len(rows)} {verb} a lower PSNR than the input: {shown}. {trained}"


def as_csv(rows: Sequence[Row]) -> str:
    """The text of ``metrics.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(title: str, folder: Path, rows: Sequence[Row], conversions: Counter[str], skipped: Sequence[str]) -> str:
    """One JSON object: the numbers of each image, their means, and what was converted or left out."""
    worse = [is_worse(row) for row in rows]
    numbers = {
        "model": title,
        "folder": str(folder),
        "images": [{**row, "worse_than_input": flag} for row, flag in zip(rows, worse, strict=True)],
        "means": {"count": len(rows), **means(rows)},
        "worse_than_input": worse.count(True),
        "conversions": dict(sorted(conversions.items())),
        "skipped": list(skipped),
    }
    return json.dumps(numbers, indent=2, allow_nan=False)


def show(rows: Sequence[Row]) -> None:
    """Prints a table of the results, with a line of means if there are several; paths and seconds are in metrics.csv."""
    shown = [name for name in ("file", "pixels", *MEASURES) if any(row[name] is not None for row in rows)]
    lines = [{**row, "": "worse" if is_worse(row) else ""} for row in rows]
    average = means(rows)
    if len(rows) > 1 and average:
        lines.append({"file": f"mean of {len(rows)}", **average, "": ""})
    if any(line[""] for line in lines):
        shown.append("")
    show_table(shown, lines)

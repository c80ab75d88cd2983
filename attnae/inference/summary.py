"""Output of ``attnae apply``: a table, ``metrics.csv`` or JSON, and a warning if a result is worse than its input."""

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
"""PSNR in dB and SSIM of the input and of the saved result against the ground truth. For inpainting models also the PSNR
inside the hole, and that of the network's own output outside it, which is not part of the saved result; missing where a mask
drawn as in training hides nothing or everything."""

COLUMNS = ("image", "pixels", *MEASURES, "seconds", "file")

NAMED = 5
"""Maximum number of images named in a warning."""

Row = Mapping[str, Any]


def is_worse(row: Row) -> bool | None:
    """Whether a result has a lower PSNR than its input, to two decimal places; ``None`` if one of them is unknown."""
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
        rows: One row per image.
        trained: Description of the training data.
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
    """One JSON object: the metrics of each image, their means, and the converted and skipped images."""
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

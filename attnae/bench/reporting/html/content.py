"""The content of an HTML report as plain data, for the template and its script."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnae.bench.markdown import plain, unmarked
from attnae.bench.reporting import answer, figures
from attnae.bench.reporting.cells import cell, kind_of, named, unit_heading
from attnae.bench.reporting.conditions import counting
from attnae.bench.reporting.material import Folders, Report
from attnae.bench.reporting.page import claim_cells, condition
from attnae.bench.reporting.pictures.grid import Pixels, read_strip
from attnae.bench.reporting.pictures.style import Look
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import by_seed, summary
from attnae.bench.reporting.tables import images_note
from attnae.metrics.columns import COSTS, column

IMAGES = 8
"""Maximum number of test images."""

IMAGE_BYTES = 700_000
"""Maximum size of all images as text: the file has at most 6 MB, of which plotly's code takes 4.8 MB."""

DRAWN = ("curves.png", "tradeoff.png")
"""Figures of the Markdown page that are plots here."""

SEEDS = 20
"""Maximum number of seeds per variant with curves."""

SIDES = ("ground truth", "input")

LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
"""A link in Markdown."""


def content(report: Report, folders: Folders) -> dict[str, Any]:
    """Everything that the page shows, as JSON values. Text is not escaped.

    Args:
        report: The report.
        folders: Folders of its results; test images are read from ``images/`` of runs.
    """
    shown = figures.drawn(report)
    return {
        "title": report.benchmark.title,
        "kind": plain(kind_of(report.done)),
        "condition": unmarked(LINK.sub(r"\1", condition(report).removeprefix("> ").replace("\n>\n> ", " "))),
        "reproduces": report.benchmark.reproduces,
        "answer": [plain(sentence) for sentence in answer.sentences(report)],
        "claims": [
            {"claim": f"{one.number}. {one.claim.claim}",
             "cells": [unmarked(cell) for cell in claim_cells(one)[not report.benchmark.reproduces :]]}
            for one in report.judged
        ],
        "failed": [
            {"variant": report.title(one.variant), "seed": one.seed, "reason": one.reason}
            for one in report.results
            if one.status == "failed"
        ],
        "table": _table(report),
        "looks": {name: {"title": look.title, "color": look.color, "dash": DASHES[look.line]}
                  for name, look in shown.items()},
        "curves": _curves(report, shown),
        "tradeoff": _tradeoff(report, shown),
        "images": _images(report, folders, shown),
    }  # fmt: skip


DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}


def _table(report: Report) -> dict[str, Any]:
    """One row per variant: the text of a cell, and the mean to sort by. The leading columns are shown first."""
    leading = [*report.benchmark.leading, *COSTS]
    rows = {name: runs for name, runs in report.rows.items() if runs}
    measured = sorted({key for r in report.done for key in (*r.metrics, *r.efficiency)} - set(leading))
    columns: list[dict[str, Any]] = []
    body: dict[str, list[list[Any]]] = {name: [] for name in rows}
    for key in [*leading, *measured]:
        values = {name: summary(counting(runs, key, report.done), key) for name, runs in rows.items()}
        if not any(values.values()):
            continue
        protocol = f" ({key.rsplit('/', 1)[0]})" if "/" in key else ""
        columns.append({"title": unit_heading(key) + protocol, "shown": key in leading})
        for name, value in values.items():
            text = cell(value, key, most=report.most_seeds).replace("\N{NO-BREAK SPACE}", " ")
            body[name].append([text, value.mean if value else None])
    return {
        "columns": columns,
        "rows": [
            {
                "title": report.title(name) + images_note(report, name, leading[0]),
                "seeds": len(rows[name]),
                "cells": cells,
            }
            for name, cells in body.items()
        ],
    }


def _curves(report: Report, shown: dict[str, Look]) -> list[dict[str, Any]]:
    """The curves of the benchmark file, one line per variant and seed."""
    panels = []
    for spec in report.benchmark.curves:
        lines = []
        for name in shown:
            for r in report.rows[name][:SEEDS]:
                values = [_rounded(y) for y in r.curves.get(spec.key, [])]
                if any(y is not None for y in values):
                    lines.append({"variant": name, "seed": r.seed, "x": r.curves.get("epoch", []), "y": values})
        if lines:
            name = spec.key.split("/")[-1]
            unit = column(name).unit
            panels.append({"title": spec.title, "y": column(name).title + (f" [{unit}]" if unit != "-" else ""),
                           "scale": spec.scale, "lines": lines})  # fmt: skip
    return panels


def _rounded(value: float | None) -> float | None:
    """Six significant digits; ``None`` for what JSON cannot express."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _tradeoff(report: Report, shown: dict[str, Look]) -> dict[str, Any]:
    """Quality with its interval over each cost."""
    keys = [key for key in report.benchmark.leading if column(key).better != "-"]
    keys.sort(key=lambda key: column(key).unit != "dB")  # decibels first, as in the Markdown page
    qualities = []
    for key in keys:
        points = []
        for name in shown:
            found = paired(by_seed(report.rows[name], key), 0.0)
            if found is None:
                continue
            ends = found.interval()
            costs = {}
            for cost in figures.COSTS:
                spent = summary(counting(report.rows[name], cost, report.done), cost)
                costs[figures.axis(cost)] = _rounded(spent.mean) if spent else None
            points.append({"variant": name, "y": _rounded(found.mean), "costs": costs, "seeds": found.n,
                           "error": _rounded(ends[1] - found.mean) if ends else None})  # fmt: skip
        if points:
            qualities.append({"title": named(key), "better": column(key).better, "points": points})
    return {"costs": [figures.axis(cost) for cost in figures.COSTS], "qualities": qualities}


def _images(report: Report, folders: Folders, shown: dict[str, Look]) -> dict[str, Any]:
    """Test images by side (ground truth, input, variants), or the report's figures where the runs' images are gone."""
    strips: dict[str, Pixels] = {}
    for name in shown:
        folder = folders.get((name, report.rows[name][0].seed), Path()) / "images"
        output = read_strip(folder / f"{figures.PROTOCOL}-output.png")
        for side, file in zip(SIDES, ("truth", "input"), strict=True):
            strip = read_strip(folder / f"{figures.PROTOCOL}-{file}.png") if output is not None else None
            if strip is not None:
                strips.setdefault(side, strip)
        if output is not None:
            strips[report.title(name)] = output
    truth = strips.get(SIDES[0])
    order = [*SIDES, *strips]  # ground truth and input first
    strips = {side: strips[side] for side in dict.fromkeys(order) if side in strips and truth is not None
              and strips[side].shape == truth.shape}  # fmt: skip
    if len(strips) > 1 and truth is not None:
        count = min(IMAGES, len(truth))
        while count > 1 and count * len(strips) * truth[0].size > IMAGE_BYTES:
            count -= 1
        return {"sides": {side: [_encoded(one) for one in strip[:count]] for side, strip in strips.items()}}
    kept, left = [], IMAGE_BYTES
    for name in sorted(report.figures, key=lambda name: name != "grid.png"):
        if name in DRAWN:
            continue
        assert report.folder
        with Image.open(report.folder / "figures" / name) as picture:
            source = _webp(picture.convert("RGB"), lossless=False)
        if len(source) <= left:
            kept.append({"name": name.removesuffix(".png"), "source": source})
            left -= len(source)
    return {"figures": kept}


def _encoded(image: Pixels) -> str:
    """An image as a data URI; lossless up to 128 pixels."""
    pixels = np.round(image * 255).astype(np.uint8)
    return _webp(Image.fromarray(pixels), lossless=len(pixels) <= 128)


def _webp(picture: Image.Image, lossless: bool) -> str:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, quality=85)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"

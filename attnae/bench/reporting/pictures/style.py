"""Style of all figures: colors safe for print and color blindness, markers, legends outside the axes, files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnae.files import atomic

WIDTH, DPI = 9.0, 110
"""Inches and dots per inch: a page shows figures 900 pixels wide, close to their native size."""

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
"""Palette of Okabe and Ito without yellow, which is hard to see on white."""

Line = Literal["-", "--", ":", "-."]

MARKERS = "osD^vPX*<>"
LINES: tuple[Line, ...] = ("-", "--", ":", "-.")
SMALL = 8.5
"""Font size in points of legends and annotations."""


@dataclass(frozen=True)
class Look:
    """Style of a variant in all figures of a report.

    Attributes:
        title: Name in legends.
        color: Color.
        marker: Marker, to distinguish variants without color.
        line: Line style.
    """

    title: str
    color: str
    marker: str
    line: Line


def looks(titles: Mapping[str, str]) -> dict[str, Look]:
    """Looks by variant, from the position in the benchmark file, so they do not depend on which variants were run."""
    return {
        name: Look(
            plain(title),
            OKABE_ITO[place % len(OKABE_ITO)],
            MARKERS[place % len(MARKERS)],
            LINES[place // len(OKABE_ITO) % len(LINES)],
        )
        for place, (name, title) in enumerate(titles.items())
    }


def plain(text: str) -> str:
    """Escapes ``$``, which would start a formula in Matplotlib."""
    return text.replace("$", r"\$")


def legend(figure: Figure, shown: Iterable[Look], extra: Iterable[Line2D] = (), **style: Any) -> None:
    """One legend for all axes, below them."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle=look.line, label=look.title, **style)
        for look in shown
    ]
    handles += list(extra)
    columns = 4 if max((len(str(handle.get_label())) for handle in handles), default=0) < 26 else 3
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), frameon=False, fontsize=SMALL
    )


def grid_lines(axes: Axes) -> None:
    """Thin lines behind the data."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG, in :func:`vector_graphics` also as PDF; without metadata, so that equal figures are equal files.

    A PDF that exists is drawn anew, so that it never shows other numbers than the PNG.
    """
    wanted: dict[str, dict[str, None]] = {"png": {"Software": None}}
    if _pdf.get() or path.with_suffix(".pdf").exists():
        wanted["pdf"] = {"Creator": None, "Producer": None, "CreationDate": None}
    for kind, metadata in wanted.items():
        with atomic(path.with_suffix(f".{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.1, metadata=metadata)


@contextmanager
def vector_graphics(wanted: bool) -> Iterator[None]:
    """Figures that are saved inside are also written as PDF, if wanted."""
    token = _pdf.set(wanted)
    try:
        yield
    finally:
        _pdf.reset(token)


_pdf: ContextVar[bool] = ContextVar("pdf", default=False)

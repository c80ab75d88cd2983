"""How all figures look: colors that survive print and color blindness, markers, legends beside the axes, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnae.files import atomic

WIDTH, DPI = 9.0, 110
"""Inches and dots per inch: a page shows a figure 900 pixels wide, at about its own size."""

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
"""Okabe and Ito's palette without yellow, which a white page swallows."""

Line = Literal["-", "--", ":", "-."]

MARKERS = "osD^vPX*<>"
LINES: tuple[Line, ...] = ("-", "--", ":", "-.")
SMALL = 8.5
"""Font size in points of legends and annotations."""


@dataclass(frozen=True)
class Look:
    """How a variant is drawn in every figure of a report.

    Attributes:
        title: Name in legends.
        color: Color.
        marker: Marker, which tells variants apart without color.
        line: Line style.
    """

    title: str
    color: str
    marker: str
    line: Line


def looks(titles: Mapping[str, str]) -> dict[str, Look]:
    """Looks by variant, by the place in the benchmark file: the same in all figures, whichever variants were run."""
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
    """Text that Matplotlib draws as it stands: ``$`` would begin a formula."""
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
    """Saves a figure as PNG, with nothing in it that changes from day to day."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})

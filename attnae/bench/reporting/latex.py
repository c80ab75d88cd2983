"""The leading metrics of a report as a LaTeX table with rules of the package booktabs."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from itertools import accumulate, groupby, pairwise

from attnae.bench.markdown import number, one_line
from attnae.bench.reporting.cells import kind_of, unit_of
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import by_seed, same_images, summary
from attnae.bench.reporting.tables import images_note
from attnae.metrics.columns import column
from attnae.result import Result

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}  # fmt: skip
"""Characters with a meaning in LaTeX, and how to print them."""

ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}


PROTOCOLS = {"heldout": "held-out images", "heldout_sampled": "held-out, sampled", "train_set": "training images"}
"""Short names of protocols, for the heads of tables."""

UNKNOWN = re.compile(
    "[^\x20-\x7e\xa1-\u017e\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u20ac]|[ĦħĸĿŀŉŦŧ]"
)
"""Characters that pdfLaTeX stops at without further packages."""

WIDTH = 13
"""Characters of a line in the head of a column."""


def escape(text: str) -> str:
    r"""Text that stays text in LaTeX. Of letters that pdfLaTeX does not know, only the code point is left.

    Example:
        >>> print(escape("50% of a_b, \u4e2d"))
        50\% of a\_b, [U+4E2D]
    """
    line = UNKNOWN.sub(lambda found: f"[U+{ord(found[0]):04X}]", unicodedata.normalize("NFC", one_line(text)))
    return "".join(SPECIAL.get(letter, letter) for letter in line)


def table(report: Report) -> str:
    r"""A ``table`` with one row per variant, for ``\usepackage{booktabs}`` and ``\usepackage[T1]{fontenc}`` (quotation marks).

    Args:
        report: The report. Without a complete run, the table says so.

    Returns:
        Means and sample standard deviations over seeds. A mean is bold only if it is the best of its column, and the 95%
        intervals (Student's t over shared seeds, not adjusted) of its differences to all other variants exclude 0.
    """
    rows = {name: runs for name, runs in report.rows.items() if runs}
    keys = [key for key in report.benchmark.leading if any(summary(runs, key) for runs in rows.values())]
    protocols = [(protocol, len(list(of))) for protocol, of in groupby(keys, lambda key: key.rpartition("/")[0])]
    heads = ["variant", *map(_heading, keys), "parameters", "seeds"]
    body = [
        [
            _first(escape(report.title(name) + (images_note(report, name, keys[0]) if keys else ""))),
            *(_cell(rows, name, key) for key in keys),
            number(found.mean, 0) if (found := summary(runs, "params_trainable")) else "--",
            str(len(runs)),
        ]
        for name, runs in rows.items()
    ]
    if not body:
        body = [[f"\\multicolumn{{{len(heads)}}}{{c}}{{no complete run}}"]]
    lines = [r"\toprule", *_spans(protocols), f"{' & '.join(heads)} \\\\", r"\midrule"]
    lines += [*(f"{' & '.join(row)} \\\\" for row in body), r"\bottomrule"]
    return "\n".join([
        r"\begin{table}",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        f"  \\caption{{{_caption(report, any('textbf' in cell for row in body for cell in row))}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', f'{report.benchmark.name}-{report.label}')}}}",
        f"  \\begin{{tabular}}{{@{{}}l{'r' * (len(heads) - 1)}@{{}}}}",
        *(f"    {line}" for line in lines),
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _first(text: str) -> str:
    r"""Text at the beginning of a row, where the ``\\\\`` before it would take a bracket or star as its argument."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _caption(report: Report, bold: bool) -> str:
    told = [f"{escape(report.benchmark.title)}: {escape(kind_of(report.done))}."]
    if report.most_seeds > 1:
        told.append(r"Mean $\pm$ standard deviation over seeds.")
    if bold:
        told.append(r"Bold: the 95\% intervals of the differences to all other variants exclude 0.")
    return " ".join(told)


def _spans(protocols: list[tuple[str, int]]) -> list[str]:
    """A line that names the images above their columns; none if all columns are about the same."""
    if len(protocols) < 2:
        return []
    names = [f"\\multicolumn{{{n}}}{{r}}{{{escape(PROTOCOLS.get(name, name))}}}" for name, n in protocols]
    ends = accumulate((n for _, n in protocols), initial=1)
    rules = [f"\\cmidrule(lr){{{first + 1}-{last}}}" for first, last in pairwise(ends)]
    return [f" & {' & '.join(names)} & & \\\\", " ".join(rules)]


def _heading(key: str) -> str:
    """Title, unit and better direction, in several lines if it is wider than its numbers."""
    one, unit = column(key), unit_of(key).strip()
    lines = [escape(line) for line in textwrap.wrap(one.title + (f" [{unit}]" if unit else ""), WIDTH)]
    lines[-1] += ARROWS.get(one.better, "")
    stacked = " \\\\ ".join(lines)
    return stacked if len(lines) == 1 else f"\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{stacked}\\end{{tabular}}"


def _cell(rows: dict[str, list[Result]], name: str, key: str) -> str:
    value, digits = summary(rows[name], key), column(key).digits
    if value is None:
        return "--"
    mean = number(value.mean, digits)
    text = f"\\textbf{{{mean}}}" if _best(rows, name, key) else mean
    text += f" $\\pm$ {number(value.std, digits)}" if value.std is not None else ""
    return text if value.n == len(rows[name]) else f"{text} (n = {value.n})"


def _best(rows: dict[str, list[Result]], name: str, key: str) -> bool:
    """Whether the intervals of the differences to all other variants are on the better side of 0."""
    sign = {"higher": 1, "lower": -1}.get(column(key).better, 0)
    ends = []
    for runs in (runs for other, runs in rows.items() if other != name and by_seed(runs, key)):
        same = same_images(rows[name], runs, key)
        found = paired(by_seed(rows[name], key), by_seed(runs, key)) if same else None
        ends.append(found.interval() if found else None)
    return bool(ends) and all(one is not None and sign * one[0] > 0 and sign * one[1] > 0 for one in ends)

"""The leading metrics of a report as a LaTeX table with rules of the package booktabs."""

from __future__ import annotations

from attnae.bench.markdown import number, one_line
from attnae.bench.reporting.cells import kind_of, unit_of
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import by_seed, summary
from attnae.metrics.columns import column
from attnae.result import Result

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}  # fmt: skip
"""Characters with a meaning in LaTeX, and how to print them."""

ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}


def escape(text: str) -> str:
    r"""Text that stays text in LaTeX.

    Example:
        >>> print(escape("50% of a_b"))
        50\% of a\_b
    """
    return "".join(SPECIAL.get(letter, letter) for letter in one_line(text))


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
    heads = ["variant", *map(_heading, keys), "parameters", "seeds"]
    body = [
        [
            escape(report.title(name)),
            *(_cell(rows, name, key) for key in keys),
            number(found.mean, 0) if (found := summary(runs, "params_trainable")) else "--",
            str(len(runs)),
        ]
        for name, runs in rows.items()
    ]
    if not body:
        body = [[f"\\multicolumn{{{len(heads)}}}{{c}}{{no complete run}}"]]
    caption = (
        f"{escape(report.benchmark.title)}: {escape(kind_of(report.done))}. Mean $\\pm$ standard deviation over seeds; "
        r"bold: the 95\% intervals of the differences to all other variants exclude 0."
    )
    return "\n".join([
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{caption}}}",
        f"  \\label{{tab:{report.benchmark.name}}}".replace("_", "-"),
        f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(heads)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(row)} \\\\" for row in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _heading(key: str) -> str:
    one, unit = column(key), unit_of(key).strip()
    return escape(one.title + (f" [{unit}]" if unit else "")) + ARROWS.get(one.better, "")


def _cell(rows: dict[str, list[Result]], name: str, key: str) -> str:
    value, digits = summary(rows[name], key), column(key).digits
    if value is None:
        return "--"
    mean = number(value.mean, digits)
    text = f"\\textbf{{{mean}}}" if _best(rows, name, key) else mean
    return text + (f" $\\pm$ {number(value.std, digits)}" if value.std is not None else "")


def _best(rows: dict[str, list[Result]], name: str, key: str) -> bool:
    """Whether the intervals of the differences to all other variants are on the better side of 0."""
    sign = {"higher": 1, "lower": -1}.get(column(key).better, 0)
    others = [runs for other, runs in rows.items() if other != name and by_seed(runs, key)]
    ends = []
    for runs in others:
        found = paired(by_seed(rows[name], key), by_seed(runs, key))
        ends.append(found.interval() if found else None)
    return bool(ends) and all(one is not None and sign * one[0] > 0 and sign * one[1] > 0 for one in ends)

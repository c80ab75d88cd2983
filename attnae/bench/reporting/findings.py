"""``reports/FINDINGS.md``: sentences written by hand, every number in them from a result file.

A number is a link to its report whose title says what it is, and whose text is computed:
``[22.67](moe_ablation/paper-cifar10/README.md "moe heldout/psnr_mean")``. A title is one of

- ``VARIANT KEY``: mean over the seeds, ± their sample standard deviation;
- ``LEFT - RIGHT KEY``: difference, with its 95% interval over the seeds that both have;
- ``LEFT / RIGHT KEY``: ratio of the means;
- ``VARIANT published KEY``: what the paper says.
"""

from __future__ import annotations

import re

from attnae.bench.markdown import number
from attnae.bench.reporting import statistics
from attnae.bench.reporting.cells import cell
from attnae.bench.reporting.evidence import Report
from attnae.metrics.columns import column

NAME = "FINDINGS.md"

LINK = re.compile(r'\[[^\]]*\]\((?P<benchmark>\w+)/(?P<label>[^/()\s]+)/README\.md "(?P<title>[^"]+)"\)')
TITLE = re.compile(r"(?P<left>\w+)(?: (?P<sign>[-/]) (?P<right>\w+)| (?P<published>published))? (?P<key>[\w./]+)")

MISSING = "-"


def refresh(text: str, reports: list[Report]) -> str:
    """The page with every number as the reports have it now; ``-`` where they have none."""
    by_name = {(benchmark.name, label): (benchmark, label, results) for benchmark, label, results in reports}

    def renew(link: re.Match[str]) -> str:
        report = by_name.get((link["benchmark"], link["label"]))
        title = TITLE.fullmatch(link["title"])
        value = _value(report, title) if report and title else MISSING
        return f'[{value}]({link["benchmark"]}/{link["label"]}/README.md "{link["title"]}")'

    return LINK.sub(renew, text)


def _value(report: Report, title: re.Match[str]) -> str:
    benchmark, _, results = report
    key, digits = title["key"], column(title["key"]).digits
    done = [r for r in results if r.status == "complete"]
    left, right = ([r for r in done if r.variant == title[side]] for side in ("left", "right"))
    if title["published"]:
        return number(benchmark.published_of(title["left"]).get(key), digits)
    if title["sign"] == "-":
        found = statistics.difference(statistics.by_seed(left, key), statistics.by_seed(right, key))
        if not found:
            return MISSING
        ends = (
            ""
            if found.low is None or found.high is None
            else f" ({found.low:+,.{digits}f} to {found.high:+,.{digits}f})"
        )
        return f"{found.mean:+,.{digits}f}{ends}"
    mean, base = statistics.summary(left, key), statistics.summary(right, key)
    if title["sign"]:
        return f"{mean.mean / base.mean:.2f}x" if mean and base and base.mean else MISSING
    return cell(mean, key)

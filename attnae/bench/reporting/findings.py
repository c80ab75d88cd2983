"""``reports/FINDINGS.md``: handwritten sentences in which every number comes from a result file.

A number is a link to its report. The title of the link defines the number, and its text is computed:
``[22.67](moe_ablation/paper-cifar10/README.md "moe heldout/psnr_mean")``. A title is one of

- ``VARIANT KEY``: mean over the seeds, ± their sample standard deviation;
- ``LEFT - RIGHT KEY``: difference, with its 95% interval over shared seeds, adjusted if a primary claim is about it;
- ``LEFT / RIGHT KEY``: ratio of the means;
- ``VARIANT published KEY``: the published value.

A table of claims is inserted between ``<!-- claims moe_ablation:1,3 saaae_vs_vae:2 -->`` and ``<!-- /claims -->``. The
numbers are the positions of the claims in each benchmark file. The table has at most nine claims.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.markdown import escape, number, table
from attnae.bench.reporting import evidence, statistics
from attnae.bench.reporting.answer import ERRORS, change_words
from attnae.bench.reporting.cells import cell, interval, unbroken
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.evidence import Verdict
from attnae.bench.reporting.judgment import DECIDED
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import claim_cells
from attnae.bench.reporting.seeds import ALPHA, paired
from attnae.errors import UserError
from attnae.metrics.columns import column

NAME = "FINDINGS.md"

LINK = re.compile(r'\[[^\]]*\]\((?P<benchmark>\w+)/(?P<label>[^/()\s]+)/README\.md "(?P<title>[^"]+)"\)')
TITLE = re.compile(r"(?P<left>\w+)(?: (?P<sign>[-/]) (?P<right>\w+)| (?P<published>published))? (?P<key>[\w./]+)")
CLAIMS = re.compile(r"<!-- claims(?P<wanted>(?: \w+:\d+(?:,\d+)*)*) -->\n.*?<!-- /claims -->", re.DOTALL)

MOST_CLAIMS = 9
"""Maximum number of rows in the table of claims."""

MISSING = "-"


def refresh(text: str, reports: Sequence[Report], benchmarks: Sequence[Benchmark]) -> str:
    """Updates every number and the table of claims from the reports; missing numbers become ``-``.

    Raises:
        UserError: The table names a claim that does not exist, or too many.
    """
    by_name = {(report.benchmark.name, report.label): report for report in reports}

    def renew(link: re.Match[str]) -> str:
        report = by_name.get((link["benchmark"], link["label"]))
        title = TITLE.fullmatch(link["title"])
        value = _value(report, title) if report and title else MISSING
        return f'[{value}]({link["benchmark"]}/{link["label"]}/README.md "{link["title"]}")'

    def claims(found: re.Match[str]) -> str:
        table = _claims(found["wanted"].split(), reports, {benchmark.name: benchmark for benchmark in benchmarks})
        return f"<!-- claims{found['wanted']} -->\n{table}\n<!-- /claims -->"

    return CLAIMS.sub(claims, LINK.sub(renew, text))


def _value(report: Report, title: re.Match[str]) -> str:
    key, digits = title["key"], column(title["key"]).digits
    left, right = (report.rows.get(title[side] or "", []) for side in ("left", "right"))
    if title["published"]:
        return number(report.benchmark.published_of(title["left"]).get(key), digits)
    if title["sign"] == "-":
        found = paired(statistics.by_seed(left, key), statistics.by_seed(right, key))
        alpha = next((one.judgment.alpha for one in report.judged if _about(one, title)), ALPHA)
        return (
            interval(found, key, alpha).replace("[", "(").replace(", ", " to ").replace("]", ")") if found else MISSING
        )
    mean, base = statistics.summary(left, key), statistics.summary(right, key)
    if title["sign"]:
        return f"{mean.mean / base.mean:.2f}x" if mean and base and base.mean else MISSING
    return cell(mean, key)


def _about(one: Judged, title: re.Match[str]) -> bool:
    """Whether a claim is about the same difference: its interval, adjusted or not, is printed in both places.

    A report states the difference of a squared error in decibels.
    """
    protocol, _, name = title["key"].rpartition("/")
    keys = [title["key"], *(f"{protocol}/{error}" for error in ERRORS if name == "psnr_mean")]
    sides = (one.claim.left, one.claim.right) == (title["left"], title["right"])
    return sides and one.claim.keys in [[key] for key in keys]


def _claims(wanted: list[str], reports: Sequence[Report], benchmarks: dict[str, Benchmark]) -> str:
    """Table of claims: published effect, ours with interval, n, share of the published effect, verdict, what would change it."""
    body = []
    for text in wanted:
        name, _, places = text.partition(":")
        if name not in benchmarks:
            raise UserError(f"{NAME}: there is no benchmark {name!r}. Correct the marker `<!-- claims ... -->`.")
        found = evidence.verdicts(benchmarks[name], reports)
        for place in map(int, places.split(",")):
            if not 1 <= place <= len(found):
                raise UserError(f"{NAME}: {name} has {len(found)} claims, not {place}. Correct `<!-- claims ... -->`.")
            body.append(_row(benchmarks[name], found[place - 1]))
    if len(body) > MOST_CLAIMS:
        raise UserError(f"{NAME}: {len(body)} claims in the table; at most {MOST_CLAIMS} are allowed. Remove some.")
    return table(["claim", "published", "ours", "n", "size kept", "verdict", "would change it"], body)


def _row(benchmark: Benchmark, one: Verdict) -> list[str]:
    published, ours, n, _ = claim_cells(one.judged, relative=True)
    judgment = one.judged.judgment
    text = escape(re.sub(r" \(.*?\)", "", one.judged.claim.claim))
    if one.report:
        text = f"[{text}]({benchmark.name}/{one.report.label}/README.md)"
    size = judgment.size_words.replace(" of the published effect", "") if judgment.direction in DECIDED else MISSING
    return [
        text,
        published,
        ours,
        n,
        unbroken(size) or MISSING,
        f"**{judgment.direction}**",
        change_words(one.report, one.judged),
    ]

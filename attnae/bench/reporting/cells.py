"""How what is compared is named and written: variants, metrics, means, differences, claims."""

from __future__ import annotations

from typing import Any

from attnae.bench import labels
from attnae.bench.catalog.benchmark import Benchmark, Claim, Evidence
from attnae.bench.markdown import number
from attnae.bench.reporting.statistics import Difference, Summary, epochs_of
from attnae.bench.reporting.verdicts import Verdict
from attnae.metrics.columns import column
from attnae.result import Result

RELATIONS = {"higher": "higher than", "lower": "lower than", "equal": "equal to"}


def kind_of(done: list[Result]) -> str:
    """What the numbers are, for the first line of a report."""
    if not done:
        return "no finished run"
    data = done[0].data
    epochs = epochs_of(done)
    schedule = f", {epochs} epoch{'s' * (epochs > 1)}" if epochs else ""
    differs = "".join(f", {setting}" for setting in settings_of(done[0]))
    if data.get("kind") == "embedded":
        return f"demonstration on {data.get('title')}{schedule}{differs}"
    if data.get("kind") == "official":
        return f"official data, profile {done[0].profile}{schedule}{differs}"
    return f"{data.get('title')}, profile {done[0].profile}{schedule}{differs}"


def settings_of(one: Result) -> list[str]:
    """What differs from the profile beyond its schedule, which is told as epochs: ``["net.noise=frozen"]``."""
    told = labels.settings({key: value for key, value in one.overrides.items() if key != "trainer.max_epochs"})
    told += [one.precision] if one.precision != "fp32" else []
    return told + ([f"{one.devices * one.nodes} devices"] if one.devices * one.nodes > 1 else [])


def figures_of(claim: Claim, verdict: Verdict) -> tuple[str, str]:
    """The paper's figures for a claim, and ours."""
    key = claim.keys[0]
    digits = column(key).digits
    published = claim.published if isinstance(claim.published, list) else [claim.published]
    ours = "-"
    if verdict.difference is not None:
        unit = "" if column(key).unit == "-" else f" {column(key).unit}"
        pair = [number(value, digits) for value in (verdict.left, verdict.right)]
        ours = f"{' - '.join(pair)} = {interval(verdict.difference, key)}{unit}"
    return " - ".join(number(value, digits) for value in published), ours


def commit_of(git: Any) -> str:
    """The commit that a result tells, with a mark if there were changes; empty where it tells none."""
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + ("+changes" if git.get("dirty") else "")


def title_of(benchmark: Benchmark, name: str) -> str:
    """Heading of a variant, its bare name if the benchmark file does not know it."""
    return benchmark.variants[name].title if name in benchmark.variants else name


def evidence_of(benchmark: Benchmark, runs: list[Result]) -> Evidence:
    """How much runs of one profile say about the paper; nothing if the benchmark file does not know the profile."""
    profile = benchmark.profiles.get(runs[0].profile)
    return profile.evidence if profile else "demonstration"


def heading(key: str) -> str:
    """Title of a metric with an arrow in the better direction, and its protocol in brackets."""
    return _with_protocol(column(key).heading, key)


def named(key: str) -> str:
    """Title of a metric, and its protocol in brackets."""
    return _with_protocol(column(key).title, key)


def _with_protocol(text: str, key: str) -> str:
    return f"{text} ({key.split('/')[0]})" if "/" in key else text


def cell(value: Summary | None, key: str, digits: int | None = None) -> str:
    """Mean, and ± sample standard deviation over several seeds, in the digits of the column."""
    if value is None:
        return "-"
    places = column(key).digits if digits is None else digits
    if value.std is None or column(key).kind == "counted":  # no seed changes what is counted
        return number(value.mean, places)
    return f"{number(value.mean, places)} ± {number(value.std, places)}"


def interval(value: Difference, key: str) -> str:
    """A signed difference, and its 95% interval over several seeds, in the digits of the column."""
    digits = column(key).digits
    ends = "" if value.low is None or value.high is None else f" [{value.low:+,.{digits}f}, {value.high:+,.{digits}f}]"
    return f"{value.mean:+,.{digits}f}{ends}"

"""Formats the names and values in reports: variants, metrics, means, differences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from attnae.bench import labels
from attnae.bench.catalog.benchmark import Benchmark, Claim
from attnae.bench.markdown import count, number
from attnae.bench.reporting.seeds import ALPHA, Estimate
from attnae.bench.reporting.statistics import Summary, epochs_of
from attnae.metrics.columns import column
from attnae.result import Result

RELATIONS = {"higher": "higher than", "lower": "lower than", "equal": "equal to"}

UNITS = {"dB": "dB", "s": "s", "10^6 byte": "MB", "nat per image": "nat", "nat": "nat"}
"""Units that are short enough for a heading; the column definitions list all units."""


def kind_of(done: list[Result]) -> str:
    """Describes the runs, for the title of a report."""
    if not done:
        return "no finished run"
    data = done[0].data
    epochs = epochs_of(done)
    told = "".join(f", {epochs:,} epoch{'s' * (epochs > 1)}" if epochs else "")
    told += "".join(f", {setting}" for setting in settings_of(done[0]))
    for split, word in (("train", "trained on"), ("test", "tested")):
        if of := next((r.data[f"{split}_of"] for r in done if isinstance(r.data.get(f"{split}_of"), int)), None):
            used = next(r.data.get(split) for r in done if f"{split}_of" in r.data)
            told += f", {word} {used:,} of {of:,} images" if isinstance(used, int) else ""
    leaked = data.get("leaked")
    told += f", {count(leaked, 'test image')} also in training" if isinstance(leaked, int) and leaked else ""
    if data.get("kind") == "embedded":
        return f"demonstration on {data.get('title')}{told}"
    if data.get("kind") == "official":
        return f"official data, profile {done[0].profile}{told}"
    return f"{data.get('title')}, profile {done[0].profile}{told}"


def settings_of(one: Result) -> list[str]:
    """Settings that differ from the profile, except the number of epochs: ``["net.noise=frozen"]``."""
    told = labels.settings({key: value for key, value in one.overrides.items() if key != "trainer.max_epochs"})
    told += [one.precision] if one.precision != "fp32" else []
    return told + ([f"{one.devices * one.nodes} devices"] if one.devices * one.nodes > 1 else [])


def clean(git: Any) -> bool:
    """Whether a result names the commit that made it, without uncommitted changes."""
    return isinstance(git, dict) and bool(git.get("commit")) and not git.get("dirty")


def commit_of(git: Any) -> str:
    """The commit of a result, marked if there were uncommitted changes; empty if unknown."""
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + ("+changes" if git.get("dirty") else "")


def title_of(benchmark: Benchmark, name: str) -> str:
    """Title of a variant, with its name if others have the same title; only its name if it is not in the benchmark file."""
    if name not in benchmark.variants:
        return name
    title = benchmark.variants[name].title
    shared = sum(one.title == title for one in benchmark.variants.values()) > 1
    return f"{title} ({name})" if shared else title


def unit_of(key: str) -> str:
    """The unit as it follows a number, with a space; empty for pure numbers and long units."""
    unit = UNITS.get(column(key).unit, "")
    return f" {unit}" if unit else ""


def heading(key: str) -> str:
    """Title of a metric with an arrow in the better direction, and its protocol in brackets."""
    return _with_protocol(column(key).heading, key)


def unit_heading(key: str) -> str:
    """Title of a metric with its unit, and an arrow in the better direction: ``PSNR [dB] ↑``."""
    one, unit = column(key), unit_of(key).strip()
    arrow = one.heading.removeprefix(one.title).replace(" ", "\N{NO-BREAK SPACE}")
    return one.title + (f" [{unit}]" if unit and "/" not in one.title else "") + arrow


def named(key: str) -> str:
    """Title of a metric, and its protocol in brackets."""
    return _with_protocol(column(key).title, key)


def _with_protocol(text: str, key: str) -> str:
    return f"{text} ({key.split('/')[0]})" if "/" in key else text


def cell(value: Summary | None, key: str, digits: int | None = None, most: int | None = None) -> str:
    """Mean, and ± sample standard deviation over several seeds, in the digits of the column.

    Args:
        value: The number over seeds.
        key: Its column.
        digits: Digits after the point instead of the column's.
        most: Largest number of seeds of any variant; a cell with fewer seeds shows its number.
    """
    if value is None:
        return "-"
    places = column(key).digits if digits is None else digits
    if column(key).kind == "counted":  # counted values do not depend on the seed
        return number(value.mean, places)
    text = number(value.mean, places) + (f" ± {number(value.std, places)}" if value.std is not None else "")
    return unbroken(text + f" (n = {value.n})" if value.n != most else text) if most is not None else text


def interval(value: Estimate, key: str, alpha: float = ALPHA) -> str:
    """A signed difference, and its interval over several seeds, in the digits of the column."""
    digits, ends = column(key).digits, value.interval(alpha)
    told = f" [{ends[0]:+,.{digits}f}, {ends[1]:+,.{digits}f}]" if ends else ""
    return f"{value.mean:+,.{digits}f}{told}"


def margin(claim: Claim) -> str:
    """The largest negligible difference of a claim: ``0.05``, ``2%``; empty if it states none."""
    if claim.margin:
        return f"{claim.margin:g}"
    return f"{100 * claim.relative_margin:g}%" if claim.relative_margin else ""


def unbroken(text: str) -> str:
    """Prevents line breaks inside intervals, deviations and counts of a cell."""
    return re.sub(
        r"\[[^\]]*\](?: dB)?|\(n = \d+\)|± \S+|\S+ dB", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), text
    )


def seeds_text(seeds: Iterable[int]) -> str:
    """Formats seeds compactly: ``seed 3``, ``seeds 1, 2, 5-200``; empty without any."""
    ordered = sorted(set(seeds))
    starts = [seed for place, seed in enumerate(ordered) if not place or ordered[place - 1] != seed - 1]
    ends = [a for a, b in pairwise(ordered) if b != a + 1] + ordered[-1:]
    parts = [f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return f"seed{'s' * (len(ordered) > 1)} {', '.join(parts)}" if ordered else ""

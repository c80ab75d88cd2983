"""Claims of benchmark files, judged by runs: values by seed, conditions, words in a report."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from attnae.bench import catalog
from attnae.bench.catalog.benchmark import Claim
from attnae.bench.reporting import flat, page, tables
from attnae.bench.reporting.answer import cost_words
from attnae.bench.reporting.averages import average
from attnae.bench.reporting.claims import question
from attnae.bench.reporting.conditions import counting, departures, undisturbed
from attnae.bench.reporting.judgment import (
    HOLDS,
    NO_DIFFERENCE,
    NOT_COMPARABLE,
    NOT_RUN,
    ONE_SEED,
    OPPOSITE,
    UNDECIDED,
    Judgment,
    judge_one,
)
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import claim_cells
from attnae.bench.reporting.report import csv_text
from attnae.result import Result

KEY = "heldout/psnr_mean"


def run(variant: str, seed: int, value: float | None, key: str = KEY) -> Result:
    return Result(
        benchmark="moe_ablation",
        label="paper",
        profile="paper",
        variant=variant,
        seed=seed,
        status="complete",
        metrics={} if value is None else {key: value},
        data={"kind": "array", "title": "pixels", "train": 5000, "test": 2, "size": 32},
        curves={"epoch": [1.0, 10.0]},
    )


def claim(**changes: Any) -> Claim:
    given: dict[str, Any] = {
        "claim": "c",
        "where": "w",
        "left": "moe",
        "metric": KEY,
        "relation": "higher",
        "right": "dense",
    }
    return Claim(**{**given, **changes})


def rows(moe: list[float], dense: list[float]) -> dict[str, list[Result]]:
    return {
        name: [run(name, seed, value) for seed, value in enumerate(values, 1)]
        for name, values in (("moe", moe), ("dense", dense))
    }


@pytest.mark.parametrize(
    ("relation", "margin", "moe", "dense", "direction"),
    [
        ("higher", 0.0, [22.6, 22.7, 22.8], [15.0, 15.2, 15.1], HOLDS),
        ("higher", 0.0, [15.0, 15.2, 15.1], [22.6, 22.7, 22.8], OPPOSITE),
        ("higher", 0.0, [22.0, 23.0, 24.0], [23.0, 22.0, 23.5], UNDECIDED),
        ("higher", 1.0, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], NO_DIFFERENCE),
        ("lower", 0.0, [1.0, 1.1, 1.2], [2.0, 2.1, 2.3], HOLDS),
        ("lower", 0.0, [2.0, 2.1, 2.3], [1.0, 1.1, 1.2], OPPOSITE),
        ("equal", 0.5, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], HOLDS),
        ("equal", 0.01, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], OPPOSITE),
        ("higher", 0.0, [22.0], [15.0], ONE_SEED),
        ("higher", 0.0, [15.0], [22.0], ONE_SEED),
        ("higher", 0.0, [22.0], [], NOT_RUN),
        ("higher", 0.0, [], [22.0], NOT_RUN),
    ],
)
def test_directions(relation: str, margin: float, moe: list[float], dense: list[float], direction: str) -> None:
    asked = question(claim(relation=relation, margin=margin), rows(moe, dense), ())
    assert judge_one(asked).direction == direction


def test_claims_about_a_number_and_about_a_mean_of_metrics() -> None:
    asked = claim(relation="equal", right=22.0, margin=0.5)
    assert judge_one(question(asked, rows([22.1, 22.2, 22.0], []), ())).direction == HOLDS
    assert judge_one(question(asked, rows([22.1, 22.2, 22.0], []), ("other images",))).direction == NOT_COMPARABLE
    both = [run("moe", seed, 20.0 + seed) for seed in (1, 2)]
    for one in both:
        one.metrics["heldout/ssim_mean"] = 10.0
    mean = claim(metric=[KEY, "heldout/ssim_mean"], right=0.0)
    found = judge_one(question(mean, {"moe": both}, ()))
    assert found.means == (pytest.approx((21 + 22 + 20) / 4), 0.0)
    lacking = [run("moe", 1, 20.0)]  # a mean of what is there would be another number
    assert judge_one(question(mean, {"moe": lacking}, ())).direction == NOT_RUN


def test_a_size_is_stated_where_images_alone_differ() -> None:
    asked, seeds = claim(published=[25.0, 15.0]), rows([22.0, 22.1], [21.0, 21.2])
    assert judge_one(question(asked, seeds, ("other images",))).size_words
    assert not judge_one(question(asked, seeds, ("other images", "shorter schedule"))).size_words


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": {"kind": "official", "train": 5000}}, ()),
        ({"data": {"kind": "folder", "train": 5000}}, ("other images",)),
        ({"data": {"kind": "official", "train": 4000}}, ("shorter schedule",)),
        ({"data": {"kind": "official", "train": 5000}, "curves": {"epoch": [1.0, 9.0]}}, ("shorter schedule",)),
        ({"data": {"kind": "official", "train": 5000}, "profile": "quick"}, ("shorter schedule",)),
        ({"data": {"kind": "official", "train": 5000}, "profile": "unknown"}, ("shorter schedule",)),
        ({"data": {"kind": "official", "train": 5000, "train_of": 6000}}, ("shorter schedule",)),
    ],
)
def test_departures_from_the_published_condition(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    one = replace(run("moe", 1, 22.0), curves={"epoch": [1.0, 10.0]})
    assert departures(catalog.load("moe_ablation"), [replace(one, **changes)]) == expected


def test_a_narrower_network_is_a_departure() -> None:
    benchmark = catalog.load("attentive_vqvae")
    official = {"kind": "official", "train": 24000}
    for profile, smaller in (("short", True), ("paper", False)):
        stated = benchmark.configuration("a", profile)
        one = Result(variant="a", profile=profile, configuration=stated, data=official)
        assert ("smaller network" in departures(benchmark, [one])) == smaller
    benchmark = catalog.load("moe_ablation")
    halved = benchmark.configuration("dense_wide", "paper", {"model.init_args.net.init_args.width": 96})
    one = Result(variant="dense_wide", profile="paper", configuration=halved, data=official, curves={"epoch": [10.0]})
    assert departures(benchmark, [one]) == ("smaller network",)
    assert departures(benchmark, []) == ()


def test_report_prints_a_verdict_for_every_claim() -> None:
    benchmark = catalog.load("moe_ablation")
    results = [
        run(v, s, x + s / 10 + (s == 3) * d)
        for v, x, d in (("moe_clamped", 22.0, 0.01), ("dense_clamped", 15.0, 0.0))
        for s in (1, 2, 3)
    ]
    text = page.text(Report(benchmark, "paper", results)).replace("\N{NO-BREAK SPACE}", " ")
    section = text.split("## The paper's claims")[1].split("\n## ")[0]
    assert section.count("**not run**") == len(benchmark.claims) - 1
    # 7.00, 7.00, 7.01: mean 7.0033, std 0.00577; with Holm's 98.3% (t = 7.65) the half width is 0.0255
    assert "+7.00 [+6.98, +7.03] dB" in section
    assert "**holds**, 92% of the published effect [92, 92]" in section
    assert "98.3% interval (Holm, 3 primary claims)" in section
    assert "## Differences from clamped dense" in text
    single = page.text(Report(benchmark, "paper", [r for r in results if r.seed == 1]))
    assert "±" not in single.split("<details>")[0]
    assert "## Differences" not in single
    assert "**one seed**" in single
    assert not any(word in text + single for word in ("reproduced", "not decidable"))


def test_means_over_the_last_epochs_are_compared_for_all_alike() -> None:
    def recorded(variant: str, seed: int, values: list[float]) -> Result:
        one = run(variant, seed, values[-1])
        epochs = [float(epoch) for epoch in range(11, 11 + len(values))]
        return replace(one, curves={"epoch": epochs}, last_epochs={"epoch": epochs, KEY: values})

    results = [recorded("a", 1, [1.0, 2.0, 6.0]), recorded("h", 1, [4.0, 5.0, 0.0]), recorded("h", 2, [9.0, 9.0])]
    results.append(replace(run("untrained", 1, 7.0), curves={}))
    found = average(results)
    assert [one.metrics.get(KEY) for one in found.results] == [3.0, 3.0, None, 7.0]
    assert found.epochs == (11, 13)
    assert found.left_out == ["h/seed2"]
    late = [recorded("a", 1, [1.0, 2.0]), recorded("h", 1, [4.0])]
    late[1].last_epochs["epoch"] = [3.0]  # stopped early: has no mean, and its epoch is none of the means
    assert average(late).epochs == (11, 12)
    assert average(results[-1:]).epochs is None  # old records have none
    assert results[0].metrics[KEY] == 6.0


def test_a_claim_about_a_number_shows_the_interval_that_decides() -> None:
    one = claim(relation="equal", right=22.0, margin=0.5, published=22.0)
    report = Report(replace(catalog.load("moe_ablation"), claims=[one]), "paper", rows([22.0, 22.4, 22.2], [])["moe"])
    half = 4.303 * 0.2 / 3**0.5  # Student's t, two degrees of freedom
    assert f"22.20 [{22.2 - half:.2f}, {22.2 + half:.2f}] dB" in claim_cells(report.judged[0])[1].replace("\xa0", " ")
    assert flat.claims(report)[0]["published"] == 22.0
    assert flat.claims(Report(report.benchmark, "paper", []))[0]["condition"] is None


def test_sides_without_a_common_seed_are_told() -> None:
    benchmark = replace(catalog.load("moe_ablation"), claims=[claim()])
    text = page.text(Report(benchmark, "paper", [run("moe", 1, 22.0), run("dense", 2, 21.0)]))
    assert "- 1: no seed has a value for both variants." in text


def test_rows_of_a_report_have_the_numbers_of_its_tables() -> None:
    benchmark = catalog.load("attentive_vqvae")
    epochs = [29.0, 30.0]
    results = [
        replace(
            run(variant, 1, 0.0),
            benchmark=benchmark.name,
            metrics={"heldout/mae_over_sigma": last},
            curves={"epoch": epochs, "val/mse": [None, 0.5]},
            last_epochs={"epoch": epochs, "heldout/mae_over_sigma": [first, last]},
        )
        for variant, first, last in (("a_normalized", 0.1, 0.5), ("vqvae", 0.2, 0.1))
    ]
    report = Report(benchmark, "paper", results)
    assert [row["heldout/mae_over_sigma"] for row in flat.runs(report)] == pytest.approx([0.3, 0.15])
    rows = list(csv.DictReader(io.StringIO(csv_text(report.compared))))
    assert [float(row["heldout/mae_over_sigma"]) for row in rows] == pytest.approx([0.3, 0.15])
    text = page.text(report)
    assert "0.3000" in text
    assert "0.1500" in text
    assert "means over epochs 29 to 30" in text
    validated = text.split("Held-out MSE during training")[1].split("</details>")[0]
    assert re.findall(r"^\| *(\d+) ", validated, re.MULTILINE) == ["30"]  # epoch 29 was not validated


def test_memory_of_different_devices_is_not_averaged() -> None:
    benchmark = catalog.load("moe_ablation")
    results = [
        replace(run("moe_clamped", seed, 22.0), efficiency={"peak_memory_mb": memory}, hardware={"device": device})
        for seed, memory, device in ((1, 100.0, "GPU"), (2, 1100.0, "CPU"))
    ]
    assert [len(counting(some, "peak_memory_mb", some)) for some in (results, results[:1])] == [0, 1]
    assert "1,100" not in tables.cost(Report(benchmark, "paper", results))
    assert "1,100" in tables.cost(Report(benchmark, "paper", results[1:]))
    beside = [results[0], replace(results[1], variant="dense_clamped")]
    assert "1,100" not in (told := tables.cost(Report(benchmark, "paper", beside)))
    assert "cannot be compared" in told


def test_seconds_of_different_machines_are_not_compared() -> None:
    """Neither other processors nor other numbers of threads."""
    benchmark = catalog.load("moe_ablation")

    def timed(variant: str, seed: int, seconds: float, threads: int) -> Result:
        efficiency = {"seconds_per_epoch": seconds, "cpu_seconds_per_epoch": seconds * threads, "params_trainable": 5.0}
        hardware = {"device": "CPU", "processor": "A", "threads": threads}
        return replace(run(variant, seed, 22.0), efficiency=efficiency, hardware=hardware)

    clamped = [timed("moe_clamped", seed, 1000.0, 2) for seed in (1, 2)]
    slower = [timed("dense_clamped", seed, 4000.0, 1) for seed in (1, 2)]
    both = Report(benchmark, "paper", [*clamped, *slower])
    assert "time" not in cost_words(both, "dense_clamped", "moe_clamped")
    assert "1,000" in (told := tables.cost(both))
    assert "4,000" not in told
    assert "of most runs" in told
    same = Report(benchmark, "paper", [*clamped, *(timed("dense_clamped", seed, 4000.0, 2) for seed in (1, 2))])
    assert "4.0 times the time" in cost_words(same, "dense_clamped", "moe_clamped")
    assert "of most runs" not in tables.cost(same)


def test_errors_on_other_numbers_of_images_are_not_compared() -> None:
    benchmark = catalog.load("moe_ablation")

    def judged(count: float) -> list[Judgment]:
        rows = (("moe_clamped", 22.0, 8.0), ("dense_clamped", 15.0, count))
        results = [
            replace(one, metrics={**one.metrics, "heldout/images": images})
            for name, value, images in rows
            for seed in (1, 2, 3)
            for one in [run(name, seed, value + seed / 100)]
        ]
        report = Report(benchmark, "paper", results)
        sides = ("moe_clamped", "dense_clamped")
        return [one.judgment for one in report.judged if (one.claim.left, one.claim.right) == sides]

    assert {one.direction for one in judged(8.0)} == {HOLDS}
    assert {one.estimate for one in judged(4.0)} == {None}


def test_seeds_without_a_partner_are_named() -> None:
    benchmark = catalog.load("moe_ablation")
    runs = [run("moe_clamped", seed, 22.0 + seed) for seed in (1, 2, 3)]
    one = page.text(Report(benchmark, "paper", [*runs, *(run("dense_clamped", seed, 15.0) for seed in (1, 3))]))
    assert ": seed 2 has a value for one of the two variants only and is ignored." in one
    two = page.text(Report(benchmark, "paper", [*runs, run("dense_clamped", 1, 15.0)]))
    assert ": seeds 2, 3 have a value for one of the two variants only and are ignored." in two


@pytest.mark.parametrize(
    ("profile", "kind", "option"),
    [("paper", "official", ""), ("paper", "folder", " --data-root DIR"), ("quick", "embedded", ""),
     ("paper", "embedded", " --set data.init_args.source=embedded"), ("quick", "official", " --data-root DIR")],
)  # fmt: skip
def test_the_command_of_a_report_names_its_images(profile: str, kind: str, option: str) -> None:
    one = replace(run("moe_clamped", 1, 22.0), profile=profile, data={"kind": kind, "title": "pixels"})
    failed = replace(one, variant="dense_clamped", status="failed", data={})
    text = page.text(Report(catalog.load("moe_ablation"), profile, [failed, one]))
    assert (
        f"attnae-bench run moe_ablation --profile {profile} --variants dense_clamped,moe_clamped --seeds 1{option}\n"
        in text
    )


def test_a_relative_margin_is_a_fraction_of_the_right_side() -> None:
    asked = question(claim(relation="lower", relative_margin=0.1), rows([21.0, 20.9], [20.0, 22.0]), ())
    assert asked.margin == pytest.approx(2.1)
    assert judge_one(asked).direction == "undecided"
    uneven = question(claim(relation="lower", relative_margin=0.1), rows([21.0, 20.9], [20.0, 22.0, 90.0]), ())
    assert uneven.margin == asked.margin  # of the seeds that are compared
    near = question(claim(relation="lower", relative_margin=0.1), rows([20.01, 22.02], [20.0, 22.0]), ())
    assert judge_one(near).direction == "no difference"


@pytest.mark.parametrize(
    ("hardware", "cpu", "quiet"),
    [
        ({"device": "CPU", "threads": 2}, 19.0, True),
        ({"device": "CPU", "threads": 2}, 12.0, False),
        ({"device": "NVIDIA H100", "threads": 16}, 9.5, True),
        ({"device": "NVIDIA H100", "threads": 16}, 9.1, False),
        ({"device": "CPU", "threads": "many"}, 19.0, False),
        ({"device": "CPU", "threads": 1}, None, False),
    ],
)
def test_seconds_count_where_the_machine_did_nothing_else(
    hardware: dict[str, Any], cpu: float | None, quiet: bool
) -> None:
    spent = {"seconds_per_epoch": 10.0} | ({} if cpu is None else {"cpu_seconds_per_epoch": cpu})
    assert undisturbed(replace(run("moe", 1, 22.0), efficiency=spent, hardware=hardware)) == quiet

"""The generated answer: effect, interval, cost, what is published, what would change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_golden import BENCHMARK, FAILED, FOREIGN, ONE, RESULTS, run

from attnae.bench.reporting import answer, tables
from attnae.bench.reporting.images import ImageStatement
from attnae.bench.reporting.judgment import HOLDS
from attnae.bench.reporting.material import Report
from attnae.result import Result

QUIET = {"device": "CPU", "threads": 1}


def said(results: list[Result]) -> list[str]:
    return answer.sentences(Report(BENCHMARK, "paper", results))


def costing(one: Result, parameters: float, operations: float, seconds: float, cpu: float | None = None) -> Result:
    spent = {"params_trainable": parameters, "gflops_forward": operations, "seconds_per_epoch": seconds}
    return replace(one, efficiency=spent | ({"cpu_seconds_per_epoch": cpu} if cpu else {}), hardware=QUIET)


@pytest.mark.parametrize("results", [[], RESULTS, ONE, FAILED, FOREIGN, RESULTS[:1], RESULTS[6:7]])
def test_at_most_three_sentences_that_end(results: list[Result]) -> None:
    sentences = said(results)
    assert 1 <= len(sentences) <= 3
    assert all(sentence.endswith(".") for sentence in sentences)


def test_effect_interval_and_what_is_published() -> None:
    first, last = said([one for one in RESULTS if one.variant in ("plain", "better")])
    assert first == (  # differences 2.0, 2.1, 2.3: half width 0.38, see test_findings
        "Better is 2.13 dB better than plain on held-out images [+1.75, +2.51; 3 seeds, 2 epochs], "
        "at the same parameters and operations."
    )
    assert last == (
        "Published: +2.50 dB (85% of the published effect [70, 101]); what would change the answer: other seeds only."
    )


def test_all_primary_claims_are_told() -> None:
    first = replace(BENCHMARK.claims[0], primary=True)
    other = replace(first, metric="heldout/ssim_mean", published=None)
    results = [one for one in RESULTS if one.variant in ("plain", "better")]
    told = answer.sentences(Report(replace(BENCHMARK, claims=[first, other]), "paper", results))
    # 2.0, 2.1 and 2.3 dB over 30
    assert told[1].startswith("Also: better vs. plain: +0.0711 SSIM 7x7 [")
    (said, *_) = answer.sentences(Report(replace(BENCHMARK, claims=[other]), "paper", results))
    assert said.startswith("Better has a 0.0711 higher SSIM 7x7 (better) than plain on held-out images")


def test_a_failed_variant_does_not_hide_what_another_measured() -> None:
    assert said([run("plain", 1, 0.0, status="failed"), run("single", 1, 20.0, curves={})])[0].startswith(
        "single reaches a PSNR of 20.00 dB on held-out images [1 seed]"
    )


def test_one_seed_gets_no_verdict() -> None:
    first, last = said(ONE)
    assert first.startswith("Better is 0.50 dB better than plain on held-out images [one seed, no verdict, 2 epochs]")
    assert last == "Published: +2.50 dB (one seed here); what would change the answer: more seeds."


@pytest.mark.parametrize(("better", "worse", "told"), [(70, 30, True), (30, 70, False), (40, 40, False)])
def test_a_share_of_images_that_contradicts_the_mean_is_left_to_the_claims(better: int, worse: int, told: bool) -> None:
    """The mean is over the last epochs, the images are those of the last."""
    report = Report(BENCHMARK, "paper", [run("plain", 1, 20.0), run("better", 1, 22.0)])
    statement = ImageStatement(better, worse, 100, 0.1, 0.0, 0.2)
    report.__dict__["judged"] = [replace(report.judged[0], statement=statement), *report.judged[1:]]
    first = answer.sentences(report)[0]
    assert first.startswith("Better is 2.00 dB better than plain on held-out images")
    assert (f"better on {better}% of 100 images" in first) == told


def test_a_difference_that_may_be_none_is_called_so() -> None:
    results = [run("plain", 1, 20.0), run("plain", 2, 20.4), run("better", 1, 20.3), run("better", 2, 20.2)]
    first, last = said(results)
    # differences 0.3, -0.2: mean 0.05, std 0.3536, times 12.706 / sqrt(2) is 3.18
    assert first.startswith(
        "Whether better or plain is better on held-out images is undecided: +0.05 dB [-3.13, +3.23; 2 seeds"
    )
    assert "(undecided here); what would change the answer: more than 100 seeds." in last


def test_an_answer_agrees_with_its_verdict() -> None:
    equal = replace(BENCHMARK.claims[0], relation="equal", margin=0.5, metric="heldout/psnr_mean", primary=True)
    near = [
        run(name, seed, 20.0 + seed / 10 + d) for name, d in (("better", 0.01), ("plain", 0.0)) for seed in (1, 2, 3)
    ]
    report = Report(replace(BENCHMARK, claims=[equal]), "paper", near)
    assert report.judged[0].judgment.direction == HOLDS
    assert answer.sentences(report)[0].startswith("Better and plain differ negligibly on held-out images: +0.01 dB")
    # MSE is lower by the same amount at every seed, but one seed's PSNR hides it: both are as recorded
    lower = replace(BENCHMARK.claims[0], relation="lower", metric="heldout/mse", primary=True, published=None)
    mixed = [
        replace(one, metrics={**one.metrics, "heldout/mse": one.seed + d, "heldout/psnr_mean": 20.0 + seed_psnr})
        for name, d, offsets in (("better", -0.5, (1.0, -1.0, 0.1)), ("plain", 0.0, (0.0, 0.0, 0.0)))
        for one, seed_psnr in zip([run(name, seed, 20.0) for seed in (1, 2, 3)], offsets, strict=True)
    ]
    report = Report(replace(BENCHMARK, claims=[lower]), "paper", mixed)
    assert report.judged[0].judgment.direction == HOLDS
    assert answer.sentences(report)[0].startswith("Better has a 25.0% lower MSE (better) than plain")
    # a few images dominate the mean error: it is lower for the variant whose mean PSNR is lower
    opposed = [
        replace(one, metrics={**one.metrics, "heldout/mse": error + one.seed / 1000})
        for name, psnr, error in (("better", 19.0, 0.5), ("plain", 20.0, 1.0))
        for one in [run(name, seed, psnr + seed / 10) for seed in (1, 2, 3)]
    ]
    report = Report(replace(BENCHMARK, claims=[lower]), "paper", opposed)
    assert report.judged[0].judgment.direction == HOLDS
    assert "lower MSE (better) than plain" in answer.sentences(report)[0]


def test_equal_runs_are_neither_better_nor_worse() -> None:
    assert said([run(name, 1, 20.0) for name in ("plain", "better")])[0].startswith(
        "Better and plain have the same PSNR on held-out images [one seed, no verdict"
    )


def test_undecided_differences_name_their_metric() -> None:
    lower = replace(BENCHMARK.claims[0], relation="lower", metric="heldout/kl", published=None)
    runs = [
        replace(run(name, seed, 20.0), metrics={"heldout/kl": 9.0 + shift * (-1) ** seed})
        for name, shift in (("plain", 0.0), ("better", 1.0))
        for seed in (1, 2)
    ]
    first = answer.sentences(Report(replace(BENCHMARK, claims=[lower]), "paper", runs))[0]
    assert first.startswith("Whether better or plain has the higher KL on held-out images is undecided: +0.00 nat KL [")


def test_a_claim_about_a_cost_is_no_effect_on_images() -> None:
    cheaper = replace(BENCHMARK.claims[0], relation="lower", metric="params_trainable", primary=True, published=None)
    runs = [costing(run("plain", 1, 20.0), 2e6, 1, 1), costing(run("better", 1, 20.5), 3, 1, 1)]
    first = answer.sentences(Report(replace(BENCHMARK, claims=[cheaper]), "paper", runs))[0]
    assert first.startswith("Better is 0.50 dB better than plain on held-out images")
    assert first.endswith("at 0.0000015 times the parameters.")


def test_variants_with_one_title_are_told_apart() -> None:
    variants = {name: replace(one, title="Net") for name, one in BENCHMARK.variants.items()}
    first = answer.sentences(Report(replace(BENCHMARK, variants=variants), "paper", ONE))[0]
    assert first.startswith("Net (better) is 0.50 dB better than Net (plain)")


def test_without_leading_metrics_all_runs_count() -> None:
    runs = [replace(run(name, 1, 20.0), metrics={}) for name in ("plain", "better")]
    assert said(runs) == ["None of the leading metrics was measured."]


def test_cells_of_differences_have_their_own_number_of_seeds() -> None:
    runs = [
        run(name, seed, psnr + seed / 10) for name, psnr in (("plain", 20.0), ("better", 21.0)) for seed in (1, 2, 3)
    ]
    del runs[-1].metrics["heldout/psnr_mean"]
    (row,) = [line for line in tables.differences(Report(BENCHMARK, "paper", runs)).splitlines() if "better" in line]
    assert row.count("(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}2)") == 1
    assert row.endswith(" 3 |")


def test_a_metric_without_direction_is_not_better() -> None:
    spread = replace(BENCHMARK.claims[0], relation="higher", metric="heldout/psnr_std", primary=True, published=None)
    results = [
        replace(one, metrics={**one.metrics, "heldout/psnr_std": 1.0 + (one.variant == "better") / 2 + one.seed / 100})
        for one in RESULTS
        if one.variant in ("plain", "better")
    ]
    first = answer.sentences(Report(replace(BENCHMARK, claims=[spread]), "paper", results))[0]
    assert first.startswith("Better has a 0.50 dB higher PSNR std than plain on held-out images")


def test_a_negligible_difference_is_called_so() -> None:
    results = [
        run(name, seed, 20.0 + seed + 0.01 * (name == "better")) for name in ("plain", "better") for seed in (1, 2, 3)
    ]
    claims = [replace(BENCHMARK.claims[0], margin=0.05)]
    first, *_ = answer.sentences(Report(replace(BENCHMARK, claims=claims), "paper", results))
    assert first.startswith("Better and plain differ negligibly on held-out images: +0.01 dB [+0.01, +0.01; 3 seeds")


def test_errors_are_told_in_percent_where_there_are_no_decibels() -> None:
    def error(variant: str, seed: int, value: float) -> Result:
        return run(variant, seed, 20.0, metrics={"heldout/mae": value})

    single = [error("single", 1, 0.05), error("plain", 1, 0.04)]
    claims = [replace(BENCHMARK.claims[0], left="single", metric="heldout/mae", relation="lower", published=None)]
    first, *_ = answer.sentences(Report(replace(BENCHMARK, claims=claims), "paper", single))
    assert first.startswith("Single has a 25.0% higher MAE (worse) than plain on held-out images")


def test_time_counts_on_an_idle_machine_only() -> None:
    left, right = ONE[1], ONE[0]
    quiet = [costing(right, 1000, 0.5, 10, 9.5), costing(left, 8900, 1.0, 19, 18.5)]
    assert said(quiet)[0].endswith("at 8.9 times the parameters and 1.9 times the time.")
    busy = [quiet[0], costing(left, 8900, 1.0, 19, 9.0)]
    assert said(busy)[0].endswith("at 8.9 times the parameters and 2.0 times the operations.")
    assert said([costing(right, 1000, 0.5, 10), quiet[1]])[0].endswith("2.0 times the operations.")


def test_an_untrained_method_that_wins_is_named() -> None:
    few = {**run("single", 1, 30.0).metrics, "heldout/images": 25.0}
    free = run("single", 1, 30.0, curves={}, efficiency={}, metrics=few)
    sentences = said([*ONE, free])
    assert sentences[1] == (
        "Single, which needs no training, beats all trained variants with 30.00 vs. 20.50 dB (on 25 images)."
    )
    assert not any(
        "needs no training" in one for one in said([*ONE, replace(free, metrics={"heldout/psnr_mean": 19.0})])
    )

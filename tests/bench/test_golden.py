"""A report and the overview, compared with reviewed golden files.

``python tests/bench/test_golden.py`` writes the files anew; read the difference before committing it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnae.bench.catalog.benchmark import Benchmark, Claim, Paper, Profile, Published, Table, Variant
from attnae.bench.reporting import overview, page, report
from attnae.files import write_text
from attnae.result import Result

GOLDEN = Path(__file__).parent / "golden"

BENCHMARK = Benchmark(
    name="example",
    title="Example",
    question="Does an example help?",
    paper=Paper("An example, table 1", notes="Measured on 100 images."),
    dataset="CIFAR-10",
    embedded="photos",
    baseline="plain",
    base="base.yaml",
    base_configuration={},
    profiles={
        "quick": Profile("quick", "minutes", "demonstration"),
        "short": Profile("short", "an hour", "partial"),
        "paper": Profile("paper", "as published", "published"),
    },
    variants={
        "plain": Variant("plain", "plain", "the baseline", default=True),
        "better": Variant("better", "better", "the paper's model", default=True),
        "single": Variant("single", "single", "control with one seed"),
        "broken": Variant("broken", "broken", "control that fails"),
        "absent": Variant("absent", "absent", "control that nobody has run"),
    },
    tables=[Table("Held-out images", "heldout", ["mse", "psnr_mean", "ssim_mean"], note="A note.")],
    published=[
        Published("table 1", {"plain": {"heldout/psnr_mean": 20.0}, "better": {"heldout/psnr_mean": 22.5}}),
        Published("released weights", {"better": {"heldout/psnr_mean": 22.4}}),
    ],
    claims=[
        Claim("The model is better", "table 1", "better", "heldout/psnr_mean", "higher", "plain", 0.0, [22.5, 20.0]),
        Claim("One seed is as good", "text", "single", "heldout/mse", "equal", "plain", 0.001),
        Claim("What fails is better", "text", "broken", "heldout/mse", "lower", "plain"),
        Claim("What is absent reaches 30 dB", "text", "absent", "heldout/psnr_mean", "equal", 30.0, 0.5, 30.0),
    ],
    findings=["A finding."],
)


def run(variant: str, seed: int, psnr: float, **changes: object) -> Result:
    one = Result(
        benchmark="example",
        label="paper",
        profile="paper",
        variant=variant,
        seed=seed,
        metrics={
            "heldout/psnr_mean": psnr,
            "heldout/mse": 10 ** (-psnr / 10),
            "heldout/ssim_mean": psnr / 30,
            "heldout/images": 100.0,
        },
        efficiency={
            "params_trainable": 1000.0,
            "gflops_forward": 0.5,
            "seconds_per_epoch": 2.0 + seed,
            "peak_memory_mb": 900.0,
        },
        curves={"epoch": [1.0, 2.0], "train/loss": [0.5, 0.25]},
        data={
            "kind": "official",
            "title": "CIFAR-10 (official)",
            "train": 400,
            "test": 100,
            "size": 32,
            "digest": "0123abcd",
        },
        selection="last epoch (2)",
        versions={"python": "3.11", "torch": "2.5.1"},
        hardware={"device": "CPU", "processor": "a processor", "threads": 2},
        commands=[f"attnae fit --seed_everything {seed}", f"attnae test -c {variant}/config.yaml"],
        git={"commit": "0123456789abcdef", "dirty": False},
        wall_seconds=60.0,
    )
    return Result(**{**vars(one), **changes})


PERCEPTUAL = {"heldout/lpips": 0.25, "heldout/rfid": 40.0}  # measured in one run only

RESULTS = [
    *(run("plain", seed, psnr) for seed, psnr in ((1, 20.0), (2, 20.2), (3, 20.1))),
    *(run("better", seed, psnr) for seed, psnr in ((1, 22.0), (2, 22.3), (3, 22.4))),
    run("single", 1, 20.05, metrics={**run("single", 1, 20.05).metrics, **PERCEPTUAL}),
    Result(
        benchmark="example",
        label="paper",
        profile="paper",
        variant="broken",
        seed=1,
        status="failed",
        reason="The loss is nan at step 7 | <b>",
    ),
]
"""Three seeds, one seed, a failed run; no results for ``absent``."""

DEMONSTRATION = [
    run("better", 1, 50.0, label="quick", profile="quick", data={"kind": "embedded", "title": "embedded photos"})
]
REPORTS = [(BENCHMARK, "paper", RESULTS), (BENCHMARK, "quick", DEMONSTRATION)]

FILES = {
    "report.md": lambda: page.text(BENCHMARK, RESULTS, ["grid.png"]),
    "results.csv": lambda: report.csv_text(RESULTS),
    "overview.md": lambda: overview.page(REPORTS, [BENCHMARK]),
}


@pytest.mark.parametrize("name", FILES)
def test_matches_golden_file(name: str) -> None:
    assert FILES[name]() == (GOLDEN / name).read_text(encoding="utf-8")


def test_demonstration_is_not_evidence() -> None:
    text = overview.page(REPORTS[1:], [BENCHMARK])
    assert "50.00" not in text
    assert text.count("not run |") == len(BENCHMARK.claims) + 3  # and published numbers that are not part of a claim


def test_best_evidence_comes_first() -> None:
    """Published settings come first, before runs with overrides and more seeds, then shorter ones; others are links."""
    setting = [replace(r, label="paper-clamp=eval", overrides={"model.init_args.clamp": "eval"}) for r in RESULTS]
    short = [replace(r, label="short", profile="short", curves={}) for r in RESULTS[:3]]
    plain = [r for r in RESULTS if r.seed == 1]
    given = [(BENCHMARK, "paper-clamp=eval", setting), (BENCHMARK, "short", short), (BENCHMARK, "paper", plain)]
    links = ["(r/example/paper/README.md)", "(r/example/paper-clamp=eval/README.md)", "(r/example/short/README.md)"]
    whole, brief = overview.text(given, "r/"), overview.text(given, "r/", brief=True)
    for text in (whole, brief):
        assert [text.count(link) for link in links] == [1, 1, 1]
        assert sorted(links, key=text.index) == links
    assert (whole.count("| variant"), brief.count("| variant")) == (3, 1)
    assert brief.index("Further: ") < brief.index(links[1])


if __name__ == "__main__":
    for name, content in FILES.items():
        write_text(GOLDEN / name, content())

"""Reports and the overview, compared letter by letter with what they were when somebody last looked at them.

``python tests/bench/test_golden.py`` writes the files anew; read the difference before committing it.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from attnae.bench.catalog.benchmark import Benchmark, Claim, Paper, Profile, Published, Table, Variant
from attnae.bench.reporting import effects, evidence, overview, page, report
from attnae.bench.reporting.judgment import ONE_SEED
from attnae.bench.reporting.material import Report
from attnae.errors import UserError
from attnae.files import write_text
from attnae.result import Result, write

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

HOSTILE = "<script>alert(1)</script></details> | `code` [x](http://evil.example) ![y](http://evil.example) **b**\x1b[2J"

TRAINING = {
    "epoch": [1.0, 2.0, 3.0],
    "train/discriminator": [0.5, 0.004, 0.9],
    "train/reconstruction": [0.2, 0.1, 0.15],
}

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
REPORTS = [Report(BENCHMARK, "paper", RESULTS), Report(BENCHMARK, "quick", DEMONSTRATION)]

ONE = [run("plain", 1, 20.0), run("better", 1, 20.5)]
TEN = [run(variant, seed, psnr + (seed * 7 % 10) / 50 + (variant == "better") * (seed % 3) / 90, curves=TRAINING)
       for variant, psnr in (("plain", 20.0), ("better", 20.2)) for seed in range(1, 11)]  # fmt: skip
FOREIGN = [
    run("better", 3, 21.0, data={"kind": "folder", "title": HOSTILE, "train": 10, "test": 4, "size": 16, "test_of": 90,
                                 "leaked": 2, "left_out": {HOSTILE: 3}, "converted": {HOSTILE: 1}},
        curves={}, versions={"attnae": HOSTILE}, hardware={HOSTILE: HOSTILE}, git={"commit": HOSTILE},
        selection=HOSTILE, commands=[HOSTILE]),
    run("not_in_the_file", 3, 22.0, metrics={"heldout/unheard_of": 1.0}, profile="unknown", efficiency={}),
    run("broken", 1, 0.0, status="failed", reason=HOSTILE),
]  # fmt: skip
FAILED = [run("plain", seed, 0.0, status="failed", reason="out of memory") for seed in range(1, 31)]

FILES = {
    "report.md": lambda: page.text(REPORTS[0]),
    "report_one_seed.md": lambda: page.text(Report(BENCHMARK, "paper", ONE)),
    "report_ten_seeds.md": lambda: page.text(Report(BENCHMARK, "paper", TEN)),
    "report_failed.md": lambda: page.text(Report(BENCHMARK, "paper", FAILED)),
    "report_foreign.md": lambda: page.text(Report(BENCHMARK, "paper", FOREIGN)),
    "results.csv": lambda: report.csv_text(RESULTS),
    "overview.md": lambda: overview.page(REPORTS, [BENCHMARK]),
}


@pytest.mark.parametrize("name", FILES)
def test_matches_golden_file(name: str) -> None:
    assert FILES[name]() == (GOLDEN / name).read_text(encoding="utf-8")


def test_demonstration_is_not_evidence() -> None:
    text = overview.page(REPORTS[1:], [BENCHMARK])
    assert "50.00" not in text
    assert f"not run {len(BENCHMARK.claims)}" in text
    assert overview.brief(REPORTS[1:], [BENCHMARK], "") == "No results yet."
    on_own_images = [replace(one, profile="quick") for one in RESULTS]
    assert overview.brief([Report(BENCHMARK, "quick-mine", on_own_images)], [BENCHMARK], "") == "No results yet."


def test_a_page_without_sound_markers_stays_as_it_is(tmp_path: Path) -> None:
    for content in (b"f\xfcr", f"{overview.END}\n{overview.BEGIN}\n".encode(), b"# Mine"):
        (tmp_path / "README.md").write_bytes(content)
        assert overview.insert(tmp_path / "README.md", "text") is None


def test_reports_are_written_beside_other_peoples_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports, one = tmp_path / "reports", run("moe", 1, 22.0, benchmark="moe_ablation")
    write(one, tmp_path / "run" / "result.json")
    write_text(reports / "README.md", "# My notes")
    with pytest.raises(UserError, match=r"reports/README\.md was not written by attnae"):
        report.build([(tmp_path / "run", one)], reports)
    (reports / "README.md").unlink()
    write_text(reports / "moe_ablation" / "theirs" / "runs" / "moe-seed1.json", "<<<<<<< HEAD")
    (page_of,) = report.build([(tmp_path / "run", one)], reports)
    assert page_of.is_file()
    assert "were not updated" in capsys.readouterr().err
    assert not report.current([(tmp_path / "run", one)], reports)  # the next run tries again
    shutil.rmtree(reports / "moe_ablation" / "theirs")
    report.build([(tmp_path / "run", one)], reports)
    assert report.current([(tmp_path / "run", one)], reports)
    write_text(page_of, page_of.read_text(encoding="utf-8").replace("MoE", "other"))  # as by another benchmark file
    assert not report.current([(tmp_path / "run", one)], reports)


def test_a_difference_from_nothing_has_no_percentage(tmp_path: Path) -> None:
    claim = replace(
        BENCHMARK.claims[0], metric="params_trainable", relation="lower", published=[0.5, 0.0], primary=True
    )
    results = [replace(one, efficiency={"params_trainable": float(one.variant == "better")}) for one in RESULTS[:6]]
    found = Report(replace(BENCHMARK, claims=[claim]), "paper", results)
    assert page.claim_cells(found.judged[0], relative=True)[1] == "-"
    assert effects.effects([found.benchmark], [found]) in ({}, {found.benchmark.title: []})


def test_hostile_text_stays_text() -> None:
    """Rendered as a forge does: no element and no link that the page itself did not write."""
    html = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(page.text(Report(BENCHMARK, "paper", FOREIGN)))
    )
    assert "<script" not in html
    assert "evil.example" not in "".join(re.findall(r"<[^>]*>", html))
    assert html.count("<details>") == html.count("</details>")


def test_a_benchmarks_best_evidence_comes_first() -> None:
    """The same schedule with a setting of our own, although it has more seeds; then a shorter one."""
    setting = [replace(r, label="paper-clamp=eval", overrides={"model.init_args.clamp": "eval"}) for r in RESULTS]
    short = [replace(r, label="short", profile="short", curves={}) for r in RESULTS[:3]]
    plain = [r for r in RESULTS if r.seed == 1]
    given = [Report(BENCHMARK, "paper-clamp=eval", setting), Report(BENCHMARK, "short", short),
             Report(BENCHMARK, "paper", plain)]  # fmt: skip
    links = ["(example/paper/README.md)", "(example/paper-clamp=eval/README.md)", "(example/short/README.md)"]
    whole, brief = overview.page(given, [BENCHMARK]), overview.brief(given, [BENCHMARK], "")
    assert [whole.count(link) for link in links] == [1, 1, 1]
    assert sorted(links, key=whole.index) == links
    assert [brief.count(link) for link in links] == [1, 0, 0]
    first = evidence.verdicts(BENCHMARK, given)[0]
    assert first.report is given[2]  # judged although it decides nothing and the next would
    assert first.judged.judgment.direction == ONE_SEED


def test_precision_is_no_modified_setting_and_half_a_schedule_is_weak_evidence() -> None:
    planned = replace(BENCHMARK, base_configuration={"trainer": {"max_epochs": 4}, "data": {"init_args": {}}})
    one = [r for r in RESULTS if r.seed == 1 and r.status == "complete"]
    cut = {"data.init_args.train_images": 100}
    given = {
        "migrated": [replace(r, reconstructed=True) for r in RESULTS if r.status == "complete"],
        "bf16": [replace(r, precision="bf16") for r in RESULTS if r.status == "complete"],
        "one seed": one,
        "one modified": [replace(r, overrides={"model.init_args.lr": 0.1}) for r in one],
        "fewer images": [replace(r, overrides=cut, data={**r.data, "train": 100, "train_of": 400}) for r in one],
        "one epoch": [replace(r, curves={"epoch": [1.0]}) for r in RESULTS if r.status == "complete"],
    }
    order = evidence.ranked(planned, [Report(planned, name, runs) for name, runs in given.items()])
    expected = ["bf16", "one seed", "one modified", "migrated", "one epoch", "fewer images"]
    assert [report.label for report in order] == expected


def test_a_large_report_is_small_and_quick() -> None:
    """Six variants with 200 seeds."""
    names = ["plain", "better", "single", "broken", "absent", "foreign"]
    results = [run(name, seed, 20 + place + seed * 37 % 101 / 100)
               for place, name in enumerate(names) for seed in range(1, 201)]  # fmt: skip
    began = time.monotonic()
    text = page.text(Report(BENCHMARK, "paper", results))
    assert time.monotonic() - began < 6
    assert len(text.encode()) < 60_000
    assert text.count("attnae-bench run") == 1
    assert "seeds 1-200" in text


def test_two_hundred_variants() -> None:
    results = [run(f"variant_{number}", seed, 20.0 + number / 10) for number in range(200) for seed in (1, 2)]
    text = page.text(Report(BENCHMARK, "paper", results))
    assert "| variant_199 " in text


if __name__ == "__main__":
    for name, content in FILES.items():
        write_text(GOLDEN / name, content())

"""``--grid``: points, refusals before anything starts, and the page that compares conclusions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_golden import BENCHMARK, FAILED, RESULTS, run

from attnae.bench import app, catalog, grid, plan
from attnae.bench.reporting import grid_page
from attnae.bench.reporting.material import Report
from attnae.bench.request import Request
from attnae.errors import UserError


@given(st.lists(st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True), min_size=1, max_size=3))
def test_points_are_the_product_of_the_values(axes: list[list[int]]) -> None:
    texts = [f"k{place}={','.join(map(str, axis))}" for place, axis in enumerate(axes)]
    expected = [[f"k{place}={value}" for place, value in enumerate(point)] for point in itertools.product(*axes)]
    assert grid.points(texts, []) == expected


def test_commas_inside_lists_do_not_separate() -> None:
    assert grid.points(["k=[1,2],[3,4]"], []) == [["k=[1,2]"], ["k=[3,4]"]]
    assert grid.points(["k={a: 1, b: 2}, null"], []) == [["k={a: 1, b: 2}"], ["k=null"]]
    nested = ["{class_path: a.B, init_args: {size: [1, 2]}}", "{class_path: a.C, init_args: {size: 3}}"]
    assert grid.points([f"k={','.join(nested)}"], []) == [[f"k={value}"] for value in nested]
    assert grid.points(["""k='a,b',"c, d",it's"""], []) == [["k='a,b'"], ['k="c, d"'], ["k=it's"]]


@pytest.mark.parametrize(
    ("grids", "overrides", "said"),
    [(["k"], [], "expected key=v1,v2"), (["k+=1,2"], [], "expected key=v1,v2"), (["k=1"], [], "at least two values"),
     (["k=1,1.0"], [], "occurs twice"), (["k=1,2"], ["k=3"], "already set"), (["k=1,2", "k=3,4"], [], "already set")],
)  # fmt: skip
def test_malformed_grids(grids: list[str], overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        grid.points(grids, overrides)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--grid", f"model.init_args.lr={','.join(f'{n}e-5' for n in range(1, 10_001))}"], "10,000 points. Add --yes"),
     (["--grid", "model.init_args.lr=1e-3,2e-3", "--seeds", "60"], "360 runs. Add --yes"),
     (["--grid", "model.init_args.rate=1,2"], "Unknown key"),
     (["--grid", "model.init_args.lr=1e-3,fast"], "model.init_args.lr")],
)  # fmt: skip
def test_refused_before_anything_starts(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["run", "moe_denoising", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_page_says_whether_conclusions_change(tmp_path: Path) -> None:
    pair = [one for one in RESULTS if one.variant in ("plain", "better")]
    equal = [run(one.variant, one.seed, 20.0 + one.seed) for one in pair]
    reports = [Report(BENCHMARK, "lr1", pair), Report(BENCHMARK, "lr2", pair), Report(BENCHMARK, "lr3", equal)]
    page = grid_page.record(BENCHMARK, "paper", ["model.init_args.lr"], {"lr=1": "lr1", "lr=2": "lr2"}, tmp_path)
    assert page.name == "grid-paper-lr.md"
    first = grid_page.refreshed(page, reports)
    assert f"- {BENCHMARK.claims[0].claim}: holds at all 2 points." in first
    grid_page.record(BENCHMARK, "paper", ["model.init_args.lr"], {"lr=3": "lr3"}, tmp_path)  # another value, later
    page.write_text(grid_page.refreshed(page, reports))
    (line,) = [line for line in grid_page.conclusions(page) if line.startswith(BENCHMARK.claims[0].claim)]
    assert line.endswith("**changes**: holds at lr=1, lr=2; undecided at lr=3.")
    rows = [line for line in page.read_text().splitlines() if "[lr=" in line]
    tested = sum(one.judgment.direction != "not run" for report in reports for one in report.judged)
    assert len(rows) == tested
    assert grid_page.refreshed(page, reports) == page.read_text()


def point(label: str, rate: float, better: float = 22.0, **changes: Any) -> Report:
    """A report of three seeds at a point of a grid of ``model.init_args.lr``."""
    told = {"label": label, "overrides": {"model.init_args.lr": rate}, "data_digest": "first", **changes}
    pairs = [
        (name, seed, psnr + seed / 10) for name, psnr in (("plain", 20.0), ("better", better)) for seed in (1, 2, 3)
    ]
    return Report(BENCHMARK, label, [run(*one, **told) for one in pairs])


def test_page_compares_points_that_differ_in_nothing_else(tmp_path: Path) -> None:
    keys, claim = ["model.init_args.lr"], BENCHMARK.claims[0].claim
    page = grid_page.record(BENCHMARK, "short-photos", keys, {"lr=1": "lr1", "lr=2": "lr2", "lr=3": "lr3"}, tmp_path)
    first = [point("lr1", 1), point("lr2", 2), point("lr3", 3, better=19.0)]
    assert f"{claim}: **changes**: holds at lr=1, lr=2; opposite at lr=3." in grid_page.refreshed(page, first)
    # the same grid on other images in a folder of the same name: their reports have other labels
    assert page == grid_page.record(BENCHMARK, "short-photos", keys, {"lr=1": "lr1-b", "lr=2": "lr2-b"}, tmp_path)
    stored = [*first, *(point(f"lr{rate}-b", rate, better=19.0, data_digest="second") for rate in (1, 2))]
    text = grid_page.refreshed(page, stored)
    assert f"{claim}: opposite at all 2 points." in text
    assert "Not compared: [lr=3](lr3/README.md), different images: digests first and second." in text


def test_grids_under_other_conditions_have_pages_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["model.init_args.lr"]
    changes: list[dict[str, Any]] = [{}, {"precision": "bf16"}, {"overrides": ["trainer.max_epochs=3"]}, {"devices": 2}]
    bases = []
    for change in changes:
        told = {"dry": True, **change, "overrides": [*change.get("overrides", []), "model.init_args.lr=0.5"]}
        bases.append(plan.label(plan.make(Request(catalog.load("moe_denoising"), **told)), keys))
    assert bases == ["quick", "quick-bf16", "quick-3ep", "quick-devices=2"]
    long = [f"data.init_args.{'long' * 10}{n}" for n in range(9)]
    assert grid_page.record(BENCHMARK, "quick", long, {"a": "b"}, tmp_path).is_file()


def test_page_names_points_without_a_verdict(tmp_path: Path) -> None:
    page = grid_page.record(BENCHMARK, "short", ["model.init_args.lr"], {"lr=1": "lr1", "lr=9": "lr9"}, tmp_path)
    failed = replace(FAILED[0], variant="better", overrides={"model.init_args.lr": 9}, data_digest="first")
    text = grid_page.refreshed(page, [point("lr1", 1), Report(BENCHMARK, "lr9", [failed])])
    assert f"{BENCHMARK.claims[0].claim}: holds at 1 of 2 points; not run at lr=9." in text


def test_damaged_page_is_named(tmp_path: Path) -> None:
    page = tmp_path / "grid-paper-lr.md"
    for text in ("", "<!-- grid [1] -->", '<!-- grid {"a": 1} -->', "# Title"):
        page.write_text(text)
        with pytest.raises(UserError, match=r"grid-paper-lr\.md"):
            grid_page.refreshed(page, [])


def test_points_are_reports_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "run",
        "moe_denoising",
        "--variants",
        "noisy",
        "--label",
        "mine",
        "--grid",
        "data.init_args.test_images=2,3",
    ]
    assert app.main([*words, "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())
    assert app.main(words) == 0
    folders = {path.parent.name for path in tmp_path.glob("reports/moe_denoising/*/README.md")}
    assert folders == {"mine-data.test_images=2", "mine-data.test_images=3"}
    assert "Over the grid: reports/moe_denoising/grid-mine-data.test_images.md" in capsys.readouterr().out
    assert app.main([*words[:-1], "data.init_args.test_images=2,3,4", "--retest"]) == 0
    assert "No complete runs to retest." in capsys.readouterr().out
    assert app.main(["report", "--check"]) == 0
    page = tmp_path / "reports/moe_denoising/grid-mine-data.test_images.md"
    page.unlink()
    assert app.main([*words, "--launcher", "slurm"]) == 0  # nothing is left to submit: writes what local runs write
    assert "1 already complete" in capsys.readouterr().out
    assert page.is_file()


def test_hostile_claims_stay_text(tmp_path: Path) -> None:
    hostile = replace(BENCHMARK, claims=[replace(BENCHMARK.claims[0], claim="<b>|[x](y)")])
    page = grid_page.record(hostile, "paper", ["a"], {"a=1": "one"}, tmp_path)
    text = grid_page.refreshed(page, [Report(hostile, "one", RESULTS)])
    assert "<b>" not in text
    assert "](y)" not in text.replace("\\]", "")

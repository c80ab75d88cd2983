"""``--grid``: points, refusals before anything starts, and the page that compares conclusions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_golden import BENCHMARK, RESULTS, run

from attnae.bench import app, grid
from attnae.bench.reporting import grid_page
from attnae.bench.reporting.material import Report
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
    assert "Over the grid: reports/moe_denoising/grid-quick-data.test_images.md" in capsys.readouterr().out
    assert app.main(["report", "--check"]) == 0
    assert app.main(words) == 0
    assert "1 already complete" in capsys.readouterr().out


def test_hostile_claims_stay_text(tmp_path: Path) -> None:
    hostile = replace(BENCHMARK, claims=[replace(BENCHMARK.claims[0], claim="<b>|[x](y)")])
    page = grid_page.record(hostile, "paper", ["a"], {"a=1": "one"}, tmp_path)
    text = grid_page.refreshed(page, [Report(hostile, "one", RESULTS)])
    assert "<b>" not in text
    assert "](y)" not in text.replace("\\]", "")

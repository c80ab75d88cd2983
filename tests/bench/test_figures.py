"""Report figures: computed values, and robustness to damaged results and folders."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnae.bench import catalog
from attnae.bench.reporting import figures, page
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.pictures import grid
from attnae.bench.reporting.pictures.style import looks
from attnae.bench.reporting.pictures.tradeoff import Better, front
from attnae.result import Result

BENCHMARK = catalog.load("moe_denoising")


def run(variant: str, seed: int, epochs: int = 3, status: str = "complete") -> Result:
    chance = random.Random(f"{variant}{seed}")
    trained = epochs > 0
    return Result(
        benchmark="moe_denoising",
        label="quick",
        profile="quick",
        variant=variant,
        seed=seed,
        status=status,
        metrics={"heldout/psnr_mean": 22 + chance.random(), "heldout/mse": 0.01 + 0.01 * chance.random()},
        efficiency={"params_trainable": 1000.0 * trained, "gflops_forward": 0.5 * chance.random() * trained},
        curves={
            "epoch": [float(e + 1) for e in range(epochs)],
            "val/mse": [1 / (e + 1 + chance.random()) for e in range(epochs)],
        },
    )


def strip(path: Path, images: np.ndarray) -> None:
    """Images (N, H, H, 3) as saved by runs: separated by two white pixels; a single image has no border."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = images[0]
    if len(images) > 1:
        side = images.shape[1]
        whole = np.ones((side + 4, len(images) * (side + 2) + 2, 3))
        for place, image in enumerate(images):
            start = 2 + place * (side + 2)
            whole[2 : 2 + side, start : start + side] = image
    Image.fromarray((255 * whole).round().astype(np.uint8)).save(path)


@pytest.mark.parametrize("linked", [False, True])
def test_figures_of_runs_are_copied_but_not_what_links_lead_to(linked: bool, tmp_path: Path) -> None:
    (spec,) = [figure for figure in BENCHMARK.figures if figure.variants == ["moe"]]
    source = tmp_path / "moe" / "images" / spec.file
    source.parent.mkdir(parents=True)
    if linked:
        (tmp_path / "secret").write_bytes(b"secret")
        source.symlink_to(tmp_path / "secret")
    else:
        source.write_bytes(b"picture")
    to = tmp_path / "to"
    to.mkdir()
    figures._copies(BENCHMARK, {"moe": tmp_path / "moe"}, to)
    figures._copies(BENCHMARK, {}, to)
    assert [path.name for path in to.iterdir()] == [f"moe-{spec.file}"] * (not linked)


def test_variants_with_one_title_are_told_apart() -> None:
    variants = {name: replace(one, title="the same") for name, one in BENCHMARK.variants.items()}
    alike = Report(replace(BENCHMARK, variants=variants), "quick", [run("moe", 1), run("dense", 1)])
    assert len({look.title for look in figures.drawn(alike).values()}) == 2


@pytest.mark.parametrize("count", [1, 2, 8])
def test_strips_are_split_into_images(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).random((count, 16, 16, 3))
    strip(tmp_path / "strip.png", images)
    read = grid.read_strip(tmp_path / "strip.png")
    assert read is not None
    assert read == pytest.approx(images, abs=0.5 / 255 + 1e-9)


def test_psnr_of_a_cell_matches_its_pixels() -> None:
    truth = np.full((8, 8, 3), 0.5)
    assert grid.psnr(truth + 0.1, truth) == pytest.approx(20.0)
    assert grid.psnr(truth, truth) == 100.0


@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=9), st.sampled_from(["lower", "higher"])
)
def test_pareto_front(points: list[tuple[float, float]], better: Better) -> None:
    sign = 1 if better == "higher" else -1
    expected = {
        (cost, quality)
        for cost, quality in points
        if not any(c <= cost and sign * q >= sign * quality and (c, q) != (cost, quality) for c, q in points)
    }
    assert set(front(points, better)) == expected


def test_variants_look_different_in_color_or_marker_and_line() -> None:
    drawn = looks({str(number): f"cost $\\alpha$ {number}" for number in range(12)})
    assert len({(look.color, look.marker) for look in drawn.values()}) == 12
    assert all(r"\$" in look.title for look in drawn.values())


def test_grid_curves_and_trade_off_of_an_ordinary_report(tmp_path: Path) -> None:
    results = [run(v, s, e) for v, e in (("moe", 3), ("dense", 4), ("tv", 0)) for s in (1, 2, 3)]
    truth = np.random.default_rng(1).random((8, 16, 16, 3))
    folders = {(r.variant, r.seed): tmp_path / r.variant / str(r.seed) for r in results}
    for folder in folders.values():
        for name, images in (("truth", truth), ("input", 1 - truth), ("output", truth**1.1)):
            strip(folder / "images" / f"heldout-{name}.png", images)
    drawn = figures.draw(Report(BENCHMARK, "quick", results), folders, tmp_path / "figures")
    assert drawn == ["curves.png", "grid.png", "tradeoff.png"]
    for name in drawn:
        assert 850 <= Image.open(tmp_path / "figures" / name).width <= 1050  # about the page width, 900 pixels
    first = (tmp_path / "figures" / "curves.png").read_bytes()
    figures.draw(Report(BENCHMARK, "quick", results), folders, tmp_path / "figures")
    assert (tmp_path / "figures" / "curves.png").read_bytes() == first


@pytest.mark.parametrize("other", ["dense", "dncnn"])
def test_curves_have_no_blank_half_without_the_baseline(other: str, tmp_path: Path) -> None:
    results = [run(variant, seed) for variant in ("moe", other) for seed in (1, 2)]
    folders = {(r.variant, r.seed): tmp_path / "gone" for r in results}
    found = Report(BENCHMARK, "quick", results, tmp_path)
    figures.draw(found, folders, tmp_path / "figures")
    rows = np.asarray(Image.open(tmp_path / "figures" / "curves.png").convert("L")).min(axis=1) < 250
    blank = max(len(gap) for gap in "".join(".#"[int(dark)] for dark in rows).split("#"))
    assert blank < 60
    assert ("Bottom: difference" in page.text(found)) == (other == BENCHMARK.baseline)


@pytest.mark.parametrize(
    "results",
    [
        [],
        [run("moe", 1, status="failed")],
        [run("moe", 1)],
        [run("dense", 1), run("moe", 2)],
        [run("dense", 1, 1), run("moe", 1, 9), run("moe", 2, 2)],
        [run("tv", 1, 0), run("noisy", 1, 0)],
        [run(f"variant_$x^{number}", seed) for number in range(200) for seed in (1, 2)],
    ],
    ids=["none", "failed", "one run", "no common seed", "unequal epochs", "nothing trained", "200 variants"],
)
def test_any_results_can_be_drawn(results: list[Result], tmp_path: Path) -> None:
    folders = {(r.variant, r.seed): tmp_path / "gone" for r in results}
    drawn = figures.draw(Report(BENCHMARK, "quick", results), folders, tmp_path / "figures")
    assert set(drawn) <= {"curves.png", "tradeoff.png"}
    for name in drawn:
        with Image.open(tmp_path / "figures" / name) as picture:
            assert picture.height < 1300


def test_grid_is_omitted_for_damaged_or_mismatched_strips(tmp_path: Path) -> None:
    results = [run("dense", 1), run("moe", 1)]
    folders = {(r.variant, r.seed): tmp_path / r.variant for r in results}
    truth = np.random.default_rng(2).random((4, 16, 16, 3))
    for folder in folders.values():
        strip(folder / "images/heldout-truth.png", truth)
        strip(folder / "images/heldout-output.png", truth)
    broken = folders["moe", 1] / "images/heldout-output.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert "grid.png" in figures.draw(
        Report(BENCHMARK, "quick", results), folders, tmp_path / "one"
    )  # without the damaged one
    strip(broken, truth[:, :8, :8])
    assert "grid.png" not in figures.draw(
        Report(BENCHMARK, "quick", results), folders, tmp_path / "none"
    )  # other images

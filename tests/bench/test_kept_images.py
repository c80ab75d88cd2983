"""Numbers of single images that reports keep: a claim that rests on one seed is stated over images, from the folder alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_golden import run

from attnae.bench import store
from attnae.bench.app import main
from attnae.bench.catalog import load
from attnae.bench.reporting import images, report
from attnae.errors import UserError
from attnae.result import Result, write

BENCHMARK = load("moe_ablation")

LATER = "2030-01-01T00:00:00.000Z"


def left(folder: Path, one: Result, psnr: np.ndarray | None) -> tuple[Path, Result]:
    """A run's folder with its record and, unless they are missing, its numbers of single images."""
    folder.mkdir(parents=True)
    write(one, folder / "result.json")
    if psnr is not None:
        np.savez(folder / "per_image.npz", **{"heldout/psnr": psnr, "heldout/ssim": psnr / 30})
    return folder, one


def records(root: Path, seeds: int = 1, images: bool = True) -> list[tuple[Path, Result]]:
    found = []
    for variant, gain in (("moe", 1.0), ("dense", 0.0)):
        for seed in range(1, seeds + 1):
            psnr = np.arange(40) / 4 + gain * (np.arange(40) % 4 > 0)
            one = run(variant, seed, float(psnr.mean()), benchmark=BENCHMARK.name)
            found.append(left(root / variant / str(seed), one, psnr if images else None))
    return found


def test_one_seed_is_stated_over_images_from_the_folder_alone(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    (page,) = report.build(records(tmp_path / "runs"), reports)
    text = page.read_text(encoding="utf-8")
    assert "3: one seed, with these weights better on 75% of 40 images, +0.75 [" in text
    assert "variation between seeds is not covered" in text
    assert "better on 75% of 40 images with these weights" in text.splitlines()[2]
    kept = page.parent / "runs/moe-seed1.npz"
    with np.load(kept) as arrays:
        assert arrays.files == ["heldout/psnr"]  # the claims' metric
        assert arrays["heldout/psnr"].dtype == np.float32
    before = kept.read_bytes()
    report.build(store.results(reports), reports)  # the runs' folders are not read
    assert kept.read_bytes() == before
    assert page.read_text(encoding="utf-8") == text
    assert report.check(reports) == []
    kept.unlink()
    assert any("moe_ablation/paper/README.md" in problem for problem in report.check(reports))


def test_several_seeds_keep_none(tmp_path: Path) -> None:
    (page,) = report.build(records(tmp_path / "runs", seeds=2), tmp_path / "reports")
    assert not list((page.parent / "runs").glob("*.npz"))
    assert "with these weights" not in page.read_text(encoding="utf-8")


def test_records_without_numbers_of_single_images_say_nothing(tmp_path: Path) -> None:
    (page,) = report.build(records(tmp_path / "runs", images=False), tmp_path / "reports")
    text = page.read_text(encoding="utf-8")
    assert "with these weights" not in text
    assert "**one seed**" in text


def test_numbers_and_figures_of_another_run_are_removed(tmp_path: Path) -> None:
    found = records(tmp_path / "runs")
    (page,) = report.build(found, tmp_path / "reports")
    old = (page.parent / "runs/moe-seed1.npz").read_bytes()
    (page.parent / "figures/of-the-earlier-run.png").touch()
    one = found[0][1]
    later = replace(one, metrics={**one.metrics, "heldout/psnr_mean": 1.0}, finished_at=LATER)
    report.build([left(tmp_path / "later", later, None)], tmp_path / "reports")
    assert not (page.parent / "runs/moe-seed1.npz").exists()
    assert (page.parent / "runs/dense-seed1.npz").exists()
    assert "with these weights" not in page.read_text(encoding="utf-8")
    assert (page.parent / "figures/of-the-earlier-run.png").exists()  # equal identities: the same images

    (page.parent / "runs/moe-seed1.npz").write_bytes(old)  # as earlier versions left it
    assert images.read(page.parent / "runs/moe-seed1.npz", "heldout/psnr_mean", 1.0) is None
    assert report.check(tmp_path / "reports") == []


def test_figures_of_other_images_are_removed(tmp_path: Path) -> None:
    other = run("moe", 1, 1.0, benchmark=BENCHMARK.name, data_digest="ff-ff", finished_at=LATER)
    (page,) = report.build([left(tmp_path / "other", other, None)], tmp_path / "reports")
    (page.parent / "figures/of-other-images.png").touch()
    pages = report.build(records(tmp_path / "runs"), tmp_path / "reports")
    assert page in pages  # the earliest result keeps the label, and the other report moves
    assert len(pages) == 2
    assert (page.parent / "figures").is_dir()
    assert not (page.parent / "figures/of-other-images.png").exists()


def test_numbers_of_single_images_come_along_from_another_report(tmp_path: Path) -> None:
    (page,) = report.build(records(tmp_path / "runs"), tmp_path / "reports")
    (other,) = report.build(store.results(tmp_path / "reports"), tmp_path / "others")
    assert (other.parent / "runs/moe-seed1.npz").read_bytes() == (page.parent / "runs/moe-seed1.npz").read_bytes()
    assert other.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    assert main(["merge", str(tmp_path / "reports"), "-o", str(tmp_path / "merged")]) == 0
    assert len(list((tmp_path / "merged").rglob("per_image.npz"))) == 2


def test_damaged_numbers_are_named(tmp_path: Path) -> None:
    found = records(tmp_path / "runs")
    (found[0][0] / "per_image.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match=r"per_image\.npz"):
        report.build(found, tmp_path / "reports")

"""``experiments/masks.py``: what it makes of several seeds, and what it refuses."""

from __future__ import annotations

import re
import runpy
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_runs import KINDS, VAE, write_run

from attnae import result
from attnae.papers.saaae import SAAAE, SAAAETask

SCRIPT = Path(__file__).parents[2] / "experiments/masks.py"
LARGE = {**VAE, "image_size": 64, "gate": "constant"}  # the attention gate has millions of weights at this size


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], Path]:
    """Two variants of two seeds, by name and seed."""
    net, _, _, _, mask = KINDS["saaae"]
    build = lambda: SAAAETask(SAAAE(**LARGE))  # type: ignore[arg-type]  # noqa: E731
    monkeypatch.setitem(KINDS, "saaae", (net, LARGE, build, 64, mask))
    found = {}
    for number, (variant, seed) in enumerate((("vae", 1), ("vae", 2), ("saaae", 1), ("saaae", 2))):
        folder = write_run(tmp_path / f"{variant}{seed}", "saaae", seed=number)
        record = result.read_result(folder / "result.json")
        result.write(replace(record, variant=variant, seed=seed), folder / "result.json")
        found[variant, seed] = folder
    return found


def masks(*arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["masks.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out


def row(page: str) -> list[str]:
    """The cells of the row of 32x32 blocks: the share of hidden pixels, the baseline, its factor, the differences."""
    (line,) = re.findall(r"^\| block in the middle: 32x32 +\|(.*)\|$", page, re.MULTILINE)
    return [cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in line.split("|")]


def test_seeds_of_a_variant_share_a_column(
    runs: dict[tuple[str, int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ("--images", 3, "--threads", 1)
    alone = {}
    for key, folder in runs.items():
        hidden, shown, _ = row(masks(folder, *few, monkeypatch=monkeypatch, capsys=capsys))
        assert hidden == "25.0%"
        alone[key] = float(shown.split()[0].replace(",", ""))
    out = tmp_path / "out"
    page = masks(*runs.values(), *few, "--out", out, monkeypatch=monkeypatch, capsys=capsys)
    assert (out / "README.md").read_text(encoding="utf-8").strip() == page.strip()
    assert {path.name for path in out.iterdir()} == {"README.md", "degradation.png", "examples.png"}
    _, vae, _, difference = row(page)
    values = [alone["vae", seed] for seed in (1, 2)]
    mean, std = re.match(r"([\d,.]+) ± ([\d,.]+)", vae).groups()  # type: ignore[union-attr]
    assert float(mean.replace(",", "")) == pytest.approx(statistics.fmean(values), abs=0.01)
    assert float(std.replace(",", "")) == pytest.approx(statistics.stdev(values), abs=0.02)
    paired = [alone["saaae", seed] - alone["vae", seed] for seed in (1, 2)]
    half = 12.7062 * statistics.stdev(paired) / 2**0.5  # Student's t of one degree of freedom, 97.5%
    expected = [statistics.fmean(paired), statistics.fmean(paired) - half, statistics.fmean(paired) + half]
    numbers = [float(text.replace(",", "")) for text in re.findall(r"[+-][\d,.]*\d", difference)]
    assert numbers == pytest.approx(expected, abs=0.2)


def test_runs_with_other_settings_are_not_seeds(
    runs: dict[tuple[str, int], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = result.read_result(runs["vae", 2] / "result.json")
    result.write(
        replace(record, configuration={"trainer": {"max_epochs": 2}}, label="mine"), runs["vae", 2] / "result.json"
    )
    with pytest.raises(SystemExit) as ended:
        masks(runs["vae", 1], runs["vae", 2], monkeypatch=monkeypatch, capsys=capsys)
    assert ended.value.code == 2
    assert "vae2: vae was trained otherwise" in capsys.readouterr().err
    frozen = {"model.init_args.net.init_args.noise": "frozen"}
    result.write(replace(record, overrides=frozen), runs["vae", 2] / "result.json")
    page = masks(runs["vae", 1], runs["vae", 2], "--images", 2, monkeypatch=monkeypatch, capsys=capsys)
    assert re.search(r"\| mask +\| hidden \| +vae \| vs\. training mask \| vae, net\.noise=frozen - vae \|", page)


def test_duplicate_runs_are_rejected(
    runs: dict[tuple[str, int], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        masks(runs["vae", 1], runs["vae", 1], monkeypatch=monkeypatch, capsys=capsys)
    assert ended.value.code == 2
    assert "duplicate run of vae with seed 1" in capsys.readouterr().err

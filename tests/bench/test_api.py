"""``attnae.bench`` from Python, and reports in formats for papers, on one tiny real run."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_golden import BENCHMARK, RESULTS
from tiny_benchmark import TINY

import attnae.bench as bench
from attnae.bench import app
from attnae.bench.reporting import latex
from attnae.bench.reporting.material import Report

OVERRIDES: dict[str, Any] = {key: json.loads(value) if value[0] in "0123456789[" else value
                             for key, _, value in (text.partition("=") for text in TINY)}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bench.Results, Path]:
    folder = tmp_path_factory.mktemp("api")
    results = bench.run(
        "saaae_vs_vae",
        variants=["vae"],
        seeds=[3],
        overrides={**OVERRIDES, "trainer.max_epochs": 1},
        label="tiny",
        out=folder / "runs",
        reports=folder / "reports",
    )
    return results, folder


def test_same_records_as_the_command(made: tuple[bench.Results, Path]) -> None:
    results, folder = made
    (row,) = results.rows()
    (path,) = (folder / "runs").rglob("result.json")
    stored = json.loads(path.read_text())
    assert (row["benchmark"], row["label"], row["variant"], row["seed"]) == ("saaae_vs_vae", "tiny", "vae", 3)
    assert {key: row[key] for key in stored["metrics"]} == stored["metrics"]
    assert row["params_trainable"] == stored["efficiency"]["params_trainable"]
    assert (folder / "reports" / "saaae_vs_vae" / "tiny" / "README.md").is_file()
    assert len(results) == 1
    assert "saaae_vs_vae/tiny" in repr(results)


def test_results_of_runs_and_of_reports_are_the_same(made: tuple[bench.Results, Path]) -> None:
    results, folder = made
    for place in ("runs", "reports", "reports/saaae_vs_vae/tiny"):
        assert bench.results(folder / place).rows() == results.rows()


def test_frames_are_tidy(made: tuple[bench.Results, Path]) -> None:
    results, folder = made
    frame = results.frame()
    assert list(frame.seed) == [3]
    assert frame["heldout/psnr_mean"][0] == results.rows()[0]["heldout/psnr_mean"]
    images = results.frame(per_image=True)
    assert list(images.columns) == ["benchmark", "label", "variant", "seed", "image", "metric", "value"]
    one = images[images.metric == "heldout/psnr_mean"]
    (path,) = (folder / "runs").rglob("per_image.npz")
    with np.load(path) as arrays:
        np.testing.assert_allclose(one.value.to_numpy(dtype=float), arrays["heldout/psnr"], rtol=1e-6)
    assert list(one.image) == list(range(16))
    assert one.value.mean() == pytest.approx(frame["heldout/psnr_mean"][0], rel=1e-5)


def test_errors_are_of_one_class(tmp_path: Path) -> None:
    for arguments in ({"benchmark": "nope"}, {"benchmark": "saaae_vs_vae", "seeds": 0},
                      {"benchmark": "saaae_vs_vae", "variants": ["nope"]}, {"benchmark": "saaae_vs_vae", "jobs": -1},
                      {"benchmark": "saaae_vs_vae", "precision": "fp8"},
                      {"benchmark": "saaae_vs_vae", "data": tmp_path / "nowhere"},
                      {"benchmark": "saaae_vs_vae", "overrides": {"model.init_args.learning": 1}}):  # fmt: skip
        with pytest.raises(bench.Error):
            bench.run(**arguments, out=tmp_path / "runs", reports=tmp_path / "reports")  # type: ignore[arg-type]
    with pytest.raises(bench.Error, match="No results"):
        bench.results(tmp_path)


def test_import_is_light() -> None:
    code = (
        "import sys, attnae.bench; "
        "print([m for m in ('torch', 'lightning', 'pandas', 'numpy', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_claims_equal_the_verdicts() -> None:
    report = Report(BENCHMARK, "paper", RESULTS)
    rows = bench.Results([(report, {})]).claims()
    assert [row["verdict"] for row in rows] == [one.judgment.direction for one in report.judged]
    assert rows[0]["n"] == 3
    assert rows[0]["low"] < rows[0]["estimate"] < rows[0]["high"]
    text = bench.Results([(report, {})])._repr_markdown_()
    assert "Better is 2.13 dB better than plain" in text


# -- LaTeX ---------------------------------------------------------------------------------------------------------


def row_of(text: str, title: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(f"{title} &"))


def test_best_is_bold_only_where_the_interval_says_so() -> None:
    pair = [one for one in RESULTS if one.variant in ("plain", "better")]
    text = latex.table(Report(BENCHMARK, "paper", pair))
    assert "\\textbf" in row_of(text, "better")  # differences 2.0, 2.1, 2.3
    assert "\\textbf" not in row_of(text, "plain")
    single = [one for one in pair if one.seed == 1]
    assert "\\textbf" not in latex.table(Report(BENCHMARK, "paper", single))
    noisy = [replace(one, metrics={**one.metrics, "heldout/psnr_mean": 20.0 + (-1) ** one.seed * (one.variant == "better")})
             for one in pair]  # fmt: skip
    assert "\\textbf{20" not in latex.table(Report(BENCHMARK, "paper", noisy))


HOSTILE = r"a_b & 50% $x$ #1 {y} \input{z} ~ ^ <|> \\ `"


def test_hostile_text_stays_text() -> None:
    benchmark = replace(BENCHMARK, title=HOSTILE)
    text = latex.table(Report(benchmark, "paper", RESULTS))
    assert "\\input{z}" not in text.replace("\\textbackslash{}input\\{z\\}", "")
    assert "a\\_b \\& 50\\% \\$x\\$ \\#1 \\{y\\}" in text


def test_no_complete_run() -> None:
    assert "no complete run" in latex.table(Report(BENCHMARK, "paper", []))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_compiles(tmp_path: Path) -> None:
    tables = [
        latex.table(Report(replace(BENCHMARK, title=title), "paper", RESULTS)) for title in (BENCHMARK.title, HOSTILE)
    ]
    (tmp_path / "a.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}"
        + "".join(tables)
        + "\\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "a.tex"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_formats_on_request(
    made: tuple[bench.Results, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, folder = made
    reports = tmp_path / "reports"
    words = ["report", str(folder / "runs"), "--reports", str(reports)]
    assert app.main([*words, "--format", "latex", "--figures", "pdf"]) == 0
    assert app.main([*words, "--format", "csv"]) == 0
    page = reports / "saaae_vs_vae" / "tiny"
    assert (page / "results.tex").read_text() == results.to_latex()
    with (page / "claims.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [row["verdict"] for row in results.claims()]
    assert (page / "figures" / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert "results.tex" in capsys.readouterr().out

"""``attnae.bench`` from Python, and reports in formats for papers, on one tiny real run."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_golden import BENCHMARK, RESULTS, run
from tiny_benchmark import TINY

import attnae.bench as bench
from attnae.bench import api, app
from attnae.bench.catalog.benchmark import Table
from attnae.bench.reporting import latex, page, tables
from attnae.bench.reporting.material import Report

OVERRIDES: dict[str, Any] = {key: json.loads(value) if value[0] in "0123456789[" else value
                             for key, _, value in (text.partition("=") for text in TINY)}  # fmt: skip


NOTEBOOK = importlib.util.find_spec("nbclient") is not None and importlib.util.find_spec("ipykernel") is not None


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "variants": ["vae"],
        "seeds": [3],
        "overrides": {**OVERRIDES, "trainer.max_epochs": 1},
        "label": "tiny",
        "out": str(folder / "runs"),
        "reports": str(folder / "reports"),
    }


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[dict[str, Any]]], Path]:
    """Outputs of a notebook's cells that make the one run of this file, if notebooks can be executed here."""
    folder = tmp_path_factory.mktemp("api")
    if not NOTEBOOK:
        return [], folder
    import nbformat
    from nbclient import NotebookClient

    sources = [f"import attnae.bench as bench\nresults = bench.run('saaae_vs_vae', **{arguments(folder)!r})",
               "results", "bench.run('nope')"]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, sources)))
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=240, allow_errors=True, resources=place).execute()
    return [cell.outputs for cell in notebook.cells], folder


@pytest.fixture(scope="module")
def made(cells: tuple[Any, Path]) -> tuple[bench.Results, Path]:
    """The same call from plain Python; it finds the run of the notebook complete."""
    _, folder = cells
    return bench.run("saaae_vs_vae", **arguments(folder), wandb=False), folder


@pytest.mark.skipif(not NOTEBOOK, reason="nbclient and ipykernel are not installed")
def test_notebook(cells: tuple[list[list[dict[str, Any]]], Path], made: tuple[bench.Results, Path]) -> None:
    (run, shown, failed), folder = cells
    assert not [one for one in run if one["output_type"] == "error"]
    screens = [one["data"]["text/html"] for one in run if one["output_type"] == "display_data"]
    (progress,) = [one for one in screens if "runs done" in one]  # updated in place, not repeated
    assert "1/1 runs done" in progress
    assert "vae/seed3" in progress
    assert not [one for one in run if "\x1b" in one.get("text", "")]
    assert "reaches a PSNR" in shown[0]["data"]["text/markdown"]
    links = re.findall(r"\]\((.*?)\)", shown[0]["data"]["text/markdown"])
    assert links
    assert all((folder / link).is_file() for link in links)
    assert failed[-1]["ename"] == "UserError"
    assert len(list((folder / "runs").rglob("result.json"))) == 1


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
        np.testing.assert_allclose(one.value.to_numpy(), arrays["heldout/psnr"], rtol=1e-6)
    assert list(one.image) == list(range(16))
    none = bench.Results([]).frame(per_image=True)
    assert [kind.kind for kind in none.dtypes[["seed", "image", "value"]]] == ["i", "i", "f"]
    assert list(none.dtypes) == list(images.dtypes)
    assert one.value.mean() == pytest.approx(frame["heldout/psnr_mean"][0], rel=1e-5)


def test_reports_without_images_refer_to_the_runs(made: tuple[bench.Results, Path], tmp_path: Path) -> None:
    _, folder = made
    shutil.copytree(folder / "reports", tmp_path / "reports")
    for arrays in (tmp_path / "reports").rglob("*.npz"):
        arrays.unlink()
    with pytest.raises(bench.Error, match=r'bench\.results\("runs"\)'):
        bench.results(tmp_path / "reports").frame(per_image=True)


def test_errors_are_of_one_class(tmp_path: Path) -> None:
    for arguments in ({"benchmark": "nope"}, {"benchmark": "saaae_vs_vae", "seeds": 0},
                      {"benchmark": "saaae_vs_vae", "variants": ["nope"]}, {"benchmark": "saaae_vs_vae", "jobs": -1},
                      {"benchmark": "saaae_vs_vae", "precision": "fp8"},
                      {"benchmark": "saaae_vs_vae", "data": tmp_path / "nowhere"},
                      {"benchmark": "saaae_vs_vae", "data": np.zeros((4, 8, 8, 3))},
                      {"benchmark": "saaae_vs_vae", "overrides": {"model.init_args.learning": 1}},
                      {"benchmark": "--help"}, {"benchmark": "saaae_vs_vae", "variants": [1]},
                      {"benchmark": "saaae_vs_vae", "overrides": ["trainer.max_epochs=1"]},
                      {"benchmark": "saaae_vs_vae", "overrides": {"trainer.max_epochs": object()}},
                      {"benchmark": "saaae_vs_vae", "grid": {"trainer.max_epochs": 1}},
                      {"benchmark": "saaae_vs_vae", "grid": {"trainer.max_epochs": [1, object()]}},
                      {"benchmark": "saaae_vs_vae", "grid": ["trainer.max_epochs=1,2"]},
                      {"benchmark": "saaae_vs_vae", "grid": {"trainer.max_epochs": np.array([0, 1], np.int64)}},
                      {"benchmark": "saaae_vs_vae", "profile": "nope"}):  # fmt: skip
        with pytest.raises(bench.Error):
            bench.run(**arguments, out=tmp_path / "runs", reports=tmp_path / "reports")  # type: ignore[arg-type]
    with pytest.raises(bench.Error, match="No results"):
        bench.results(tmp_path)
    with pytest.raises(bench.Error, match="File name too long"):
        bench.run("saaae_vs_vae", data="x" * 300, out=tmp_path / "runs", reports=tmp_path / "reports")


def test_values_of_other_libraries_are_those_of_the_shell() -> None:
    values = {"np": np.int64(3), "list": np.array([1, 2]), "path": Path("a/b"), "none": None, "text": "1e-3"}
    told = {key: api._text(key, value) for key, value in values.items()}
    assert told == {"np": "3", "list": "[1, 2]", "path": "a/b", "none": "null", "text": "1e-3"}


def test_results_of_an_unknown_benchmark_are_refused(made: tuple[bench.Results, Path], tmp_path: Path) -> None:
    (path,) = (made[1] / "runs").rglob("result.json")
    stored = {**json.loads(path.read_text()), "benchmark": "gone"}
    (tmp_path / "result.json").write_text(json.dumps(stored))
    with pytest.raises(bench.Error, match=r"gone.*Available: .*saaae_vs_vae"):
        bench.results(tmp_path)


@pytest.mark.parametrize("stored", ["{", "[]", '{"format": 99}'])
def test_unreadable_results_are_named(stored: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(stored)
    with pytest.raises(bench.Error, match=r"result\.json"):
        bench.results(tmp_path)


def test_without_pandas_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(bench.Error, match=r'pip install "attnae\[pandas\]"'):
        bench.Results([]).frame()


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
    alone = latex.table(Report(BENCHMARK, "paper", single))
    assert "\\textbf" not in alone
    assert "Bold" not in alone
    assert "deviation" not in alone
    noisy = [replace(one, metrics={**one.metrics, "heldout/psnr_mean": 20.0 + (-1) ** one.seed * (one.variant == "better")})
             for one in pair]  # fmt: skip
    assert "\\textbf{20" not in latex.table(Report(BENCHMARK, "paper", noisy))


HOSTILE = r"a_b & 50% $x$ #1 {y} \input{z} ~ ^ <|> \\ `" + "Žluťoučký ğ 中文 σ≤1 😀 ħ e\u0301"


def test_hostile_text_stays_text() -> None:
    benchmark = replace(BENCHMARK, title=HOSTILE)
    text = latex.table(Report(benchmark, "paper", RESULTS))
    assert "\\input{z}" not in text.replace("\\textbackslash{}input\\{z\\}", "")
    assert "a\\_b \\& 50\\% \\$x\\$ \\#1 \\{y\\}" in text
    variants = {**BENCHMARK.variants, "better": replace(BENCHMARK.variants["better"], title="[ours]")}
    assert "\n    {}[ours] & " in latex.table(Report(replace(BENCHMARK, variants=variants), "paper", RESULTS))
    assert "Žluťoučký ğ [U+4E2D]" in text
    labels = [line for one in ("a_b", "50% \\x") for line in latex.table(Report(BENCHMARK, one, RESULTS)).splitlines()
              if "\\label" in line]  # fmt: skip
    assert [one.strip() for one in labels] == ["\\label{tab:example-a-b}", "\\label{tab:example-50-x}"]


def test_columns_about_other_images_are_told_apart() -> None:
    tables = [Table("Held-out", "heldout", ["mse"], 1), Table("Training", "train_set", ["mse"], 1)]
    results = [replace(one, metrics={**one.metrics, "train_set/mse": 0.5}) for one in RESULTS]
    text = latex.table(Report(replace(BENCHMARK, tables=tables), "paper", results))
    assert "\\multicolumn{1}{r}{held-out images} & \\multicolumn{1}{r}{training images}" in text
    assert "\\cmidrule(lr){2-2} \\cmidrule(lr){3-3}" in text
    assert "cmidrule" not in latex.table(Report(BENCHMARK, "paper", RESULTS))


def test_other_images_are_named_and_never_best() -> None:
    few = [run("single", seed, 30.0 + seed / 10) for seed in (1, 2, 3)]
    for one in few:
        one.metrics["heldout/images"] = 32.0
    report = Report(BENCHMARK, "paper", [*RESULTS[:6], *few])
    text = latex.table(report)
    assert "single (32 images)" in text
    assert "textbf" not in text
    assert "single (32 images)" in page.text(report)
    assert "single" not in tables.differences(report)


def test_a_mean_over_fewer_seeds_says_so() -> None:
    results = [*RESULTS[:5], replace(RESULTS[5], metrics={"heldout/mse": 0.006})]
    assert "\\textbf{22.15} $\\pm$ 0.21 (n = 2)" in latex.table(Report(BENCHMARK, "paper", results))


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
    outdated = reports / "saaae_vs_vae" / "tiny" / "figures" / "curves.pdf"
    outdated.write_bytes(b"outdated")
    assert app.main([*words, "--format", "csv"]) == 0
    page = reports / "saaae_vs_vae" / "tiny"
    assert (page / "results.tex").read_text() == results.to_latex()
    with (page / "claims.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [row["verdict"] for row in results.claims()]
    figure = page / "figures" / "curves.pdf"
    assert figure.read_bytes().startswith(b"%PDF")
    assert {path.stem for path in figure.parent.glob("*.png")} == {path.stem for path in figure.parent.glob("*.pdf")}
    assert "results.tex" in capsys.readouterr().out

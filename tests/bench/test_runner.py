"""``attnae-bench`` on tiny real runs."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_benchmark import (
    RUN,
    TINY,
    Done,
    bench,
    folder,
    folders,
    images,
    log,
    options,
    readme,
    refused,
    start,
    table,
    wait_for,
)

from attnae import result
from attnae.bench import catalog, plan
from attnae.bench.commands import run as run_command
from attnae.bench.identity import RunId
from attnae.bench.reporting import page as page_module
from attnae.bench.reporting.cells import unit_heading
from attnae.bench.reporting.tables import chosen
from attnae.bench.request import Request
from attnae.data import content
from attnae.metrics.columns import column

FEW = 4

"""Number of epochs per run."""

COMPARE = [*RUN, "--jobs", "2", "--variants", "vae,saaae", "--seeds", "2", "--set", f"trainer.max_epochs={FEW}"]

"""With two jobs, each run has one thread."""


# -- complete comparison -------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Two variants with two seeds. Tests must not modify it."""

    cwd: Path
    done: Done

    @property
    def report(self) -> Path:
        return self.cwd / "reports/saaae_vs_vae/tiny"

    @property
    def results(self) -> list[result.Result]:
        return [result.read_result(run / "result.json") for run in folders(self.cwd)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    cwd = tmp_path_factory.mktemp("compared")
    return Comparison(cwd, bench(*COMPARE, cwd=cwd))


def test_run_writes_results(compared: Comparison) -> None:
    assert compared.done.code == 0, compared.done.text
    assert [(r.variant, r.seed, r.status) for r in compared.results] == [
        (variant, seed, "complete") for variant in ("saaae", "vae") for seed in (1, 2)
    ]
    for run, r in zip(folders(compared.cwd), compared.results, strict=True):
        assert (r.benchmark, r.label, r.profile, r.reason) == ("saaae_vs_vae", "tiny", "quick", "")
        assert run.name == RunId.of(r).folder
        assert r.finished_at[:4].isdigit()
        assert (run / "weights.safetensors").is_file()
        assert (run / "per_image.npz").is_file()
        assert not (run / "checkpoints").exists()
        assert all((run / image).is_file() for image in r.images)
        words = [["attnae-bench", "config"], ["attnae", "fit"], ["attnae", "test"]]
        assert [command.split()[:2] for command in r.commands] == words
        assert r.curves["epoch"] == list(range(1, FEW + 1))
        assert r.efficiency.keys() == {
            "params_trainable", "params_total", "gflops_forward", "seconds_per_epoch", "cpu_seconds_per_epoch",
            "images_per_second", "peak_memory_mb",
        }  # fmt: skip
        assert {key.split("/")[0] for key in r.metrics} == {"heldout", "heldout_sampled", "train_set"}
        assert r.hardware["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)
        assert r.wall_seconds > 0


def test_run_prints_report_path_and_next_command(compared: Comparison) -> None:
    assert "Report: reports/saaae_vs_vae/tiny/README.md" in compared.done.out
    assert "Next: attnae-bench run saaae_vs_vae --profile short" in compared.done.out


def test_report_files(compared: Comparison) -> None:
    assert sorted(path.name for path in (compared.report / "runs").iterdir()) == [
        f"{variant}-seed{seed}.json" for variant in ("saaae", "vae") for seed in (1, 2)
    ]
    assert {path.name for path in (compared.report / "figures").iterdir()} == {
        "grid.png", "tradeoff.png", "curves.png", "saaae-attention.png", "saaae-gate.png",
    }  # fmt: skip
    for name in re.findall(r"\]\((figures/.*?)\)", readme(compared.cwd)):
        assert (compared.report / name).stat().st_size > 1000
    for run, r in zip(folders(compared.cwd), compared.results, strict=True):
        copy = compared.report / "runs" / f"{r.variant}-seed{r.seed}.json"
        assert json.loads(copy.read_text()) == json.loads((run / "result.json").read_text())


def test_report_starts_with_demonstration_notice(compared: Comparison) -> None:
    first = readme(compared.cwd).splitlines()[0]
    assert first.startswith(f"# VAE vs SAAAE: demonstration on embedded photos, {FEW} epochs, data.batch_size=16, ")
    assert first.endswith(", net.latent_dim=8, trainer.accelerator=cpu")  # independent of the label


def test_report_gives_mean_and_deviation_over_seeds(compared: Comparison) -> None:
    spec = next(table for table in catalog.load("saaae_vs_vae").tables if table.protocol == "heldout")
    header, *body = table(readme(compared.cwd), spec.title)
    assert [row[0] for row in body] == ["VAE", "SAAAE"]
    for variant, row in zip(("vae", "saaae"), body, strict=True):
        for key in chosen(spec.keys):
            values = [r.metrics[key] for r in compared.results if r.variant == variant]
            digits = column(key).digits
            expected = (
                f"{statistics.fmean(values):,.{digits}f} ±\N{NO-BREAK SPACE}{statistics.stdev(values):,.{digits}f}"
            )
            assert row[header.index(unit_heading(key))] == expected
    assert "seeds 1, 2." in readme(compared.cwd)


def test_the_answer_comes_first_in_the_report_and_last_on_the_terminal(compared: Comparison) -> None:
    answer = readme(compared.cwd).splitlines()[2]
    assert answer.startswith("SAAAE ")
    assert "held-out images" in answer
    assert "2 seeds" in answer
    assert answer in compared.done.out
    assert readme(compared.cwd).index("figures/grid.png") < readme(compared.cwd).index("## ")


def test_report_lists_numbers_of_all_runs(compared: Comparison) -> None:
    with (compared.report / "results.csv").open(encoding="utf-8", newline="") as stream:
        lines = {(line["variant"], int(line["seed"])): line for line in csv.DictReader(stream)}
    assert lines.keys() == {(r.variant, r.seed) for r in compared.results}
    for r in compared.results:
        for key, value in {**r.metrics, **r.efficiency}.items():
            assert float(lines[r.variant, r.seed][key]) == value


def test_report_contains_no_absolute_paths(compared: Comparison) -> None:
    for path in [*compared.report.rglob("*.md"), *compared.report.rglob("*.csv"), *compared.report.rglob("*.json")]:
        text = path.read_text(encoding="utf-8")
        assert str(compared.cwd) not in text
        assert str(Path.home()) + "/" not in text


def test_report_is_checked(compared: Comparison, tmp_path: Path) -> None:
    shutil.copytree(compared.cwd / "reports", tmp_path / "reports")
    assert bench("report", "--check", cwd=tmp_path).code == 0
    page = tmp_path / "reports/saaae_vs_vae/tiny/README.md"
    honest = page.read_text(encoding="utf-8")
    number = table(honest, "Held-out images")[1][2].split()[0]
    page.write_text(honest.replace(number, number[:-1] + str((int(number[-1]) + 1) % 10)), encoding="utf-8")
    done = bench("report", "--check", cwd=tmp_path)
    assert done.code == 1
    assert "reports/saaae_vs_vae/tiny/README.md" in done.err
    page.write_text(honest, encoding="utf-8")
    (page.parent / "figures/grid.png").unlink()
    assert bench("report", "--check", cwd=tmp_path).code == 1


def test_check_detects_missing_table(compared: Comparison, tmp_path: Path) -> None:
    shutil.copytree(compared.cwd / "reports", tmp_path / "reports")
    (tmp_path / "reports/saaae_vs_vae/tiny/results.csv").unlink()
    done = bench("report", "--check", cwd=tmp_path)
    assert done.code == 1
    assert "results.csv" in done.err


def test_check_reports_damaged_result_in_one_line(compared: Comparison, tmp_path: Path) -> None:
    shutil.copytree(compared.cwd / "reports", tmp_path / "reports")
    (tmp_path / "reports/saaae_vs_vae/tiny/runs/vae-seed1.json").write_text("{", encoding="utf-8")
    refused(bench("report", "--check", cwd=tmp_path), "vae-seed1.json")


def test_demonstrations_are_not_in_the_overview(compared: Comparison) -> None:
    overview = (compared.cwd / "reports/README.md").read_text(encoding="utf-8")
    assert "tiny" not in overview


def test_report_depends_only_on_results(compared: Comparison, tmp_path: Path) -> None:
    done = bench("report", compared.cwd / "runs", "--reports", "again", cwd=tmp_path)
    assert done.code == 0, done.text
    again = tmp_path / "again/saaae_vs_vae/tiny"
    for path in [*again.rglob("*.md"), *again.rglob("*.csv"), *again.rglob("*.json")]:
        assert path.read_bytes() == (compared.report / path.relative_to(again)).read_bytes()


def test_report_to_existing_file_fails_in_one_line(compared: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(bench("report", compared.cwd / "runs", "--reports", "file", cwd=tmp_path), "file")


def test_second_run_executes_nothing(compared: Comparison) -> None:
    before = {path: path.stat().st_mtime_ns for path in (compared.cwd / "runs").rglob("*") if path.is_file()}
    again = bench(*COMPARE, cwd=compared.cwd)
    assert again.code == 0
    assert "4 runs, 4 already complete" in again.out
    assert again.seconds < 10
    assert {path: path.stat().st_mtime_ns for path in (compared.cwd / "runs").rglob("*") if path.is_file()} == before


ONE = [*RUN, "--jobs", "2", "--variants", "vae", "--seeds", "1,", "--set", f"trainer.max_epochs={FEW}"]


@pytest.fixture
def complete(compared: Comparison, tmp_path: Path) -> Path:
    """Folder of a complete run in the working folder; tests may modify it."""
    shutil.copytree(compared.cwd / "runs", tmp_path / "runs")
    return next(run for run in folders(tmp_path, "vae") if run.name.startswith("seed1-"))


def test_retest_updates_metrics_without_training(complete: Path, tmp_path: Path) -> None:
    """New metrics are added, wrong values are replaced, and metrics that are no longer measured are kept."""
    before = result.read_result(complete / "result.json")
    old = {key: value for key, value in before.metrics.items() if not key.endswith("/ssim_mean")}
    record = replace(before, metrics={**old, "heldout/mse": 0.5, "heldout/lpips": 0.25})
    result.write(record, complete / "result.json")
    weights = (complete / "weights.safetensors").stat().st_mtime_ns
    done = bench(*ONE, "--retest", cwd=tmp_path)
    assert done.code == 0, done.text
    after = result.read_result(complete / "result.json")
    tested = after.git.pop("tested")
    assert tested.pop("versions") == before.versions
    assert tested.pop("first_finished_at") == before.finished_at < after.finished_at
    assert (after.git, tested) == (before.git, before.git)
    assert replace(after, finished_at=before.finished_at) == replace(
        before, metrics={**before.metrics, "heldout/lpips": 0.25}
    )
    assert (complete / "weights.safetensors").stat().st_mtime_ns == weights
    said = [line.split()[2] for line in log(complete).splitlines() if line.startswith("$ attnae")]
    assert said == ["fit", "test", "test"]
    assert "retested with commit" in readme(tmp_path) or not before.git


@pytest.mark.parametrize("damage", ["weights are cut short", "images have changed"])
def test_failed_retest_keeps_previous_results(damage: str, complete: Path, tmp_path: Path) -> None:
    weights = complete / "weights.safetensors"
    if damage == "weights are cut short":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        old = result.read_result(complete / "result.json")
        result.write(replace(old, data={**old.data, "digest": "of others"}), complete / "result.json")
    before = (complete / "result.json").read_bytes()
    done = bench(*ONE, "--retest", cwd=tmp_path)
    assert done.code == 1
    assert damage.split()[0] in done.out
    assert "previous results were kept" in done.out
    assert (complete / "result.json").read_bytes() == before
    assert bench(*ONE, cwd=tmp_path).code == 0
    assert (complete / "result.json").read_bytes() == before


def test_killed_retest_keeps_previous_results(complete: Path, tmp_path: Path) -> None:
    before = (complete / "result.json").read_bytes()
    process = start(*ONE, "--retest", cwd=tmp_path)
    wait_for(lambda: (complete / "test.json").exists(), process)  # after the test, before its result is written
    process.kill()
    process.communicate()
    assert (complete / "result.json").read_bytes() == before
    assert "1 run, 1 already complete" in bench(*ONE, cwd=tmp_path).out


def test_checkpoints_can_be_kept(tmp_path: Path) -> None:
    arguments = [*RUN, "--variants", "vae", *options("trainer.max_epochs=1")]
    assert bench(*arguments, "--keep-checkpoints", cwd=tmp_path).code == 0
    kept = folder(tmp_path, "vae") / "checkpoints/last.ckpt"
    assert kept.is_file()
    assert bench(*arguments, "--retest", cwd=tmp_path).code == 0
    assert kept.is_file()


def test_incomplete_runs_cannot_be_retested(tmp_path: Path) -> None:
    refused(bench(*ONE, "--retest", cwd=tmp_path), "--retest", "0 of 1 runs are complete")
    assert not list(tmp_path.rglob("log.txt"))


def test_status(compared: Comparison, tmp_path: Path) -> None:
    done = bench("status", cwd=compared.cwd)
    assert done.code == 0
    assert "saaae_vs_vae/tiny" in done.out.splitlines()[0]  # the runs of a label stand below it
    lines = [line for line in done.out.splitlines() if re.match(r"  (vae|saaae)/seed[12]-", line)]
    assert len(lines) == 4
    assert all("complete" in line for line in lines)
    refused(bench("status", cwd=tmp_path), "No runs below runs")


# -- failures ------------------------------------------------------------------------------------------------------


def failed(cwd: Path, variant: str, *culprits: str) -> None:
    """The failed run and its reason appear in the result, the report and the table."""
    found = result.read_result(folder(cwd, variant) / "result.json")
    assert found.status == "failed"
    rows = {row[0]: row[-1] for row in table(readme(cwd), "Failed runs")[1:]}
    for culprit in culprits:
        assert culprit in found.reason
        assert culprit in rows[variant].replace("\\", "")
    assert "\n" not in found.reason


def test_failed_variant_is_reported(tmp_path: Path) -> None:
    large = ("--set", "data.init_args.corruption.init_args.size=64")  # a patch larger than the images
    done = bench(*RUN, *large, "--variants", "saaae", cwd=tmp_path)
    assert done.code == 1, done.text
    failed(tmp_path, "saaae", "patches of 64 pixels")
    assert "patches of 64 pixels" in done.out
    assert "0 of 1 runs complete" in readme(tmp_path)
    assert "patches of 64 pixels" in bench("status", cwd=tmp_path).out


def test_too_many_broken_images_are_rejected_before_training(tmp_path: Path) -> None:
    images(tmp_path / "photos", 20, 4)
    for name in ("broken", "damaged", "torn"):  # up to two broken images are skipped and counted
        (tmp_path / f"photos/train/{name}.png").write_bytes(b"\x89PNG\r\n\x1a\nno image at all")
    done = bench(*RUN, "--data-root", "photos", "--variants", "vae", cwd=tmp_path)
    assert done.code == 2, done.text
    assert "photos/train/broken.png" in done.err
    assert not (tmp_path / "runs").exists()


def test_too_few_images_are_reported_as_failure(tmp_path: Path) -> None:
    done = bench(*RUN, "--data-root", images(tmp_path / "photos", 1, 2), "--variants", "vae", cwd=tmp_path)
    assert done.code == 1, done.text
    failed(tmp_path, "vae", "photos", "too few")


def test_failure_prints_end_of_log(tmp_path: Path) -> None:
    done = bench(*RUN, "--variants", "vae", *options("model.init_args.lr=-1"), cwd=tmp_path)
    assert done.code == 1
    lines = done.out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("  log: runs/"))
    assert lines[place - 1].startswith("vae/seed1 failed: ")
    tail = [line for line in lines[place + 1 :] if line.startswith("  | ")]
    assert 1 <= len(tail) <= 5
    assert "lr" in tail[-1]


# -- other data ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folder_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "pets", 20, 6, nested=True)
    generator = np.random.default_rng(1)
    gray, transparent = (generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((16, 16), (16, 16, 4)))
    Image.fromarray(gray).save(tmp_path / "pets/train/cats/gray.png")
    Image.fromarray(transparent).save(tmp_path / "pets/test/dogs/transparent.png")
    arguments = ["--variants", "vae", "--data-root", "pets", "--set", "trainer.max_epochs=2"]
    done = bench("run", "saaae_vs_vae", *options(*TINY), *arguments, "--profile", "short", cwd=tmp_path)
    assert done.code == 0, done.text
    (page,) = (tmp_path / "reports/saaae_vs_vae").glob("*/README.md")
    assert page.parent.name.startswith("short-pets-")
    assert "2ep" in page.parent.name
    text = page.read_text(encoding="utf-8")
    said, *settings = text.splitlines()[0].split(", data.batch_size=16")
    assert said == "# VAE vs SAAAE: your images (pets), profile short, 2 epochs"
    assert settings == [", data.image_size=16, data.test_images=16, data.train_images=32, data.val_images=8, "
                        "net.channels=\\[4,4,4,4\\], net.image_size=16, net.latent_dim=8, trainer.accelerator=cpu"]  # fmt: skip
    assert "Trained on 21 and tested on 7 of your images (pets) at 16x16." in text
    assert "Too few held-out images" in text
    assert page_module.FEW == content.FEW
    assert "![The same images of pets for all variants" in text
    assert text.index("## Held-out images") < text.index("## Cost") < text.index("## The paper's claims")
    assert "Next: for the controls, the same command with --variants saaae" in done.out
    made = plan.make(Request(catalog.load("saaae_vs_vae"), data_root=tmp_path / "pets", dry=True))
    monkeypatch.chdir(tmp_path)
    assert run_command._next(made) == "attnae-bench run saaae_vs_vae --profile short --data-root pets"
    hub = plan.make(Request(catalog.load("saaae_vs_vae"), data_root=Path("hf://owner/name"), dry=True))
    assert run_command._next(hub).endswith("--data-root hf://owner/name")
    assert "Converted images: 1 grayscale, 1 transparent (on white)." in text
    assert f"(saaae_vs_vae/{page.parent.name}/README.md)" in (tmp_path / "reports/README.md").read_text(
        encoding="utf-8"
    )
    (found,) = tmp_path.glob("runs/saaae_vs_vae/*/vae/*/result.json")
    assert result.read_result(found).data["converted"] == {"grayscale": 1, "transparent (on white)": 1}
    assert "--data.init_args.root=pets" in result.read_result(found).commands[1]


def test_changed_data_is_a_new_run(tmp_path: Path) -> None:
    def plan() -> str:
        request = ("--data-root", "photos", "--variants", "vae")
        decode = "from attnae.data.content import content; from attnae.data.location import locate; "
        decode += "content(locate('STL-10', 'photos', 'photos', 'auto'), 16)"
        subprocess.run([sys.executable, "-c", decode], cwd=tmp_path, check=True)
        done = bench(*RUN, *request, "--dry-run", cwd=tmp_path)
        assert done.code == 0, done.text
        assert "?" not in done.out
        return done.out.splitlines()[0]

    images(tmp_path / "photos", 4, 2)
    before = plan()
    assert plan() == before
    images(tmp_path / "photos", 5, 2)
    assert plan() != before


# -- wrong usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        ([], ["COMMAND"]),
        (["rum"], ["rum"]),
        (["run"], ["BENCHMARK"]),
        (["run", "saae_vs_vae"], ["'saae_vs_vae'", "Did you mean saaae_vs_vae?"]),
        (["run", "saaae_vs_vae", "--nope"], ["--nope"]),
        (["run", "saaae_vs_vae", "--variants", "vae,saae"], ["'saae'", "Did you mean saaae?"]),
        (["run", "saaae_vs_vae", "--variants", ","], ["','"]),
        (["run", "saaae_vs_vae", "--profile", "qick"], ["'qick'", "Did you mean quick?"]),
        (["run", "saaae_vs_vae", "--set", "max_epochs"], ["'max_epochs'", "key=value"]),
        (["run", "saaae_vs_vae", "--set", "=3"], ["'=3'"]),
        (["run", "saaae_vs_vae", "--set", "trainer.max_epochs=[1"], ["trainer.max_epochs=[1"]),
        (["run", "saaae_vs_vae", "--set", "trainer.max_epochs=many"], ["max_epochs", "many"]),
        (["run", "saaae_vs_vae", "--set", "perceptual=maybe"], ["perceptual=maybe"]),
        (["run", "saaae_vs_vae", "--seeds", "abc"], ["'abc'"]),
        (["run", "saaae_vs_vae", "--seeds", "0"], ["'0'"]),
        (["run", "saaae_vs_vae", "--seeds", "1,1"], ["'1,1'"]),
        (["run", "saaae_vs_vae", "--seeds=-1,2"], ["'-1,2'"]),
        (["run", "saaae_vs_vae", "--jobs", "0"], ["'0'"]),
        (["run", "saaae_vs_vae", "--label", "../up"], ["'../up'"]),
        (["run", "saaae_vs_vae", "--data-root", "nowhere"], ["nowhere"]),
        (["run", "saaae_vs_vae", "--data-root", "empty"], ["empty has no train images"]),
        (["run", "saaae_vs_vae", "--data-root", "file"], ["file"]),
        (["run", "saaae_vs_vae", "--profile", "short"], ["STL-10", "data/stl10"]),
        (["run", "saaae_vs_vae", "--data-root", "untested"], ["untested/test"]),
        (["run", "saaae_vs_vae", "--data-root", "halfarray"], ["test.npy"]),
        (["report", "nowhere"], ["nowhere"]),
        (["status", "nowhere"], ["nowhere"]),
        (["report", "--check", "nowhere"], ["nowhere"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_usage_errors_are_one_line(arguments: list[str], culprits: list[str], tmp_path: Path) -> None:
    for name in ("empty", "halfarray"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    np.save(tmp_path / "halfarray/train.npy", np.zeros((2, 8, 8, 3), np.uint8))
    images(tmp_path / "untested", 2, 0)
    refused(bench(*arguments, cwd=tmp_path), *culprits)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("option", ["--out", "--reports"])
def test_output_folder_that_is_a_file_is_rejected_before_training(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench(*RUN, "--set", "trainer.max_epochs=1", "--variants", "vae", option, "file", cwd=tmp_path)
    assert done.code == 2, done.text
    (line,) = done.err.splitlines()
    assert "file" in line
    assert not list(tmp_path.rglob("log.txt"))


# -- dry run -------------------------------------------------------------------------------------------------------


def test_dry_run_prints_commands_without_data(tmp_path: Path) -> None:
    done = bench("run", "saaae_vs_vae", "--profile", "paper", "--seeds", "2", "--dry-run", cwd=tmp_path)
    assert done.code == 0, done.text
    assert list(tmp_path.iterdir()) == []
    commands = [line for line in done.out.splitlines() if not line.startswith("#")]
    words = [["attnae-bench", "config"], ["attnae", "fit"], ["attnae", "test"]]
    assert [line.split()[:2] for line in commands] == 4 * words
    config = "attnae-bench config saaae_vs_vae --variant vae --profile paper > run.yaml"
    assert commands[0] == config
    fit = commands[1].split()
    assert fit[fit.index("--seed_everything") + 1] == "1"
    assert "-????????" in done.out
    assert "3000 epochs" in done.out


def test_label_lists_differences_from_profile(tmp_path: Path) -> None:
    images(tmp_path / "natural", 4, 2)
    arguments = ["--data-root", "natural", "--set", "trainer.max_epochs=3", "--profile", "short", "--dry-run"]
    done = bench("run", "saaae_vs_vae", *arguments, cwd=tmp_path)
    assert "runs/saaae_vs_vae/short-natural-3ep/vae/seed1-" in done.out


def test_untrained_variant_is_only_evaluated(tmp_path: Path) -> None:
    done = bench("run", "saaae_vs_vae", "--variants", "biharmonic", "--dry-run", cwd=tmp_path)
    config, test = [line for line in done.out.splitlines() if not line.startswith("#")]
    assert config == "attnae-bench config saaae_vs_vae --variant biharmonic --profile quick > run.yaml"
    assert test.startswith("attnae test -c run.yaml ")


def test_list_prints_all_benchmarks_variants_and_profiles(tmp_path: Path) -> None:
    done = bench("list", cwd=tmp_path)
    assert done.code == 0
    for name in catalog.names():
        benchmark = catalog.load(name)
        for word in (name, *benchmark.variants, *(f"--profile {profile}" for profile in benchmark.profiles)):
            assert word in done.out
        starred = [line.split()[1] for line in done.out.splitlines() if line.strip().startswith("* ")]
        assert set(starred) >= {v.name for v in benchmark.variants.values() if v.default}

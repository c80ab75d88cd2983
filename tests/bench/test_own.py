"""A comparison of one's own: ``new``, ``run FILE``, changed code, wrong classes, and the trained model with ``--trust``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_benchmark
import torch
import yaml
from tiny_runs import save

import attnae.bench as bench
from attnae.bench import catalog, plan
from attnae.bench.request import Request
from attnae.bench.running import processes
from attnae.bench.running.execution import FAILED, Execution
from attnae.files import shipped

SMALL = ["--set", "trainer.max_epochs=1", "--set", "data.init_args.train_images=64", "--set", "data.init_args.test_images=16",
         "--set", "data.init_args.val_images=16", "--label", "tiny"]  # fmt: skip


def call(
    cwd: Path, *words: str, module: str = "attnae.bench.app", own: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a command; ``attnae`` in a process that is forked from one with the libraries, or in one of its ``own``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        if module == "attnae.bench.app":
            done = tiny_benchmark.bench(*words, cwd=cwd)
            return subprocess.CompletedProcess(words, done.code, done.out, done.err)
        script = Path(sys.executable).with_name("attnae")  # not -m, by which code in the working folder can be imported
        if own:
            return subprocess.run([script, *words], cwd=cwd, capture_output=True, text=True, check=False)
        patch.chdir(cwd)
        return processes.run(str(script), words, os.environ)


def refused(cwd: Path, *words: str, module: str = "attnae.bench.app", own: bool = False) -> str:
    """The error of a command: one line, exit code 2."""
    done = call(cwd, *words, module=module, own=own)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the new benchmark ``sharp`` and a tiny run of its variants, and what the run printed."""
    folder = tmp_path_factory.mktemp("own")
    done = call(folder, "new", "sharp")
    assert done.returncode == 0, done.stderr
    assert "attnae-bench run sharp/benchmark.yaml" in done.stdout
    done = call(folder, "run", "sharp/benchmark.yaml", "--variants", "control,idea", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def run_of(folder: Path, variant: str) -> Path:
    return next(iter(sorted((folder / "runs/sharp/tiny" / variant).glob("seed1-*"))))


class TestNew:
    def test_writes_the_folder_under_its_name(self, made: tuple[Path, str]) -> None:
        folder = made[0] / "sharp"
        assert {path.name for path in folder.glob("*.*")} == {"net.py", "task.py", "benchmark.yaml", "README.md"}
        for path in folder.glob("*.*"):
            assert "my_idea" not in path.read_text(encoding="utf-8")

    def test_example_is_itself_a_benchmark(self) -> None:
        """The template compares what it says: the networks differ in the attention only."""
        stated = yaml.safe_load(shipped("templates", "idea", "benchmark.yaml").read_text(encoding="utf-8"))
        nets = [stated["variants"][name]["changes"]["model"]["init_args"]["net"] for name in ("control", "idea")]
        assert nets[0].pop("init_args") == {"attention": False}
        assert nets[0] == nets[1]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("moe_denoising", "shipped benchmark"),
            ("torch", "installed package"),
            ("json", "installed package"),
            ("lambda", "word of Python"),
            ("My-Idea", "lowercase"),
            ("1st", "lowercase"),
            ("sharp", "exists"),
        ],
    )
    def test_refuses_names(self, made: tuple[Path, str], name: str, reason: str) -> None:
        assert reason in refused(made[0], "new", name)
        assert name == "sharp" or not (made[0] / name).exists()


class TestRun:
    def test_report_has_no_paper(self, made: tuple[Path, str]) -> None:
        folder, printed = made
        page = (folder / "reports/sharp/tiny/README.md").read_text(encoding="utf-8")
        assert "## Claims" in page
        assert "published" not in page.split("## Claims")[1].split("<details>")[0]
        assert "paper" not in page.split("<details>")[0].replace("sharp", "").lower()
        assert "attnae-bench run sharp/benchmark.yaml --profile quick" in page
        assert "sharp/benchmark.yaml --profile short" in printed

    def test_a_metric_of_its_own_is_a_column_and_judged(self, made: tuple[Path, str]) -> None:
        folder = made[0] / "reports/sharp/tiny"
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert re.search(r"^\| variant .*\| *edge error.↓ *\|", page, re.MULTILINE)
        assert "**edge error** [-], lower is better: mean absolute error of the differences between neighboring" in page
        row = next(line for line in page.splitlines() if "Channel attention keeps edges better" in line)
        measured = {}
        for variant in ("idea", "control"):
            run = run_of(made[0], variant)
            measured[variant] = json.loads((run / "result.json").read_text(encoding="utf-8"))["metrics"][
                "heldout/edge_error"
            ]
            with np.load(run / "per_image.npz") as arrays:
                assert arrays["heldout/edge_error"].mean() == pytest.approx(measured[variant], rel=1e-5)
        assert f"{measured['idea'] - measured['control']:+.4f}" in row

    def test_commands_in_the_report_repeat_the_run(self, made: tuple[Path, str], tmp_path: Path) -> None:
        page = (made[0] / "reports/sharp/tiny/README.md").read_text(encoding="utf-8")
        config, fit, test = re.findall(r"^attnae(?:-bench)? .*$", page, re.MULTILINE)[1:4]
        assert "--trust sharp" in fit
        shutil.copytree(made[0] / "sharp", tmp_path / "sharp")
        words = config.split(" > ")[0].split()[1:]
        (tmp_path / "run.yaml").write_text(call(tmp_path, *words).stdout, encoding="utf-8")
        words = fit.split()[1:]
        assert "add --trust" in refused(tmp_path, words[0], *words[3:], module="attnae.cli")
        done = call(tmp_path, *words, module="attnae.cli")
        assert done.returncode == 0, done.stderr
        again = next(tmp_path.glob("runs/sharp/tiny/*/seed1-*/weights.safetensors"))
        first = made[0] / again.relative_to(tmp_path)
        assert again.read_bytes() == first.read_bytes()
        done = call(tmp_path, *test.split()[1:], module="attnae.cli")
        assert done.returncode == 0, done.stderr
        alone = json.loads((again.parent / "test.json").read_text(encoding="utf-8"))["metrics"]
        together = json.loads((first.parent / "result.json").read_text(encoding="utf-8"))["metrics"]
        assert alone == together  # the runner's process does both

    def test_complete_runs_are_kept_until_the_code_changes(self, made: tuple[Path, str], tmp_path: Path) -> None:
        shutil.copytree(made[0], tmp_path / "own")
        folder = tmp_path / "own"
        done = call(folder, "run", "sharp/benchmark.yaml", "--variants", "control,idea", *SMALL, "--dry-run")
        before = re.findall(r"^# \w+/seed1: .* (\S+)$", done.stdout, re.MULTILINE)
        assert all((folder / one / "result.json").is_file() for one in before)
        with (folder / "sharp/net.py").open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        done = call(folder, "run", "sharp/benchmark.yaml", "--variants", "idea,dncnn", *SMALL, "--dry-run")
        idea, dncnn = re.findall(r"^# \w+/seed1: .* (\S+)$", done.stdout, re.MULTILINE)
        assert idea not in before
        (folder / "sharp/net.py").write_text(
            (made[0] / "sharp/net.py").read_text(encoding="utf-8"), encoding="utf-8", newline="\r\n"
        )
        done = call(folder, "run", "sharp/benchmark.yaml", "--variants", "idea,dncnn", *SMALL, "--dry-run")
        assert re.findall(r"^# \w+/seed1: .* (\S+)$", done.stdout, re.MULTILINE) == [before[1], dncnn]

    def test_code_that_changes_before_a_run_begins_fails_it(self, made: tuple[Path, str], tmp_path: Path) -> None:
        """Its result would be filed under the former code; earlier runs of a plan may take hours."""
        shutil.copytree(made[0] / "sharp", tmp_path / "sharp")
        read = catalog.read(tmp_path / "sharp/benchmark.yaml")
        idea, dncnn = plan.make(Request(read, variants="idea,dncnn", out=tmp_path / "runs")).runs
        assert idea.id.variant == "idea"
        with (tmp_path / "sharp/net.py").open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        late = Execution(idea)
        late.start({})
        assert late.poll()
        assert (late.stage, late.reason) == (FAILED, "the code changed after the command was started. Rerun it")
        assert not plan.code_changed(dncnn)  # its classes are attnae's

    def test_reports_and_merges_need_neither_folder_nor_code(self, made: tuple[Path, str], tmp_path: Path) -> None:
        shutil.copytree(made[0] / "runs", tmp_path / "theirs")
        done = call(tmp_path, "merge", "theirs", "-o", "runs")
        assert done.returncode == 0, done.stdout + done.stderr
        done = call(tmp_path, "report")
        assert done.returncode == 0, done.stderr
        ours, theirs = (root / "reports/sharp/tiny/README.md" for root in (tmp_path, made[0]))
        assert ours.read_text(encoding="utf-8") == theirs.read_text(encoding="utf-8")
        assert call(tmp_path, "report", "--check").returncode == 0
        ours.write_text("changed", encoding="utf-8")
        assert call(tmp_path, "report", "--check").returncode == 1

    def test_text_of_other_people_is_no_html_and_no_markup(self, made: tuple[Path, str], tmp_path: Path) -> None:
        shutil.copytree(made[0] / "runs", tmp_path / "runs")
        path = tmp_path / "runs/sharp/benchmark.yaml"
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        tag = "<script>alert(1)</script>[/x]"
        stated |= {"title": tag, "question": tag, "findings": [tag], "paper": {"title": tag, "notes": tag}}
        for table in stated["tables"]:
            table |= {"title": tag, "note": tag}
        stated["metrics"]["edge_error"]["definition"] = tag
        for claim in stated["claims"]:
            claim |= {"claim": tag, "where": tag}
        for variant in stated["variants"].values():
            variant |= {"title": tag, "about": tag}
        path.write_text(yaml.safe_dump(stated), encoding="utf-8")
        done = call(tmp_path, "report", "--format", "html")
        assert done.returncode == 0, done.stderr
        for written in tmp_path.glob("reports/**/*.*"):
            if written.suffix in (".md", ".html"):
                assert "<script>alert" not in written.read_text(encoding="utf-8"), written
        assert call(tmp_path, "show", str(path)).returncode == 0

    def test_steps_can_be_timed(self, made: tuple[Path, str], tmp_path: Path) -> None:
        shutil.copytree(made[0] / "sharp", tmp_path / "sharp")
        done = call(tmp_path, "run", "sharp/benchmark.yaml", "--variants", "control", *SMALL, "--estimate")
        assert done.returncode == 0, done.stderr
        assert re.search(r"^# Estimated: \d+:\d+, ", done.stdout, re.MULTILINE)

    def test_from_python(self, made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(made[0])
        overrides = {"trainer.max_epochs": 1, "data.init_args.train_images": 64, "data.init_args.test_images": 16,
                     "data.init_args.val_images": 16}  # fmt: skip
        results = bench.run("sharp/benchmark.yaml", variants=["control", "idea"], overrides=overrides, label="tiny")
        assert [row["variant"] for row in results.rows()] == ["control", "idea"]


class TestWrong:
    """Every mistake is found before a run starts, in one line that names the file and what to change."""

    def change(self, made: tuple[Path, str], tmp_path: Path, file: str, old: str, new: str) -> str:
        shutil.copytree(made[0] / "sharp", tmp_path / "sharp")
        path = tmp_path / "sharp" / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        told = refused(tmp_path, "run", "sharp/benchmark.yaml", *SMALL)
        assert not (tmp_path / "runs").exists()
        return told

    @pytest.mark.parametrize(
        ("file", "old", "new", "told"),
        [
            ("benchmark.yaml", "sharp.net.Net,", "sharp.net.Nett,", ["control: model.init_args.net", "Did you mean Net?"]),
            ("benchmark.yaml", "attention: false", "attentio: false", ["'attentio'", "Did you mean attention?"]),
            ("benchmark.yaml", "sharp.task.Task", "sharp.net.Net", ["control: model", "subclass of attnae.training.task"]),
            ("benchmark.yaml", "max_epochs: 5", "max_epochs: -1", ["trainer.max_epochs: must be greater than 0"]),
            ("benchmark.yaml", "{max_epochs: 5}", "{max_epochs: 5, devices: 2}", ["trainer.devices: use --devices"]),
            ("benchmark.yaml", "changes: {model: {init_args: {lr: 2e-3}}}", "changes: {data: {init_args: {root: other}}}",
             ["control and dncnn use different images"]),
            ("benchmark.yaml", "init_args: {attention: false}", "init_args: 5", ["net.init_args must be a mapping, got 5"]),
            ("benchmark.yaml", "max_epochs: 5", "max_epoch: 5", ["trainer.max_epoch", "Did you mean trainer.max_epochs?"]),
            ("benchmark.yaml", "moe_denoising/dncnn", "moe_denoising/dncn", ["variants.dncnn.from", "dncnn"]),
            ("benchmark.yaml", "heldout/edge_error", "heldout/edge_eror", ["claims[1].metric", "Did you mean edge_error?"]),
            ("benchmark.yaml", "  edge_error:", "  mse:", ["metrics.mse", "metric of the package"]),
            ("benchmark.yaml", "  edge_error:", "  Edge:", ["metrics.Edge", "lowercase"]),
            ("benchmark.yaml", "title: edge error", "title: edge | error", ["metrics.edge_error.title", "letters"]),
            ("benchmark.yaml", "better: lower", "better: less", ["metrics.edge_error.better", "lower, higher"]),
            ("benchmark.yaml", "title: edge error", "digits: -1", ["metrics.edge_error", "title"]),
            ("net.py", "class Net(nn.Module):", "class Net(nn.Module)", ["SyntaxError", "net.py", "line"]),
            ("net.py", "from torch import Tensor, nn", "from torch import Tenso, nn", ["Tenso", "(sharp/net.py, line 5)"]),
            ("task.py", "import torch\n", "import os\n\nos._exit(3)\n", ["ended the process"]),
        ],
    )  # fmt: skip
    def test_found(
        self, made: tuple[Path, str], tmp_path: Path, file: str, old: str, new: str, told: list[str]
    ) -> None:
        line = self.change(made, tmp_path, file, old, new)
        assert "sharp/benchmark.yaml" in line
        for part in told:
            assert part in line

    def test_folder_named_like_something_else(self, made: tuple[Path, str], tmp_path: Path) -> None:
        found = {"moe_denoising": "shipped benchmark", "torch": "already in use", "my-idea": "must consist of letters"}
        for name, told in found.items():
            shutil.copytree(made[0] / "sharp", tmp_path / name)
            path = tmp_path / name / "benchmark.yaml"
            path.write_text(path.read_text(encoding="utf-8").replace("sharp.", f"{name}."), encoding="utf-8")
            line = refused(tmp_path, "run", f"{name}/benchmark.yaml", *SMALL)
            assert told in line

    def test_name_without_file(self, made: tuple[Path, str]) -> None:
        assert "name its file: sharp/benchmark.yaml" in refused(made[0], "run", "sharp")


class TestTrust:
    def apply(self, made: tuple[Path, str], tmp_path: Path, *further: str) -> list[str]:
        photo = str(save(tmp_path / "photo.png", 32, 40))
        return ["apply", str(run_of(made[0], "idea")), photo, "-o", str(tmp_path / "out"), "--sigma", "0.2", "--json",
                *further]  # fmt: skip

    def test_apply(self, made: tuple[Path, str], tmp_path: Path) -> None:
        done = call(made[0], *self.apply(made, tmp_path, "--trust", "sharp"), module="attnae.cli", own=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)

    def test_load_gives_the_network_of_the_folder(
        self, made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = (
            "import attnae, sys, torch\n"
            "model = attnae.load(sys.argv[1], trust='sharp')\n"
            "from sharp.net import Net\n"
            "assert type(model.task.net) is Net\n"
            "torch.manual_seed(0)\n"
            "print(model(torch.rand(1, 3, 40, 50)).shape)\n"
        )
        (tmp_path / "load.py").write_text(code, encoding="utf-8")
        monkeypatch.chdir(made[0])
        done = processes.run(str(tmp_path / "load.py"), [str(run_of(made[0], "idea"))], os.environ)
        assert done.stdout == f"{torch.Size([1, 3, 40, 50])}\n", done.stderr

    def test_export_keeps_the_need_for_trust(self, made: tuple[Path, str], tmp_path: Path) -> None:
        words = ["export", str(run_of(made[0], "idea")), str(tmp_path / "exported"), "--no-graph"]
        done = call(made[0], *words, "--trust", "sharp", module="attnae.cli")
        assert done.returncode == 0, done.stderr
        photo = str(save(tmp_path / "photo.png", 32, 40))
        words = ["apply", str(tmp_path / "exported"), photo, "-o", str(tmp_path / "out"), "--sigma", "0.2"]
        assert "--trust" in refused(made[0], *words, module="attnae.cli")

    def test_nothing_else_imports_code(self, made: tuple[Path, str], tmp_path: Path) -> None:
        """Neither a record, nor a kept benchmark file beside it, nor a configuration that asks for it."""
        folder = tmp_path / "own"
        shutil.copytree(made[0], folder)
        for file in ("__init__.py", "net.py", "task.py"):
            (folder / "sharp" / file).write_text("raise SystemExit('imported')\n", encoding="utf-8")
        commands = ("report", "report --check", "status", "merge runs -o merged", "show sharp/benchmark.yaml")
        for words in map(str.split, commands):
            done = call(folder, *words)
            assert "imported" not in done.stdout + done.stderr
            assert done.returncode == 0, done.stderr
        told = refused(folder, *self.apply((folder, ""), tmp_path), module="attnae.cli", own=True)
        assert "imported" not in told
        assert "--trust" in told

    def test_installed_package_and_missing_folder(self, tmp_path: Path) -> None:
        told = refused(tmp_path, "apply", "dncnn", "x.png", "-o", "out", "--trust", "nowhere", module="attnae.cli")
        assert "neither such a folder nor such an installed package" in told

"""``run --extend``: longer runs from the checkpoints of shorter ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_benchmark import RUN, SMALL, bench, equal, folders, log, options, refused

from attnae import result
from attnae.bench import catalog, plan
from attnae.bench.app import main
from attnae.bench.extension import checkpoint, extended, longer
from attnae.bench.request import Request
from attnae.errors import UserError

VAE = [*RUN, "--variants", "vae"]


def by_epochs(cwd: Path) -> dict[int, Path]:
    """Folders of complete runs by their epochs."""
    found = {
        result.read_result(run / "result.json").configuration["trainer"]["max_epochs"]: run for run in folders(cwd)
    }
    assert all(result.read_result(run / "result.json").status == "complete" for run in found.values())
    return found


@pytest.mark.slow
def test_two_and_two_epochs_are_four(tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    short.mkdir()
    long.mkdir()
    done = bench(*VAE, *options("trainer.max_epochs=2"), "--keep-checkpoints", cwd=short)
    assert done.code == 0, done.text
    before = {file: file.read_bytes() for file in by_epochs(short)[2].rglob("*") if file.is_file()}
    done = bench(*VAE, "--extend", "4", cwd=short)
    assert done.code == 0, done.text
    assert {file: file.read_bytes() for file in by_epochs(short)[2].rglob("*") if file.is_file()} == before
    assert "epoch 2/4" not in log(by_epochs(short)[4])
    done = bench(*VAE, *options("trainer.max_epochs=4"), cwd=long)
    assert done.code == 0, done.text
    assert by_epochs(short)[4].relative_to(short) == by_epochs(long)[4].relative_to(long)
    equal(by_epochs(short)[4], by_epochs(long)[4])
    assert result.read_result(by_epochs(short)[4] / "result.json").curves["epoch"] == [1, 2, 3, 4]
    again = bench(*VAE, "--extend", "4", cwd=short)
    assert "1 already complete" in again.out


# -- what cannot be continued --------------------------------------------------------------------------------------


def request(*further: str, **values: Any) -> Request:
    return Request(catalog.load("saaae_vs_vae"), "quick", "vae", overrides=[*SMALL, *further], **values)


def finished(made: plan.Plan, kept: bool = True) -> Path:
    """What a run leaves behind, without having been trained; its checkpoint is that of a schedule-free optimizer."""
    (run,) = made.runs
    result.write(
        result.Result(**run.id.stated(), label=run.label, finished_at=result.now()), run.folder / "result.json"
    )
    if kept:
        checkpoint(run.folder).parent.mkdir()
        torch.save({"lr_schedulers": []}, checkpoint(run.folder))
    return run.folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_longest_shorter_run_is_continued_whatever_its_label(here: Path) -> None:
    finished(plan.make(request("trainer.max_epochs=2")))
    longest = finished(plan.make(request("trainer.max_epochs=5", label="mine")))
    finished(plan.make(request("trainer.max_epochs=9")))
    made = extended(plan.make(longer(request(), 7)))
    (run,) = made.runs
    assert run.continues is not None
    assert run.continues.resolve() == longest.resolve()
    assert run.epochs == 7
    assert run.folder != longest


def test_a_dry_run_names_the_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "saaae_vs_vae", "--variants", "vae", *options(*SMALL), "--extend", "7", "--dry-run"]
    assert main(words) == 2
    assert "--extend 7: cannot continue vae/seed1" in capsys.readouterr().err
    folder = finished(plan.make(request("trainer.max_epochs=2")))
    assert main(words) == 0
    _, fit, test = [line for line in capsys.readouterr().out.splitlines() if line.startswith("attnae")]
    assert fit.endswith(
        f"--ckpt_path {folder.relative_to(here) if folder.is_absolute() else folder}/checkpoints/last.ckpt"
    )
    assert "--ckpt_path" not in test


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"overrides": ["model.init_args.lr=0.5"]}, "no finished run with fewer epochs and the same settings"),
        ({"seeds": "7,"}, "no finished run"),
        ({"precision": "bf16"}, "no finished run"),
        ({"kept": False}, "has no checkpoint, because it ran without --keep-checkpoints"),
        ({"epochs": 9}, "no finished run with fewer epochs"),
    ],
    ids=str,
)
def test_what_differs_is_not_continued(other: dict[str, Any], reason: str, here: Path) -> None:
    asked = {"seeds": other.get("seeds", "1"), "precision": other.get("precision", "fp32")}
    further = [*other.get("overrides", ()), f"trainer.max_epochs={other.get('epochs', 2)}"]
    finished(plan.make(request(*further, **asked)), other.get("kept", True))
    with pytest.raises(UserError, match=r"--extend 7: cannot continue vae/seed1") as error:
        extended(plan.make(longer(request(), 7)))
    assert reason in str(error.value)


def test_a_schedule_that_depends_on_its_length_is_not_continued(here: Path) -> None:
    folder = finished(plan.make(request("trainer.max_epochs=2")))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    torch.save({"lr_schedulers": [cosine.state_dict()]}, checkpoint(folder))
    with pytest.raises(UserError, match=r"depends on the length of the training \(T_max\)"):
        extended(plan.make(longer(request(), 7)))
    plateau = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    torch.save({"lr_schedulers": [plateau.state_dict()]}, checkpoint(folder))
    assert extended(plan.make(longer(request(), 7))).runs[0].continues


def test_a_damaged_checkpoint_is_one_line(here: Path) -> None:
    checkpoint(finished(plan.make(request("trainer.max_epochs=2")))).write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="Cannot read the checkpoint"):
        extended(plan.make(longer(request(), 7)))


def test_extend_is_the_total(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*VAE, *options("trainer.max_epochs=2"), "--extend", "4"]) == 2
    assert "--extend 4 is the total number of epochs" in capsys.readouterr().err


def test_what_cannot_be_continued_starts_nothing(tmp_path: Path) -> None:
    refused(bench(*VAE, "--extend", "4", cwd=tmp_path), "--extend 4", "vae/seed1", "--set trainer.max_epochs=4")
    assert not list(tmp_path.glob("runs/*"))

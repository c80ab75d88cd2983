"""Selection of the evaluated epoch, and test metrics of the last epochs."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union

import pytest
import torch
import yaml
from lightning import Trainer
from safetensors.torch import load_file
from tiny_fits import (
    FEW,
    NARROW_MOE,
    SAAAE,
    SHALLOW,
    TINY,
    VAE,
    attnae,
    config_of,
    curves,
    evaluate,
    fit,
    part,
    refused,
    rows,
    same_bits,
    weights,
)

from attnae.errors import UserError
from attnae.training.parser import OneLineParser
from attnae.training.progress import Progress
from attnae.training.selection import Selection, weights_path

DNCNN, MOE = config_of("moe_denoising", "dncnn"), config_of("moe_denoising", "moe")
WOBBLY = [*FEW, *SHALLOW, "--trainer.max_epochs=4", "--model.init_args.lr=0.1"]
"""A learning rate at which the lowest val/mse, the lowest train/mse and the last epoch are three epochs."""

STOP = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val/mse", "patience": 100, "check_finite": False},
}
KEEP_WORST = {
    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
    "init_args": {"monitor": "val/mse", "mode": "max", "filename": "worst", "enable_version_counter": False},
}


def wobbly(folder: Path, *arguments: str | Path) -> Path:
    done = attnae("fit", "-c", DNCNN, *WOBBLY, "--trainer.default_root_dir", folder, *arguments)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs, of which the best is evaluated. Do not modify."""
    return wobbly(tmp_path_factory.mktemp("selected"), "--last_epochs=4")


def test_the_epoch_with_the_lowest_error_is_selected(selected: Path) -> None:
    errors = [float(row["val/mse"]) for row in rows(selected)]
    best = errors.index(min(errors)) + 1
    assert len(set(errors)) == 4, "the epochs hardly differ: this learning rate decides nothing"
    assert best < 4, "the last epoch is the best: this learning rate decides nothing"
    assert part(selected, "fit.json")["selection"] == f"best val/mse (epoch {best})"
    every = {n: load_file(selected / f"checkpoints/epoch-{n:05}.safetensors") for n in range(1, 5)}
    equal = [n for n, state in every.items() if all(torch.equal(state[k], v) for k, v in weights(selected).items())]
    assert equal == [best]


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--trainer.callbacks={json.dumps([STOP])}"],
        [f"--trainer.callbacks={json.dumps([KEEP_WORST, STOP])}"],
        [f"--trainer.callbacks+={json.dumps(STOP)}", f"--trainer.callbacks+={json.dumps(KEEP_WORST)}"],
        ["--trainer.callbacks=null"],
    ],
    ids=["list", "two", "appended", "none"],
)
def test_user_callbacks_do_not_affect_selection_or_records(
    arguments: list[str], selected: Path, tmp_path: Path
) -> None:
    run = wobbly(tmp_path / "run", *arguments)
    assert same_bits(selected, run)
    assert curves(selected) == curves(run)
    assert part(run, "fit.json")["selection"] == part(selected, "fit.json")["selection"]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    given = [callback["class_path"].rsplit(".", 1)[1] for callback in config["trainer"]["callbacks"] or []]
    assert len(given) == sum(argument.count("class_path") for argument in arguments)  # appended, not replaced
    assert (run / "checkpoints/worst.ckpt").exists() == ("ModelCheckpoint" in given)


def test_a_config_file_may_append_callbacks(selected: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"trainer": {"callbacks+": [STOP, KEEP_WORST]}}), encoding="utf-8")
    run = wobbly(tmp_path / "run", "-c", more)
    assert same_bits(selected, run)
    assert (run / "checkpoints/worst.ckpt").exists()


def test_user_early_stopping_ends_the_training(tmp_path: Path) -> None:
    """The last epochs are relative to the actual end of the training."""
    strict = {
        **STOP,
        "init_args": {"monitor": "train/mse", "mode": "max", "patience": 1, "check_on_train_epoch_end": True},
    }
    run = wobbly(
        tmp_path,
        "--trainer.max_epochs=50",
        "--model.init_args.lr=0.001",
        "--last_epochs=2",
        f"--trainer.callbacks={json.dumps([strict])}",
    )
    trained = len(rows(run))
    assert trained < 50
    evaluate(run)
    assert part(run, "test.json")["last_epochs"]["epoch"] == [trained - 1, trained]


def test_without_a_rule_the_last_epoch_is_selected(tmp_path: Path) -> None:
    run = wobbly(tmp_path, "--selection=last", f"--trainer.callbacks={json.dumps([KEEP_WORST])}")
    assert part(run, "fit.json")["selection"] == "last epoch (4)"
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[name], tensor) for name, tensor in weights(run).items())


def test_other_metrics_can_select(tmp_path: Path) -> None:
    run = wobbly(tmp_path, "--selection=train/mse")
    errors, validated = ([float(row[name]) for row in rows(run)] for name in ("train/mse", "val/mse"))
    best = errors.index(min(errors)) + 1
    assert best not in (4, validated.index(min(validated)) + 1), "this learning rate decides nothing"
    assert part(run, "fit.json")["selection"] == f"best train/mse (epoch {best})"


def test_the_earliest_of_equal_epochs_is_selected(tmp_path: Path) -> None:
    run = fit(tmp_path, "--selection=val/mse", "--model.init_args.lr=1e-30", epochs=2)
    assert len({row["val/mse"] for row in rows(run)}) == 1
    assert part(run, "fit.json")["selection"] == "best val/mse (epoch 1)"


def test_unknown_rules_are_one_line(tmp_path: Path) -> None:
    run = ["fit", "-c", DNCNN, *WOBBLY, "--trainer.default_root_dir"]
    refused(attnae(*run, tmp_path / "a", "--selection=val/nope"), "val/nope", "val/mse")
    refused(attnae(*run, tmp_path / "b", "--trainer.check_val_every_n_epoch=9"), "val/mse", "never")
    refused(attnae(*run, tmp_path / "c", "--last_epochs=-1"), "last_epochs", "-1")


def test_resuming_with_another_rule_is_one_line(selected: Path, tmp_path: Path) -> None:
    resume = ["--ckpt_path", selected / "checkpoints/last.ckpt", "--trainer.default_root_dir", tmp_path]
    refused(attnae("fit", "-c", DNCNN, *WOBBLY, *resume, "--selection=train/mse"), "val/mse", "train/mse")


# -- the last epochs -----------------------------------------------------------------------------------------------


def test_metrics_of_the_last_epochs(selected: Path, tmp_path: Path) -> None:
    """The metrics of each epoch equal those of a separate test of its weights."""
    run = shutil.copytree(selected, tmp_path / "run")
    evaluate(run, "--trainer.default_root_dir", run)
    record = part(run, "test.json")
    assert record["last_epochs"]["epoch"] == [1, 2, 3, 4]
    assert record["last_epochs"].keys() == {"epoch", *record["metrics"]}
    for epoch in range(1, 5):
        alone = tmp_path / str(epoch)
        kept = run / f"checkpoints/epoch-{epoch:05}.safetensors"
        done = attnae("test", "-c", run / "config.yaml", "--weights", kept, "--trainer.default_root_dir", alone)
        assert done.code == 0, done.err
        expected = part(alone, "test.json")
        assert expected["last_epochs"] == {}  # of another folder
        for name, value in expected["metrics"].items():
            assert record["last_epochs"][name][epoch - 1] == value
    errors = [float(row["val/mse"]) for row in rows(run)]
    chosen = errors.index(min(errors))
    assert record["metrics"]["heldout/mse"] == record["last_epochs"]["heldout/mse"][chosen]
    names = {path.name for path in (run / "images").iterdir()}
    assert names == {Path(image).name for image in record["images"]}


def test_equal_weights_are_tested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last epoch is evaluated, its metrics are in both places."""
    run = fit(tmp_path, "--last_epochs=2", epochs=3)
    tested: list[int] = []
    start = Progress.on_test_start

    def count(self: Progress, *arguments: Any) -> None:
        tested.append(1)
        start(self, *arguments)

    monkeypatch.setattr(Progress, "on_test_start", count)
    evaluate(run)
    assert len(tested) == 2
    record = part(run, "test.json")
    assert record["last_epochs"]["epoch"] == [2, 3]
    assert record["last_epochs"]["heldout/mse"][1] == record["metrics"]["heldout/mse"]
    assert record["last_epochs"]["heldout/mse"][0] != record["metrics"]["heldout/mse"]
    assert sorted(path.name for path in (run / "checkpoints").glob("epoch-*")) == [
        "epoch-00002.safetensors", "epoch-00003.safetensors",
    ]  # fmt: skip


def test_short_trainings_have_fewer_last_epochs(tmp_path: Path) -> None:
    run = evaluate(fit(tmp_path, "--last_epochs=5", epochs=2))
    assert part(run, "test.json")["last_epochs"]["epoch"] == [1, 2]


def test_missing_weights_are_skipped(tmp_path: Path) -> None:
    run = fit(tmp_path, "--last_epochs=3", epochs=4)
    (run / "checkpoints/epoch-00004.safetensors").unlink()
    evaluate(run)
    assert part(run, "test.json")["last_epochs"]["epoch"] == [2, 3]
    shutil.rmtree(run / "checkpoints")
    evaluate(run)
    assert part(run, "test.json")["last_epochs"] == {}


def test_the_test_writes_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit(tmp_path, "--last_epochs=2", epochs=2)
    steps: list[tuple[Any, ...]] = []
    after = Progress.on_test_batch_end

    def follow(self: Progress, *arguments: Any) -> None:
        self.last_beat = 0.0
        after(self, *arguments)
        beat = part(run, "progress.json")
        steps.append((beat["stage"], beat["step"], beat["steps"]))

    monkeypatch.setattr(Progress, "on_test_batch_end", follow)
    evaluate(run, "--data.init_args.eval_batch_size=8")
    # Two sets of weights, each on 16 held-out and 32 training images.
    assert steps == [("test", step, 12) for step in range(1, 13)]


@pytest.mark.parametrize("stop_at", [1, 3], ids=["before the window", "within the window"])
def test_interrupted_trainings_select_and_keep_the_same(
    stop_at: int, selected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = wobbly(tmp_path / "whole", "--last_epochs=2")

    def stop(self: Progress, trainer: Trainer, *arguments: object) -> None:
        if trainer.current_epoch == stop_at:
            raise UserError("stopped")

    command = ["fit", "-c", DNCNN, *WOBBLY, "--last_epochs=2", "--trainer.default_root_dir", tmp_path / "broken"]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_start", stop)
        assert attnae(*command).code == 2
    done = attnae(*command, "--ckpt_path", tmp_path / "broken/checkpoints/last.ckpt")
    assert done.code == 0, done.err
    assert same_bits(whole, tmp_path / "broken")
    assert same_bits(whole, selected)
    assert part(whole, "fit.json")["selection"] == part(tmp_path / "broken", "fit.json")["selection"]
    found = []
    for run in (whole, tmp_path / "broken"):
        evaluate(run)
        found.append((part(run, "test.json")["last_epochs"], part(run, "test.json")["metrics"]))
    assert found[0] == found[1]
    assert found[0][0]["epoch"] == [3, 4]


def test_resuming_in_another_folder_copies_the_kept_weights(selected: Path, tmp_path: Path) -> None:
    ckpt = selected / "checkpoints/last.ckpt"
    run = wobbly(tmp_path / "run", "--ckpt_path", ckpt)
    assert same_bits(selected, run)
    lonely = shutil.copy(ckpt, tmp_path / "last.ckpt")
    elsewhere = ["--trainer.default_root_dir", tmp_path / "elsewhere", "--ckpt_path", lonely]
    refused(attnae("fit", "-c", DNCNN, *WOBBLY, *elsewhere), "epoch-", "missing")


# -- what resuming must not do -------------------------------------------------------------------------------------


def test_a_schedule_of_another_length_is_one_line(tmp_path: Path) -> None:
    """A finished cosine schedule would continue at learning rate 0."""
    short = ["fit", "-c", DNCNN, *FEW, "--trainer.default_root_dir", tmp_path]
    assert attnae(*short, "--trainer.max_epochs=1").code == 0
    before = (tmp_path / "weights.safetensors").read_bytes()
    resume = ["--ckpt_path", tmp_path / "checkpoints/last.ckpt"]
    refused(attnae(*short, "--trainer.max_epochs=3", *resume), "schedule", "1", "max_epochs=3")
    assert len(rows(tmp_path)) == 1
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_trial_runs_of_the_trainer_are_one_line(tmp_path: Path) -> None:
    run = ["fit", "-c", VAE, *TINY, "--trainer.default_root_dir", tmp_path]
    refused(attnae(*run, "--trainer.fast_dev_run=true"), "trainer.fast_dev_run", "limit_train_batches")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("--trainer.max_epoch=1", "trainer.max_epochs"),
        ("--selectio=last", "selection"),
        ("--weight=x", "weights"),
        ("--seed_every=3", "seed_everything"),
    ],
)
def test_keys_are_not_abbreviated(key: str, nearest: str, tmp_path: Path) -> None:
    done = attnae("fit", "-c", VAE, *TINY, "--trainer.default_root_dir", tmp_path / "run", key)
    refused(done, key[2:].split("=")[0], f"Nearest key: {nearest}.")
    assert not (tmp_path / "run").exists()


def test_keys_of_files_are_not_abbreviated(tmp_path: Path) -> None:
    config = tmp_path / "short.yaml"
    config.write_text("trainer: {max_epoch: 1}\n", encoding="utf-8")
    refused(attnae("fit", "-c", VAE, "-c", config, *TINY), "max_epoch", "Nearest key: trainer.max_epochs")


# -- numbers count what was used -----------------------------------------------------------------------------------


def test_limits_of_the_trainer_are_counted(tmp_path: Path) -> None:
    limits = ["--trainer.limit_train_batches=1", "--trainer.limit_test_batches=1"]
    run = fit(tmp_path, *limits, epochs=3)
    record = part(run, "fit.json")
    assert [float(row["images"]) for row in rows(run)] == [16, 16, 16]
    assert record["efficiency"]["images_per_second"] * record["efficiency"]["seconds_per_epoch"] == pytest.approx(16)
    assert (record["data"]["train"], record["data"]["train_of"]) == (16, 32)
    evaluate(run, "--data.init_args.eval_batch_size=4")
    tested = part(run, "test.json")
    assert tested["metrics"]["heldout/images"] == 4
    assert (tested["data"]["test"], tested["data"]["test_of"]) == (4, 16)
    joined = {**tested["data"], **record["data"]}  # as the runner joins them
    assert (joined["train"], joined["test"]) == (16, 4)


def test_an_epoch_that_ends_early_has_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of two steps, and one step; each step takes a second of this clock."""
    clock = iter(range(1000))
    start, end = Progress.on_train_epoch_start, Progress.on_train_batch_end

    def at(now: float) -> None:
        monkeypatch.setattr(time, "perf_counter", lambda: now)

    def begin(self: Progress, *arguments: Any) -> None:
        at(next(clock))
        start(self, *arguments)

    def step(self: Progress, *arguments: Any) -> None:
        at(next(clock))
        end(self, *arguments)

    monkeypatch.setattr(Progress, "on_train_epoch_start", begin)
    monkeypatch.setattr(Progress, "on_train_batch_end", step)
    run = fit(tmp_path, "--trainer.max_steps=5", epochs=3)
    assert [float(row["epoch_seconds"]) for row in rows(run)] == [2, 2, 1]
    assert [float(row["images"]) for row in rows(run)] == [32, 32, 16]
    record = part(run, "fit.json")
    assert record["efficiency"]["images_per_second"] == pytest.approx(16)
    assert record["data"]["train"] == 32


@pytest.mark.parametrize("kinds", [(float, int, type(None)), (int, float, type(None)), (float, str, int)])
def test_whole_numbers_stay_integers(kinds: tuple[type, ...]) -> None:
    """Whatever order of a union other packages have left in the cache of ``typing``."""
    parser = OneLineParser(exit_on_error=False)
    parser.add_argument("--limit", type=Union[kinds], default=None)  # noqa: UP007
    parser.try_int_before_float()
    one, whole, half = (parser.parse_args([f"--limit={text}"]).limit for text in ("1", "1.0", "0.5"))
    assert [(type(value), value) for value in (one, whole, half)] == [(int, 1), (float, 1.0), (float, 0.5)]


def test_gradient_norm_is_measured_before_clipping(tmp_path: Path) -> None:
    """Clipping changes the steps, but not the logged norm of the first one."""
    one = ["--trainer.limit_train_batches=1"]
    free, clipped = fit(tmp_path / "free", *one), fit(tmp_path / "clip", *one, "--trainer.gradient_clip_val=0.001")
    norms = [float(rows(run)[0]["train/grad_norm"]) for run in (free, clipped)]
    assert norms[0] == norms[1] > 1
    assert not same_bits(free, clipped)


# -- half precision ------------------------------------------------------------------------------------------------

HALF = "--trainer.precision=bf16-mixed"


@pytest.mark.parametrize(
    ("config", "small"),
    [(VAE, TINY), (SAAAE, TINY), (DNCNN, [*FEW, *SHALLOW]), (MOE, NARROW_MOE)],
    ids=["vae", "saaae", "dncnn", "moe"],
)
def test_bfloat16_is_near_float32_and_resumes_bit_for_bit(config: str, small: list[str], tmp_path: Path) -> None:
    command = ["fit", "-c", config, *small, "--trainer.max_epochs=2", "--last_epochs=1"]
    exact, whole, broken = (["--trainer.default_root_dir", tmp_path / name] for name in ("exact", "whole", "broken"))
    for extra in (exact, [*whole, HALF]):
        done = attnae(*command, *extra)
        assert done.code == 0, done.err
    with pytest.MonkeyPatch.context() as patch:

        def stop(self: Progress, trainer: Trainer, *arguments: object) -> None:
            if trainer.current_epoch == 1:
                raise UserError("stopped")

        patch.setattr(Progress, "on_train_batch_start", stop)
        assert attnae(*command, *broken, HALF).code == 2
    done = attnae(*command, *broken, HALF, "--ckpt_path", tmp_path / "broken/checkpoints/last.ckpt")
    assert done.code == 0, done.err
    assert same_bits(tmp_path / "whole", tmp_path / "broken")
    assert curves(tmp_path / "whole") == curves(tmp_path / "broken")
    for name in ("exact", "whole"):
        evaluate(tmp_path / name)
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "whole").values())
    reference, half = (part(tmp_path / name, "test.json")["metrics"] for name in ("exact", "whole"))
    assert reference.keys() == half.keys()
    assert None not in half.values()
    for name in ("heldout/mse", "heldout/psnr_mean", "heldout/ssim_mean"):
        assert half[name] == pytest.approx(reference[name], rel=0.05, abs=0.02)
    assert half["heldout/mse"] != reference["heldout/mse"]
    assert part(tmp_path / "whole", "fit.json")["hardware"]["precision"] == "bf16-mixed"


def test_weights_that_the_last_checkpoint_names_are_kept(tmp_path: Path) -> None:
    """With checkpoint.every_n_epochs above 1, the best epoch may be newer than the checkpoint that a resumed training reads."""
    selection = Selection("val/mse")
    selection.folder = tmp_path
    for epoch in (3, 5):
        weights_path(tmp_path, epoch).parent.mkdir(exist_ok=True)
        weights_path(tmp_path, epoch).write_bytes(b"")
    selection.best_epoch = 3
    state = selection.state_dict()  # a checkpoint is written
    selection.best_epoch = 5
    trainer = SimpleNamespace(current_epoch=6, is_global_zero=True)
    selection._prune(trainer)  # type: ignore[arg-type]
    assert weights_path(tmp_path, 3).exists()
    resumed = Selection("val/mse")
    resumed.load_state_dict(state)
    assert resumed.best_epoch == resumed.saved_epoch == 3
    selection.state_dict()
    selection._prune(trainer)  # type: ignore[arg-type]
    assert [path.name for path in weights_path(tmp_path, 5).parent.iterdir()] == [weights_path(tmp_path, 5).name]

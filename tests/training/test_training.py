"""The command ``attnae`` on real, tiny runs: in this process, because importing Lightning takes seconds."""

from __future__ import annotations

import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from tiny_fits import (
    FEW,
    NARROW,
    NARROW_MOE,
    SAAAE,
    SHALLOW,
    SMALL,
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

from attnae.bench import catalog
from attnae.errors import UserError
from attnae.files import dump_yaml, write_text
from attnae.paths import shown
from attnae.training.keys import parser_of
from attnae.training.progress import Progress

STOP = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "nope"}}


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of a VAE with seed 1, and its evaluation. Do not modify."""
    run = fit(tmp_path_factory.mktemp("vae"), epochs=3)
    config = (run / "config.yaml").stat().st_mtime_ns, (run / "config.yaml").read_bytes()
    evaluate(run)
    assert ((run / "config.yaml").stat().st_mtime_ns, (run / "config.yaml").read_bytes()) == config
    return run


# -- every config --------------------------------------------------------------------------------------------------


def variants(trains: bool) -> pytest.MarkDecorator:
    """Parametrizes over all variants that train, or those that only evaluate."""
    loaded = [(name, variant) for name in catalog.names() for variant in catalog.load(name).variants.values()]
    chosen = [(name, variant.name) for name, variant in loaded if variant.trains == trains]
    return pytest.mark.parametrize(("benchmark", "variant"), chosen)


@variants(trains=True)
def test_variant_trains_two_steps_and_tests(benchmark: str, variant: str, tmp_path: Path) -> None:
    small = SMALL.get(benchmark, FEW)
    run = ["--trainer.max_epochs=1", "--trainer.default_root_dir", tmp_path / "run"]
    done = attnae("fit", "-c", config_of(benchmark, variant), *small, *run)
    assert done.code == 0, done.err
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == 2
    evaluate(tmp_path / "run")
    test = part(tmp_path / "run", "test.json")
    assert any(name.startswith("heldout/") for name in test["metrics"])
    assert all((tmp_path / "run" / image).is_file() for image in test["images"])
    figures = catalog.load(benchmark).figures  # what the benchmark file shows of this variant is drawn
    assert {f"images/{figure.file}" for figure in figures if variant in figure.variants} <= {*test["images"]}


@variants(trains=False)
def test_variant_without_training_tests(benchmark: str, variant: str, tmp_path: Path) -> None:
    done = attnae("test", "-c", config_of(benchmark, variant), *FEW, "--trainer.default_root_dir", tmp_path)
    if "is not installed" in done.err:  # an optional package: said in one line
        refused(done, variant, "pip install")
        return
    assert done.code == 0, done.err
    test = part(tmp_path, "test.json")
    assert test["metrics"]["heldout/psnr_mean"] > 0
    assert test["efficiency"]["params_trainable"] == 0


@pytest.mark.parametrize("benchmark", catalog.names())
def test_profiles_fit_their_variants(benchmark: str, tmp_path: Path) -> None:
    """Every profile and variant changes keys that the command line knows."""
    loaded = catalog.load(benchmark)
    for profile in loaded.profiles:
        for variant in loaded.variants.values():
            file = tmp_path / "config.yaml"
            file.write_text(dump_yaml(loaded.configuration(variant.name, profile)), encoding="utf-8")
            try:
                parsed = parser_of("fit" if variant.trains else "test").parse_args(["-c", str(file)])
            except UserError as error:
                pytest.fail(f"{profile}/{variant.name}: {error}")
            assert parsed.model.class_path.endswith("Task")


# -- repeatability -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "arguments"),
    [(VAE, []), (VAE, ["--model.init_args.net.init_args.noise=frozen"]), (SAAAE, [])],
    ids=["vae", "vae-frozen", "saaae"],
)
def test_resumed_equals_uninterrupted(config: str, arguments: list[str], tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", *arguments, config=config, epochs=3)
    broken = fit(tmp_path / "broken", *arguments, config=config, epochs=1)
    assert not same_bits(whole, broken)
    resume = ["--ckpt_path", broken / "checkpoints" / "last.ckpt"]
    fit(broken, *arguments, *resume, config=config, epochs=3)
    assert same_bits(whole, broken)
    assert [float(row["epoch"]) for row in rows(broken)] == [1, 2, 3]
    assert curves(whole) == curves(broken)


@pytest.mark.parametrize(
    ("config", "small"),
    [
        (SAAAE, TINY),
        (config_of("moe_denoising", "moe"), NARROW_MOE),
        (config_of("attentive_vqvae", "ah_revived"), NARROW),
    ],
    ids=["saaae", "moe", "vqvae"],
)
def test_stopped_within_an_epoch_equals_uninterrupted(
    config: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an epoch is repeated; schedules, the best epoch so far and all random draws continue unchanged."""
    whole, broken = ([f"--trainer.default_root_dir={tmp_path / name}"] for name in ("whole", "broken"))
    command = ["fit", "-c", config, *small, "--trainer.max_epochs=3"]
    assert attnae(*command, *whole).code == 0

    going_on = Progress.on_train_batch_end

    def stop(self: Progress, trainer: Trainer, *arguments: Any) -> None:
        if trainer.current_epoch == 1:
            raise UserError("stopped after the first step of the second epoch")
        going_on(self, trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", stop)
        assert attnae(*command, *broken).code == 2
    assert len(rows(tmp_path / "broken")) == 1
    done = attnae(*command, *broken, "--ckpt_path", tmp_path / "broken/checkpoints/last.ckpt")
    assert done.code == 0, done.err
    assert curves(tmp_path / "whole") == curves(tmp_path / "broken")
    assert same_bits(tmp_path / "whole", tmp_path / "broken")
    records = [part(tmp_path / name, "fit.json") for name in ("whole", "broken")]
    assert records[0]["selection"] == records[1]["selection"]


def test_selected_weights_are_the_best_epoch(tmp_path: Path) -> None:
    """With selection by validation, the epoch with the lowest error is kept and evaluated."""
    run = ["--trainer.default_root_dir", tmp_path, "--trainer.max_epochs=4", "--model.init_args.lr=0.1"]
    done = attnae("fit", "-c", config_of("moe_denoising", "dncnn"), *FEW, *SHALLOW, *run)
    assert done.code == 0, done.err
    errors = [float(row["val/mse"]) for row in rows(tmp_path)]
    best = errors.index(min(errors))
    assert best < 3, "the last epoch is the best: this learning rate decides nothing"
    assert part(tmp_path, "fit.json")["selection"] == f"best val/mse (epoch {best + 1})"
    selected = weights(tmp_path)
    kept = load_file(tmp_path / f"checkpoints/epoch-{best + 1:05}.safetensors")
    assert all(torch.equal(selected[name], tensor) for name, tensor in kept.items())


def test_equal_seeds_give_equal_bits(vae: Path, tmp_path: Path) -> None:
    again = fit(tmp_path / "again", epochs=3)
    assert same_bits(vae, again)
    assert curves(vae) == curves(again)


def test_different_seeds_differ(vae: Path, tmp_path: Path) -> None:
    other = evaluate(fit(tmp_path / "other", "--seed_everything=2", epochs=3))
    assert not same_bits(vae, other)
    # The evaluation is the same all the same: images and masks do not depend on the seed.
    for name in ("heldout-input.png", "heldout-truth.png", "train_set-input.png"):
        assert (vae / "images" / name).read_bytes() == (other / "images" / name).read_bytes()


def test_evaluation_does_not_depend_on_its_seed(vae: Path, tmp_path: Path) -> None:
    evaluate(vae, "--seed_everything=7", "--trainer.default_root_dir", tmp_path)
    assert part(tmp_path, "test.json")["metrics"] == part(vae, "test.json")["metrics"]


def test_evaluation_does_not_depend_on_its_batches(vae: Path, tmp_path: Path) -> None:
    for size in (4, 16):
        evaluate(vae, f"--data.init_args.eval_batch_size={size}", "--trainer.default_root_dir", tmp_path / str(size))
    four, sixteen = (part(tmp_path / size, "test.json")["metrics"] for size in ("4", "16"))
    assert four.keys() == sixteen.keys()
    assert four == pytest.approx(sixteen, rel=1e-5, abs=1e-5)


# -- records -------------------------------------------------------------------------------------------------------


def test_fit_record(vae: Path) -> None:
    record, table = part(vae, "fit.json"), rows(vae)
    seconds = [float(row["epoch_seconds"]) for row in table]
    assert record["efficiency"].keys() == {
        "seconds_per_epoch", "cpu_seconds_per_epoch", "images_per_second", "peak_memory_mb"
    }  # fmt: skip
    assert record["efficiency"]["seconds_per_epoch"] == pytest.approx(statistics.median(seconds[1:]))
    cpu = [float(row["epoch_cpu_seconds"]) for row in table]
    assert all(spent > 0 for spent in cpu)
    assert record["efficiency"]["cpu_seconds_per_epoch"] == pytest.approx(statistics.median(cpu[1:]))
    assert record["efficiency"]["images_per_second"] == pytest.approx(32 / statistics.median(seconds[1:]))
    assert 50 < record["efficiency"]["peak_memory_mb"] < 20_000
    assert record["curves"]["epoch"] == [1, 2, 3]
    assert record["curves"]["seconds"] == pytest.approx([sum(seconds[: n + 1]) for n in range(3)], abs=1e-3)
    assert record["curves"]["train/loss"] == [float(row["train/loss"]) for row in table]
    assert record["metrics"] == {
        name: float(table[-1][name]) for name in ("train_set/kl_mse", "train_set/kl_mse_gated")
    }
    assert record["selection"].startswith("last epoch")
    assert record["data"] | {"digest": ""} == {
        "dataset": "STL-10", "name": "photos", "title": "embedded photos", "kind": "embedded", "digest": "",
        "train": 32, "size": 16, "converted": {}, "left_out": {}, "leaked": 0,
    }  # fmt: skip
    assert {"attnae", "torch", "lightning", "python"} <= record["versions"].keys()
    assert record["hardware"]["device"] == "CPU"
    assert record["hardware"]["threads"] == torch.get_num_threads()


def test_test_record(vae: Path) -> None:
    record = part(vae, "test.json")
    parameters = sum(tensor.numel() for tensor in weights(vae).values())  # a VAE has no buffers
    assert record["efficiency"]["params_trainable"] == record["efficiency"]["params_total"] == parameters == 2067
    # Convolutions and products of one image at 16x16, two operations a multiply-add: the encoder's 3, 4, 4, 4 channels
    # at sides 8, 4, 2, 1, the latents, and the decoder's mirror image.
    sides, channels = (8, 4, 2, 1), (3, 4, 4, 4, 4)
    half = sum(side**2 * 16 * a * b for side, a, b in zip(sides, channels[:-1], channels[1:], strict=True))
    assert record["efficiency"]["gflops_forward"] == pytest.approx(2 * (2 * half + 3 * 4 * 8) / 1e9)
    assert record["metrics"]["heldout/images"] == 16
    assert record["metrics"]["train_set/images"] == 32
    assert all((vae / image).is_file() for image in record["images"])


def test_a_single_epoch_gives_no_speed(tmp_path: Path) -> None:
    """The median excludes the first epoch, so a single epoch has no value."""
    assert part(fit(tmp_path), "fit.json")["efficiency"].keys() == {"peak_memory_mb"}


def test_validate_and_predict(vae: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in vae.rglob("*")}
    evaluate(vae, "--trainer.default_root_dir", tmp_path, command="validate")
    given = ("--weights", vae / "weights.safetensors", "--trainer.default_root_dir", tmp_path)
    done = attnae("predict", "-c", vae / "config.yaml", *given)
    assert done.code == 0, done.err
    assert {path: path.stat().st_mtime_ns for path in vae.rglob("*")} == before
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 16
    assert f"{shown(tmp_path / 'predictions')}: 16 images" in done.out
    assert attnae("predict", "-c", vae / "config.yaml", *given, "--data.init_args.test_images=3").code == 0
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 3  # none of the earlier command


def test_evaluation_never_touches_the_saved_config(vae: Path, tmp_path: Path) -> None:
    run = shutil.copytree(vae, tmp_path / "run")
    config = (run / "config.yaml").read_bytes()
    for command in ("test", "validate", "predict"):
        evaluate(run, "--data.init_args.eval_batch_size=8", "--trainer.default_root_dir", run, command=command)
        assert (run / "config.yaml").read_bytes() == config


# -- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "variant", "key", "value", "words"),
    [
        ("moe_denoising", "noisy", "data.init_args.val_images", "0", "there are none"),
        ("moe_denoising", "noisy", "data.init_args.corruption", "attnae.data.PatchMask", "GaussianNoise"),
        ("saaae_vs_vae", "biharmonic", "data.init_args.corruption", "attnae.data.GaussianNoise", "PatchMask"),
    ],
)
def test_a_method_without_its_images_is_refused(
    tmp_path: Path, benchmark: str, variant: str, key: str, value: str, words: str
) -> None:
    write_text(tmp_path / "run.yaml", dump_yaml(catalog.load(benchmark).configuration(variant, "quick")))
    given = {"data.init_args.train_images": 32, "data.init_args.test_images": 8, "trainer.accelerator": "cpu",
             "trainer.default_root_dir": tmp_path, key: value}  # fmt: skip
    options = [f"--{name}={setting}" for name, setting in given.items()]
    refused(attnae("test", "-c", tmp_path / "run.yaml", *options), words)


def test_finished_training_is_not_overwritten(vae: Path) -> None:
    before = (vae / "weights.safetensors").stat().st_mtime_ns
    refused(attnae("fit", "-c", vae / "config.yaml"), shown(vae), "finished")
    assert (vae / "weights.safetensors").stat().st_mtime_ns == before


def test_non_finite_numbers_stop_the_training(tmp_path: Path) -> None:
    run = ["--trainer.default_root_dir", tmp_path, "--trainer.max_epochs=3", "--model.init_args.lr=1e30"]
    done = attnae("fit", "-c", VAE, *TINY, *run)
    refused(done, "loss is nan")
    assert re.search(r"at step \d+ \(epoch \d+\)", done.err)
    assert not (tmp_path / "weights.safetensors").exists()
    assert not (tmp_path / "fit.json").exists()


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["--model.init_args.nope=1"], ["nope"]),
        (["--nope=1"], ["nope"]),
        (["--trainer.max_epochs=many"], ["max_epochs", "many"]),
        (["--trainer.devices=-1"], ["trainer.devices", "-1"]),
        (["--model.init_args.lr=-1"], ["lr must be positive"]),
        (["--model.class_path=attnae.papers.saaae.Nope"], ["Nope"]),
        (["--model.init_args.net.init_args.image_size=15"], ["image_size", "15"]),
        (["--model.init_args.net.init_args.image_size=32"], ["16", "32"]),
        (["--data.init_args.image_size=8"], ["patches of 8 pixels", "8"]),
        (["--data.init_args.batch_size=-3"], ["error: batch_size must be at least 1, got -3"]),
        (["--trainer.accumulate_grad_batches=0"], ["trainer.accumulate_grad_batches", "got 0"]),
        (["--trainer.check_val_every_n_epoch=0"], ["trainer.check_val_every_n_epoch", "got 0"]),
        (["--trainer.check_val_every_n_epoch=-1"], ["trainer.check_val_every_n_epoch", "got -1"]),
        (["--trainer.val_check_interval=0"], ["trainer.val_check_interval", "got 0"]),
        (["--trainer.overfit_batches=0.5"], ["trainer.overfit_batches", "data.init_args.train_images"]),
        (["--trainer.precision=64-true"], ["trainer.precision", "32-true", "64-true"]),
        (["--trainer.precision=bf16-true"], ["trainer.precision", "32-true", "bf16-true"]),
        ([f"--trainer.callbacks={json.dumps([STOP])}"], ["`nope`", "val/mse"]),
        (["--data.init_args.train_images=1"], ["1 training images", "too few"]),
        (["--data.init_args.root=nowhere"], ["nowhere"]),
        (["--seed_everything=abc"], ["seed_everything", "abc"]),
        (["-c", "nowhere.yaml"], ["nowhere.yaml"]),
        (["-c", "garbage.yaml"], ["garbage.yaml"]),
        (["-c", "binary.yaml"], ["binary.yaml"]),
        (["--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt"]),
        (["--ckpt_path=garbage.yaml"], ["garbage.yaml"]),
        (["--trainer.default_root_dir=garbage.yaml"], ["garbage.yaml"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(
    arguments: list[str], culprits: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("garbage.yaml").write_text("model: [unclosed\n", encoding="utf-8")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    refused(attnae("fit", "-c", VAE, *TINY, "--trainer.default_root_dir=run", *arguments), *culprits)
    assert not Path("run/weights.safetensors").exists()


def test_images_that_changed_since_the_run_was_planned_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNAE_DATA_DIGEST", "0" * 16)
    done = attnae("fit", "-c", VAE, *TINY, "--trainer.default_root_dir", tmp_path / "run")
    refused(done, "images changed after the command was started")
    assert not (tmp_path / "run/metrics.csv").exists()


def test_unknown_command_is_one_line() -> None:
    refused(attnae("train", "-c", VAE), "train")


def test_bad_weights_are_one_line(vae: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not tensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((vae / "weights.safetensors").read_bytes()[:-100])
    missing = tmp_path / "missing.safetensors"
    for path in (garbage, cut, missing):
        refused(attnae("test", "-c", vae / "config.yaml", "--weights", path), path.name)
    refused(attnae("test", "-c", vae / "config.yaml"), "--weights")


def test_unsupported_precision_of_a_test_is_one_line(vae: Path) -> None:
    weights_of = ["-c", vae / "config.yaml", "--weights", vae / "weights.safetensors"]
    refused(attnae("test", *weights_of, "--trainer.precision=16-true"), "trainer.precision", "16-true")


@pytest.fixture(scope="module")
def saaae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("saaae"), config=SAAAE)


def test_weights_of_another_net_are_one_line(vae: Path, saaae: Path) -> None:
    for run, other, net in ((vae, saaae, "VAE"), (saaae, vae, "SAAAE")):
        done = attnae("test", "-c", run / "config.yaml", "--weights", other / "weights.safetensors")
        refused(done, net, f"{other.name}/weights.safetensors")


def test_checkpoint_of_another_net_is_one_line(vae: Path, saaae: Path) -> None:
    refused(attnae("test", "-c", vae / "config.yaml", "--ckpt_path", saaae / "checkpoints/last.ckpt"), "last.ckpt")


def test_usage_without_arguments() -> None:
    done = attnae()
    assert done.code == 0
    assert done.out.startswith("usage: attnae")


def test_interrupt_is_one_line(tmp_path: Path) -> None:
    """Ctrl-C at the terminal, not through the runner."""
    command = [sys.executable, "-m", "attnae.cli", "fit", "-c", VAE, *TINY, "--trainer.max_epochs=10000"]
    process = subprocess.Popen(
        [*command, "--trainer.default_root_dir", "run"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A job that a script has put into the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        patience = time.monotonic() + 240
        while not (tmp_path / "run/metrics.csv").exists():
            assert process.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
    finally:
        process.kill()  # it would train for hours
    assert process.returncode == 130, err
    assert "attnae: interrupted" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run/weights.safetensors").exists()

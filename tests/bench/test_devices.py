"""Runs on several devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_benchmark import (
    RUN,
    SMALL,
    TINY,
    bench,
    folder,
    log,
    options,
)

from attnae import result
from attnae.bench import plan
from attnae.bench.app import main
from attnae.bench.catalog import load
from attnae.bench.request import Request

SHORT = [*RUN, "--variants", "vae", *options("trainer.max_epochs=2")]

NARROW = (*SMALL, "data.init_args.image_size=32", "model.init_args.discriminator.init_args.width=4",
          *(f"model.init_args.net.init_args.{name}" for name in ("width=4", "latent=4", "codes=8")))  # fmt: skip


def test_devices_are_part_of_label_and_hash() -> None:
    benchmark = load("moe_denoising")
    one, two = plan.make(Request(benchmark)), plan.make(Request(benchmark, devices=2))
    assert (one.label, two.label) == ("quick", "quick-devices=2")
    assert not {run.id.config8 for run in one.runs} & {run.id.config8 for run in two.runs}
    assert one.identities == plan.make(Request(benchmark, devices=1, nodes=1)).identities


def test_too_few_gpus_are_rejected_before_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    arguments = [word for word in SHORT if word != "trainer.accelerator=cpu"]
    arguments.remove("--set")
    done = bench(*arguments, "--jobs", "2", "--devices", "2", cwd=tmp_path)
    assert done.code == 2
    assert "needs 4 GPUs, but 3 are visible" in done.err
    assert not list(tmp_path.rglob("log.txt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "variant", "settings"),
    [
        ("moe_denoising", "moe", SMALL),
        ("saaae_vs_vae", "saaae", TINY),
        ("attentive_vqvae", "ah", NARROW),
    ],
)
def test_run_trains_in_two_processes_and_tests_in_one(
    benchmark: str, variant: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The total batch size is unchanged: each process gets half of each batch."""
    shrunk = options(*settings, "trainer.max_epochs=2")
    done = bench("run", benchmark, *shrunk, "--variants", variant, "--devices", "2", cwd=tmp_path)
    assert done.code == 0, done.text
    run = folder(tmp_path, variant)
    fit, test = log(run).split("$ attnae test")
    assert "MEMBER: 2/2" in fit
    assert "MEMBER" not in test
    found = result.read_result(run / "result.json")
    assert found.hardware["devices"] == 2
    assert found.metrics["heldout/images"] == 16
    assert found.devices == 2
    assert "--trainer.devices=2" in found.commands[1]
    assert "--trainer.devices 1" in found.commands[2]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["init_args"]["batch_size"] == 16  # as configured, because a rerun divides it again
    assert config["trainer"]["strategy"] == "ddp_find_unused_parameters_true"


@pytest.mark.parametrize(("batch", "devices", "advised"), [(15, 2, 16), (1, 2, 2), (2, 8, 8), (9, 4, 8)])
def test_indivisible_batch_size_is_rejected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    batch: int,
    devices: int,
    advised: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SHORT, *options(f"data.init_args.batch_size={batch}"), "--devices", str(devices)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"The batch size {batch} is not divisible by {devices} devices" in said
    assert f"--set data.init_args.batch_size={advised}." in said
    assert not list(tmp_path.iterdir())

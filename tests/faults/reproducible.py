"""Reproducible numbers, independent of parallel runs and of how models are loaded."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from harness import (
    SMALL,
    VARIANT,
    Impossible,
    Tally,
    bench,
    config_of,
    fault,
    fit_arguments,
    folder_of,
    here,
    refused,
    run_arguments,
    same_run,
    scratch,
)
from torch.utils.data import DataLoader

from attnae.data import CIFAR10DataModule, GaussianNoise, ImageDataModule, PatchMask, STL10DataModule


def trained(cwd: Path, benchmark: str, *arguments: str) -> bytes:
    """Bytes of the weights after two epochs."""
    run = scratch(cwd) / "run"
    done = here("attnae", *fit_arguments(run, benchmark, epochs=2), *arguments, cwd=cwd)
    assert done.code == 0, done.text
    return (run / "weights.safetensors").read_bytes()


@fault(
    "Reproducible",
    "The same seed twice, and another one, in one process; one benchmark per paper",
    "The same seed gives the same weights, bit by bit; another one gives others",
    short=1,
    long=3,
)
def seeds(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    for benchmark in list(SMALL)[-times:]:
        with tally.attempt(benchmark):
            torch.manual_seed(os.getpid())
            first = trained(cwd, benchmark)
            torch.rand(17)  # whatever has drawn from torch's generator before
            assert trained(cwd, benchmark) == first, "the same seed, other weights"
            assert trained(cwd, benchmark, "--seed_everything=2") != first, "another seed, the same weights"


@fault(
    "Reproducible",
    "`--jobs 1` on one core against `--jobs 2` on two: other runs beside it, equal threads per run",
    "The same weights, metrics and curves, bit by bit",
    short=0,
    long=3,
)
def jobs(tally: Tally, times: int, folder: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Impossible("one core")
    for benchmark in list(SMALL)[:times]:
        with tally.attempt(benchmark):
            alone, together = scratch(folder), scratch(folder)
            command = run_arguments(benchmark)
            one = bench(*command, "--jobs", "1", cwd=alone, before=("taskset", "-c", str(cores[0])))
            pair = ("taskset", "-c", f"{cores[0]},{cores[1]}")
            two = bench(*command, "--jobs", "2", "--seeds", "2", cwd=together, before=pair)
            assert one.code == two.code == 0, one.text + two.text
            run = folder_of(alone, benchmark)
            same_run(run, together / run.relative_to(alone))
            other = next(p for p in (together / run.relative_to(alone)).parent.iterdir() if p.name != run.name)
            assert (other / "weights.safetensors").read_bytes() != (run / "weights.safetensors").read_bytes()


def loaded(module: ImageDataModule, workers: int) -> list[torch.Tensor]:
    """What a network would see in two epochs of training and at evaluation, loaded by so many processes."""
    seen = []
    for loader in (module.train_dataloader(), *module.test_dataloader()):
        assert loader.sampler is not None
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            own = torch.Generator().manual_seed(0)
            again = DataLoader(
                loader.dataset, sampler=loader.sampler, batch_size=None, generator=own, num_workers=workers
            )
            for pixels, index in again:
                batch = module.corruption(pixels.permute(0, 3, 1, 2).float() / 255, index, False)
                seen += [index, batch.target, batch.input]
    return seen


@fault(
    "Reproducible",
    "Batches loaded by 0, 1, 2 and 3 processes",
    "Order, images, masks and noise are the same, bit by bit",
    short=2,
    long=6,
)
def workers(tally: Tally, times: int, folder: Path) -> None:
    modules: list[ImageDataModule] = [
        STL10DataModule(PatchMask(), image_size=16, train_images=20, test_images=8, batch_size=8),
        CIFAR10DataModule(GaussianNoise(0.2), train_images=20, test_images=8, batch_size=8),
    ]
    for module in modules:
        module.prepare_data()
        expected = loaded(module, 0)
        for number in range(1, times // 2 + 1):
            with tally.attempt(f"{type(module).__name__}, {number} workers"):
                found = loaded(module, number)
                assert len(found) == len(expected)
                assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@fault(
    "Reproducible",
    "A test on several devices, which would repeat images and change what whole sets are measured by",
    "Refused in one line",
    short=1,
    long=1,
)
def devices(tally: Tally, times: int, folder: Path) -> None:
    with tally.attempt("two devices"):
        config = config_of("saaae_vs_vae", VARIANT["saaae_vs_vae"])
        done = here(
            "attnae", "test", "-c", config, "--trainer.accelerator=cpu", "--trainer.devices=2", cwd=scratch(folder)
        )
        refused(done, "single device")

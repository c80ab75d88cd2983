"""What folders, terminals, networks and other people's classes do to a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from harness import PROGRAM, Tally, bench, fault, fit_arguments, here, refused, run_arguments, scratch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from attnae import result
from attnae.bench import keys

FAMILY = "Surroundings"

MOE = ("run", "moe_denoising", "--profile", "short", "--label", "tiny")


def pictures(root: Path, train: int = 8, test: int = 4, seed: int = 0) -> Path:
    """A folder of random images."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        (root / split).mkdir(parents=True)
        for index in range(count):
            noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / split / f"{index:02}.png")
    return root


@contextlib.contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# -- images --------------------------------------------------------------------------------------------------------


@fault(
    FAMILY,
    "Images overwritten in place between two runs of one label: same names, sizes and numbers of files",
    "Another run: nothing of the first is replaced, the two stand in two tables, and the reason is told",
    short=1,
    long=6,
)
def overwritten(tally: Tally, times: int, folder: Path) -> None:
    for number in range(times):
        with tally.attempt(f"image {number}"):
            cwd = scratch(folder)
            pictures(cwd / "D")
            command = (*MOE, "--variants", "noisy", "--data-root", "D")
            assert bench(*command, cwd=cwd).code == 0
            (first,) = cwd.glob("runs/*/tiny/noisy/*/result.json")
            before = first.read_bytes()
            shutil.copyfile(cwd / f"D/train/{number:02}.png", cwd / f"D/test/{number % 4:02}.png")
            done = bench(*command, cwd=cwd)
            assert "0 already complete" in done.out, done.text
            assert first.read_bytes() == before
            records = [result.read_result(path) for path in cwd.glob("runs/*/tiny/noisy/*/result.json")]
            assert len({one.data_digest for one in records}) == 2
            assert "in a separate report" in done.out, done.text
            assert len(list(cwd.glob("reports/*/tiny*/README.md"))) == 2


@fault(
    FAMILY,
    "`test` that is a link to `train`, or a copy of it under other names",
    "Refused in one line: every held-out image is a training image",
    short=2,
    long=2,
)
def leaks(tally: Tally, times: int, folder: Path) -> None:
    for kind in ("link", "copy")[:times]:
        with tally.attempt(kind):
            cwd = scratch(folder)
            pictures(cwd / "D")
            shutil.rmtree(cwd / "D/test")
            if kind == "link":
                (cwd / "D/test").symlink_to("train")
            else:
                (cwd / "D/test").mkdir()
                for index, path in enumerate(sorted((cwd / "D/train").iterdir())):
                    shutil.copyfile(path, cwd / f"D/test/other-{index}.png")
            refused(
                here("attnae-bench", *MOE, "--variants", "noisy", "--data-root", "D", cwd=cwd), "also training images"
            )
            assert not (cwd / "runs").exists()


# -- paths and terminals -------------------------------------------------------------------------------------------


@fault(
    FAMILY,
    "`--option=~/folder/`, which a shell leaves to the program, for runs, images, configurations and weights",
    "The folder in the real home; nothing called `~` appears, and no file tells this machine's folders",
    short=1,
    long=1,
)
def homes(tally: Tally, times: int, folder: Path) -> None:
    with tally.attempt("bench"):
        cwd, home = scratch(folder), scratch(folder)
        pictures(home / "D")
        with variables(HOME=str(home)):
            command = (*MOE, "--variants", "noisy", "--data-root=~/D/", "--out=~/runs/", "--dry-run")
            done = here("attnae-bench", *command, cwd=cwd)
        assert done.code == 0, done.text
        assert "~/runs/moe_denoising" in done.out
        assert str(home) not in done.text
    with tally.attempt("attnae"):
        cwd, home = scratch(folder), scratch(folder)
        pictures(home / "D", 32, 16)
        with variables(HOME=str(home)):
            words = ("--trainer.default_root_dir=~/run/", "--data.init_args.root=~/D", "--data.init_args.source=folder")
            done = here("attnae", *fit_arguments(Path("unused")), *words, cwd=cwd)
            assert done.code == 0, done.text
            config = (home / "run/config.yaml").read_text(encoding="utf-8")
            assert str(home) not in config
            test = ("test", "--config=~/run/config.yaml", "--weights=~/run/weights.safetensors")
            done = here("attnae", *test, cwd=cwd)
            assert done.code == 0, done.text
        assert {path.name for path in cwd.iterdir()} <= {"cache"}


COMMANDS = (["show", "moe_denoising"], ["list"], ["run", "saaae_vs_vae", "--dry-run"], ["show", "nö"], ["doctor"])


@fault(
    FAMILY,
    "`PYTHONIOENCODING=ascii`: a terminal that lacks the characters of a table",
    "Printed with replacements",
    short=2,
    long=len(COMMANDS),
)
def ascii_terminals(tally: Tally, times: int, folder: Path) -> None:
    for command in COMMANDS[:times]:
        with tally.attempt(" ".join(command)):
            told = {**os.environ, "PYTHONIOENCODING": "ascii"}
            done = subprocess.run([*PROGRAM, *command], cwd=scratch(folder), capture_output=True, env=told, check=False)
            assert b"Traceback" not in done.stderr, done.stderr[-300:]
            assert done.returncode in (0, 1, 2)


# -- keys ----------------------------------------------------------------------------------------------------------


@fault(
    FAMILY,
    "`--set` of every key that would change what is selected, counted or kept, or would leave nothing to report",
    "Refused in one line that names the key and what to use instead, before anything starts",
    short=6,
    long=len(keys.CANNOT_WORK) + 6,
)
def forbidden_keys(tally: Tally, times: int, folder: Path) -> None:
    empty = [
        "trainer.max_epochs=0", "trainer.max_epochs=-1", "trainer.max_epochs=null", "trainer.limit_train_batches=0",
        "trainer.limit_test_batches=0", "trainer.limit_train_batches=0.0",
    ]  # fmt: skip
    tried = [*empty, *(f"{key}=1" for key in keys.CANNOT_WORK)]
    for setting in tried[:: max(1, len(tried) // times)]:
        with tally.attempt(setting):
            cwd = scratch(folder)
            done = here("attnae-bench", "run", "saaae_vs_vae", "--set", setting, cwd=cwd)
            refused(done, setting.split("=")[0])
            assert not (cwd / "runs").exists()


@fault(
    FAMILY,
    "`--extend` without a run to continue, without its checkpoint, with other settings",
    "One line that says which run cannot be continued and why; nothing starts",
    short=1,
    long=1,
)
def nothing_to_extend(tally: Tally, times: int, folder: Path) -> None:
    with tally.attempt("no run"):
        cwd = scratch(folder)
        arguments = run_arguments("saaae_vs_vae")
        place = next(index for index, word in enumerate(arguments) if word.startswith("trainer.max_epochs="))
        del arguments[place - 1 : place + 1]
        refused(here("attnae-bench", *arguments, "--extend", "4", cwd=cwd), "--extend 4", "vae/seed1")
        assert not (cwd / "runs").exists()


# -- loggers -------------------------------------------------------------------------------------------------------


class Breaks(CSVLogger):
    """Fails in one of its methods.

    Args:
        save_dir: Folder.
        method: Name of the method.
    """

    def __init__(self, save_dir: str, method: str):
        super().__init__(save_dir)
        if method == "__init__":
            raise ConnectionError("gone")
        self.method = method

    def _fail(self, name: str) -> None:
        if self.method == name:
            raise ConnectionError("gone")

    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:  # type: ignore[override]
        self._fail("log_metrics")

    def log_hyperparams(self, *_: object, **__: object) -> None:  # type: ignore[override]
        self._fail("log_hyperparams")

    def save(self) -> None:
        self._fail("save")

    def finalize(self, status: str) -> None:
        self._fail("finalize")

    @property
    def experiment(self) -> object:  # type: ignore[override]
        self._fail("experiment")
        return SimpleNamespace()


METHODS = ("log_metrics", "__init__", "experiment", "log_hyperparams", "save", "finalize")


@fault(
    FAMILY,
    "A logger that raises at its start, in mid-training or at its end",
    "Dropped with one warning; the weights are those of a training without it",
    short=2,
    long=len(METHODS),
)
def broken_loggers(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    assert here("attnae", *fit_arguments(Path("plain"), epochs=2), cwd=cwd).code == 0
    for method in METHODS[:times]:
        with tally.attempt(method):
            told = f"{{class_path: surroundings.Breaks, init_args: {{save_dir: csv, method: {method}}}}}"
            done = here("attnae", *fit_arguments(Path(method), epochs=2), f"--trainer.logger={told}", cwd=cwd)
            assert done.code == 0, done.text
            (line,) = [line for line in done.err.splitlines() if line.startswith("attnae: warning: ")]
            assert "Breaks failed and was dropped" in line, line
            weights = [(cwd / run / "weights.safetensors").read_bytes() for run in ("plain", method)]
            assert weights[0] == weights[1]

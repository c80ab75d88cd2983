"""What all families of faults share: how a fault is tried and counted, and the commands as a person types them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

from attnae import result
from attnae.bench import catalog
from attnae.files import dump_yaml

PROGRAM = [sys.executable, "-m", "attnae.bench.app"]

SEVERAL_RUNNERS = "2"
"""As --jobs: leaves one of two cores to each run, so that equal numbers are asked of equal threads."""


def settings(values: dict[str, object]) -> list[str]:
    """Values by their keys of ``attnae fit``, as JSON."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def _keys(prefix: str, **values: object) -> dict[str, object]:
    return {f"{prefix}.init_args.{key}": value for key, value in values.items()}


SMALL: dict[str, dict[str, object]] = {
    "saaae_vs_vae": _keys("data", image_size=16, train_images=32, test_images=16, batch_size=16)
    | _keys("model.init_args.net", image_size=16, channels=[4, 4, 4, 4], latent_dim=8),
    "attentive_vqvae": _keys("data", image_size=32, train_images=8, test_images=4, batch_size=4)
    | _keys("model.init_args.net", width=4, latent=4, codes=8)
    | _keys("model.init_args.discriminator", width=4),
    "moe_denoising": _keys("data", train_images=4, test_images=2, val_images=4, batch_size=2),
}
"""What makes a benchmark's quick profile smaller than the start of a process."""

VARIANT = {"saaae_vs_vae": "vae", "attentive_vqvae": "ah", "moe_denoising": "moe"}
"""One variant of each benchmark."""


def run_arguments(benchmark: str, epochs: int = 2, **further: object) -> list[str]:
    """``attnae-bench run`` of a tiny run on a CPU."""
    values = {**SMALL[benchmark], "trainer.accelerator": "cpu", "trainer.max_epochs": epochs, **further}
    words = [word for setting in settings(values) for word in ("--set", setting)]
    return ["run", benchmark, "--variants", VARIANT[benchmark], *words, "--jobs", SEVERAL_RUNNERS, "--label", "tiny"]


@cache
def config_of(benchmark: str, variant: str) -> str:
    """A file with the configuration of a variant, in the first profile."""
    loaded = catalog.load(benchmark)
    path = Path(tempfile.mkdtemp()) / f"{variant}.yaml"
    path.write_text(dump_yaml(loaded.configuration(variant, next(iter(loaded.profiles)))), encoding="utf-8")
    return str(path)


def fit_arguments(folder: Path, benchmark: str = "saaae_vs_vae", epochs: int = 1, variant: str = "") -> list[str]:
    """``attnae fit`` of a tiny run on a CPU."""
    values = {**SMALL[benchmark], "trainer.accelerator": "cpu", "trainer.max_epochs": epochs}
    config = config_of(benchmark, variant or VARIANT[benchmark])
    return ["fit", "-c", config, *(f"--{each}" for each in settings(values)), f"--trainer.default_root_dir={folder}"]


# -- counting ------------------------------------------------------------------------------------------------------


class Impossible(Exception):
    """This machine does not let the fault happen."""


@dataclass
class Tally:
    """Tries of one fault.

    Attributes:
        tried: How many.
        failures: What went wrong, by try.
        notes: Measured figures, shown in the table.
    """

    tried: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def attempt(self, name: str, counts: bool = True) -> Iterator[None]:
        """One try, or what must hold after several; an exception within is a failure."""
        self.tried += counts
        try:
            yield
        except Impossible:
            self.tried -= counts
            raise
        except Exception as error:
            self.failures.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:600]}")


@dataclass(frozen=True)
class Fault:
    """An external failure, and the promised behavior.

    Attributes:
        family: Heading in the table.
        name: Name of the fault.
        happens: Promised behavior, checked in each trial.
        short: Number of trials in the test suite; 0 for faults that are only in the long form.
        long: Number of trials in the long form.
        inject: Injects the fault the given number of times, in a separate folder.
    """

    family: str
    name: str
    happens: str
    short: int
    long: int
    inject: Callable[[Tally, int, Path], None]


CATALOG: list[Fault] = []
"""All faults, in the order of the table."""

Injector = Callable[[Tally, int, Path], None]


def fault(family: str, name: str, happens: str, short: int, long: int) -> Callable[[Injector], Injector]:
    """Registers a function in the catalog, see :class:`Fault`."""

    def add(inject: Injector) -> Injector:
        CATALOG.append(Fault(family, name, happens, short, long, inject))
        return inject

    return add


# -- commands ------------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What a person sees of a command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(cwd: Path) -> dict[str, str]:
    """Of a command: an image cache of its own."""
    return {**os.environ, "ATTNAE_CACHE": str(cwd / "cache")}


def bench(*arguments: str | Path, cwd: Path, before: tuple[str, ...] = (), timeout: float = 600) -> Done:
    """``attnae-bench`` in this process, or behind another command in one of its own."""
    if before:
        process = subprocess.run(
            [*before, *PROGRAM, *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment(cwd),
        )
        done = Done(process.returncode, process.stdout, process.stderr)
    else:
        done = here("attnae-bench", *arguments, cwd=cwd)
    assert "Traceback" not in done.text, done.text[-600:]
    return done


def background(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """``attnae-bench`` that goes on; Ctrl-C works although a script has started it."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(cwd),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def here(program: str, *arguments: str | Path, cwd: Path) -> Done:
    """``attnae`` or ``attnae-bench`` in this process: importing Lightning takes seconds.

    An exception that reaches the console would be a traceback there, and is one here.
    """
    from attnae.bench import app
    from attnae.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(cwd)
        patch.setattr(os, "environ", os.environ.copy())  # Lightning leaves the seed there
        patch.setenv("ATTNAE_CACHE", str(cwd / "cache"))
        patch.setattr(sys, "argv", [program, *map(str, arguments)])
        try:
            code = main() if program == "attnae" else app.main([*map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def refused(done: Done, *culprits: str) -> None:
    """An exit code that is not 0, and one line that names the culprit."""
    assert done.code not in (0, None), f"accepted: {done.text[-300:]}"
    *before, line = [line for line in done.err.splitlines() if line.strip()] or [""]
    told = [one for one in before if not re.match(r"Seed set to |decoding ", one)]  # what it was doing
    assert not told, f"more than a line: {done.err[-600:]}"
    assert re.match(r"attnae(-bench)?: error: ", line), f"no error: {line}"
    for culprit in culprits:
        assert culprit in line, f"{culprit!r} is not in: {line}"


# -- runs ----------------------------------------------------------------------------------------------------------


def folder_of(cwd: Path, benchmark: str) -> Path:
    """The one run below a working folder."""
    (found,) = cwd.glob(f"runs/{benchmark}/tiny/{VARIANT[benchmark]}/seed*")
    return found


def same_run(one: Path, other: Path) -> None:
    """Two complete runs have the same weights, metrics and curves, bit by bit."""
    a, b = (result.read_result(run / "result.json") for run in (one, other))
    assert a.status == b.status == "complete", (a.reason, b.reason)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes(), "weights differ"
    assert a.metrics == b.metrics, "metrics differ"
    for key in a.curves.keys() | b.curves.keys():
        assert "seconds" in key or a.curves.get(key) == b.curves.get(key), f"the curve {key} differs"


def whole(run: Path) -> None:
    """Every file of a run that has its name can be read; only hidden files may be parts."""
    import zipfile

    for checkpoint in run.glob("checkpoints/[!.]*.ckpt"):
        with zipfile.ZipFile(checkpoint) as archive:
            assert archive.testzip() is None, checkpoint
    if (run / "weights.safetensors").exists():
        load_file(run / "weights.safetensors")
    for name, read in (("fit.json", result.read_part), ("test.json", result.read_part)):
        if (run / name).exists():
            read(run / name)
    if (run / "result.json").exists():
        result.read_result(run / "result.json")
    if (run / "progress.json").exists():
        json.loads((run / "progress.json").read_text(encoding="utf-8"))


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if f"PPid:\t{process}\n" in (path / "status").read_text(encoding="utf-8"):
                found.append(int(path.name))
    return found


def trainings(runner: int) -> list[int]:
    """Processes that train runs; the runner has them forked by one that has imported the libraries."""
    return [training for server in children(runner) for training in children(server)]


def at_work_in(cwd: Path) -> list[int]:
    """Processes whose working folder this is."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").resolve() == cwd.resolve() and (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def wait_until(what: Callable[[], object], seconds: float = 300, interval: float = 0.02) -> bool:
    """Whether something becomes true in time."""
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if what():
            return True
        time.sleep(interval)
    return False


def scratch(folder: Path) -> Path:
    """A new folder below another."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder))

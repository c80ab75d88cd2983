"""Many epochs and many images."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from harness import Tally, environment, fault, fit_arguments, scratch
from PIL import Image

EPOCHS = 3000
IMAGES = 100_000
LINKS = 1000
"""Hard links per file, because file systems limit their number."""

LOAD = """\
import json, resource, sys, time
from collections import Counter
from pathlib import Path
began = time.perf_counter()
from attnae.data import PatchMask, STL10DataModule
from attnae.data.cache import cached
imported, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
module = STL10DataModule(PatchMask(), root=Path(sys.argv[1]), image_size=16)
module.prepare_data()
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": time.perf_counter() - imported, "cpu": used.ru_utime + used.ru_stime,
                  "megabytes": (used.ru_maxrss - before) / 1024}))
"""


@fault(
    "Long and large",
    f"{EPOCHS:,} epochs of a tiny run",
    "Memory is constant, metrics.csv and log grow by one line per epoch, one checkpoint is kept",
    short=0,
    long=1,
)
def many_epochs(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    with tally.attempt(f"{EPOCHS} epochs"):
        command = [sys.executable, "-m", "attnae.cli", *fit_arguments(Path("run"), epochs=EPOCHS)]
        command += ["--data.init_args.train_images=16", "--data.init_args.val_images=1"]
        with (cwd / "log.txt").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, cwd=cwd, env=environment(cwd), stdout=log, stderr=subprocess.STDOUT)
            memory: dict[int, float] = {}
            while process.poll() is None:
                if epoch := _epoch(cwd / "run/progress.json"):
                    memory[epoch] = _megabytes(process.pid)
                if process.returncode is None:
                    try:
                        process.wait(1)
                    except subprocess.TimeoutExpired:
                        continue
        assert process.returncode == 0, (cwd / "log.txt").read_text(encoding="utf-8")[-500:]
        early = max(mb for epoch, mb in memory.items() if epoch <= EPOCHS // 5)
        late = max(mb for epoch, mb in memory.items() if epoch >= EPOCHS * 4 // 5)
        rows, log_kb = (cwd / "run/metrics.csv").stat().st_size / EPOCHS, (cwd / "log.txt").stat().st_size / 1e3
        kept = [path.name for path in (cwd / "run/checkpoints").iterdir()]
        curve = json.loads((cwd / "run/fit.json").read_text(encoding="utf-8"))["curves"]["epoch"]
        tally.notes.append(
            f"{early:.0f} MB in the first fifth, {late:.0f} MB in the last; {rows:.0f} bytes a row, log {log_kb:.0f} kB, "
            f"{len(curve)} points in the record"
        )
        assert late < early + 30, "memory grows"
        assert kept == ["last.ckpt"]
        assert rows < 200
        assert log_kb < EPOCHS * 0.2
        assert len(curve) < 300


def _epoch(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["epoch"])
    except (OSError, ValueError):
        return 0


def _megabytes(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return 0.0


def _folder(cwd: Path, count: int) -> Path:
    """Creates a folder of many small images, only a few of them distinct."""
    root = cwd / f"images-{count}"
    chance = np.random.default_rng(0)
    for split, number in (("train", count), ("test", LINKS)):
        (root / split).mkdir(parents=True)
        for index in range(number):
            path = root / split / f"{index:06}.png"
            if index % LINKS == 0:
                Image.fromarray(chance.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
                first = path
            else:
                os.link(first, path)
    return root


def _loaded(cwd: Path, root: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(root)],
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    found: dict[str, float] = json.loads(done.stdout)
    return found


@fault(
    "Long and large",
    f"A folder of {IMAGES:,} images, and one of a tenth of them",
    "The cost per image is constant, and so is memory except for the file names; the second start decodes nothing",
    short=0,
    long=1,
)
def many_images(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    with tally.attempt(f"{IMAGES} images"):
        few, many = (_folder(cwd, count) for count in (IMAGES // 10, IMAGES))
        base, small, large, again = (
            _loaded(cwd, _folder(cwd, LINKS)),
            *(_loaded(cwd, root) for root in (few, many, many)),
        )
        each = [(r["cpu"] - base["cpu"]) / (n - LINKS) * 1e6 for r, n in ((small, IMAGES // 10), (large, IMAGES))]
        tally.notes.append(
            f"{each[0]:.0f} and {each[1]:.0f} µs of processor time an image of 20x20; first start {large['seconds']:.0f} s, "
            f"second {again['seconds']:.1f} s; {small['megabytes']:.0f} and {large['megabytes']:.0f} MB more than before"
        )
        assert each[1] < 1.5 * each[0] + 50, "the cost of an image grows"
        assert large["megabytes"] - small["megabytes"] < IMAGES * 2e-3, "more than 2 kB an image"
        assert again["cpu"] < large["cpu"]

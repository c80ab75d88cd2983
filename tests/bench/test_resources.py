"""Assignment of GPUs and CPU threads to runs, with fake GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnae.bench.running import resources
from attnae.errors import UserError

GPUS = ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("jobs", "devices", "shares"),
    [
        (1, 1, [["0"]]),
        (2, 1, [["0"], ["1"]]),
        (2, 2, [["0", "1"], ["2", "3"]]),
        (1, 3, [["0", "1", "2"]]),
        (4, 1, [["0"], ["1"], ["2"], ["3"]]),
    ],
)
def test_each_run_gets_its_own_gpus(jobs: int, devices: int, shares: list[list[str]]) -> None:
    assert resources.divide(GPUS, jobs, devices) == shares


@pytest.mark.parametrize(("jobs", "devices", "advice"), [(5, 1, "--jobs 4"), (3, 2, "--jobs 2"), (1, 5, "--devices 4")])
def test_too_many_gpus_are_rejected(jobs: int, devices: int, advice: str) -> None:
    with pytest.raises(UserError, match=f"needs {jobs * devices} GPUs, but 4 are visible.*{advice}"):
        resources.divide(GPUS, jobs, devices)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("0", ["0"]),
        ("2, 0", ["2", "0"]),
        ("GPU-a1,GPU-b2", ["GPU-a1", "GPU-b2"]),
        ("-1", []),
        ("1,-1,2", ["1"]),
    ],
)
def test_visible_gpus_from_environment(value: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert resources.visible_gpus() == names


def test_visible_gpus_from_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    lines = [f"GPU {n}: NVIDIA H200 (UUID: GPU-{n}a)" for n in range(2)] + ["  MIG 1g.10gb Device 0: (UUID: MIG-1)"]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resources.visible_gpus() == ["GPU-0a", "GPU-1a"]
    program.unlink()
    assert resources.visible_gpus() == []


def test_slots_share_threads_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert resources.slots(2) == [
        {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "3"},
        {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "1"},
    ]
    assert resources.slots(1, 2) == [{"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "3,1"}]
    assert resources.slots(3, 1, "cpu") == 3 * [{"OMP_NUM_THREADS": "2"}]
    assert resources.slots(16, 1, "cpu")[0] == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources.slots(2, 2) == 2 * [{"OMP_NUM_THREADS": "2"}]


def test_runs_at_a_time_by_the_threads_of_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources.slots(None) == [{"OMP_NUM_THREADS": "8"}]
    assert resources.slots(None, threads=1) == 8 * [{"OMP_NUM_THREADS": "1"}]
    assert resources.slots(None, threads=3) == 2 * [{"OMP_NUM_THREADS": "4"}]
    assert resources.slots(None, 2, threads=2) == 2 * [{"OMP_NUM_THREADS": "2"}]
    assert resources.slots(None, threads=16) == [{"OMP_NUM_THREADS": "8"}]
    assert resources.slots(1, threads=1) == [{"OMP_NUM_THREADS": "8"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert len(resources.slots(None, threads=1)) == 1
    assert len(resources.slots(None, accelerator="cpu", threads=1)) == 8
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert len(resources.slots(None, threads=1)) == len(resources.slots(None, accelerator="mps", threads=1)) == 1
    assert len(resources.slots(None, accelerator="cpu", threads=1)) == 8


def test_slurm_allocation_limits_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for allotted, cores in (("2", 2), ("", 8)):
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", allotted)
        assert resources.cores() == cores


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_a_session_passes_its_lowered_priority_on() -> None:
    code = """
import subprocess
from pathlib import Path
from attnae.bench.running.resources import share_priority
Path("/proc/self/autogroup").write_text("5")
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
share_priority(child.pid)
print(Path(f"/proc/{child.pid}/autogroup").read_text())
child.kill()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-2:] == ["nice", "5"]

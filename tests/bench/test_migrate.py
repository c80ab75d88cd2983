"""Migration from format 1 to format 2: no values are guessed, lost or changed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnae import result
from attnae.bench import sharing
from attnae.bench.migrate import main
from attnae.bench.running.outcome import git_state
from attnae.files import PACKAGE
from attnae.paths import shown

REPORTS = PACKAGE.parent / "reports"
COMMIT = git_state().get("commit", "")

pytestmark = pytest.mark.skipif(not COMMIT, reason="needs the files of a commit")

PLACE = "runs/moe_denoising/mine/moe/seed3-0123abcd"
OLD: dict[str, Any] = {
    "benchmark": "moe_denoising",
    "commands": [
        "attnae fit -c configs/x.yaml -c configs/y.yaml --seed_everything 3 "
        f"--trainer.default_root_dir {PLACE} --trainer.max_epochs=2 --model.init_args.lr=1e-4 "
        "--trainer.precision=bf16-mixed --trainer.devices=2 --data.init_args.source=auto --data.init_args.root='my data'",
        f"attnae test -c {PLACE}/config.yaml --weights {PLACE}/weights.safetensors --trainer.devices 1",
    ],
    "config_hash": "0123abcd",
    "curves": {"epoch": [1.0, 2.0], "published/kl_mse": [3.0, 2.0]},
    "data": {"kind": "folder", "name": "my data", "digest": "aaaaaaaa-bbbbbbbb", "test": 5},
    "efficiency": {"params_trainable": 7.0},
    "git": {"commit": COMMIT, "dirty": False},
    "hardware": {"device": "CPU"},
    "images": ["images/heldout-output.png", "images/published-input.png"],
    "label": "mine",
    "metrics": {"heldout/mse": 0.25, "published/kl_mse": 2.0, "published/images": 256.0},
    "profile": "short",
    "reason": "",
    "seed": 3,
    "selection": "last epoch (2)",
    "status": "complete",
    "variant": "moe",
    "version": 1,
    "versions": {"attnae": "0.1.0"},
    "wall_seconds": 3.5,
}
FILES = {
    "configs/x.yaml": {"model": {"class_path": "M", "init_args": {"a": 1}}, "data": {"init_args": {"root": "data/x"}}},
    "configs/y.yaml": {"trainer": {"max_epochs": 30}, "model": {"init_args": {"b": 2}}},
}


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake configuration files at the commit; the last test reads the real files from git."""
    from attnae.bench import migrate

    real = migrate._file
    monkeypatch.setattr(migrate, "_file", lambda commit, name: FILES.get(name) or real(commit, name))


def written(folder: Path, **changes: Any) -> Path:
    path = folder / PLACE / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**copy.deepcopy(OLD), **changes}), encoding="utf-8")
    return path


def test_result_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    picture = path.parent / "images/published-input.png"
    picture.parent.mkdir()
    picture.write_bytes(b"picture")
    assert main([str(tmp_path)]) == 0
    assert "Converted 1 results" in capsys.readouterr().out
    new = result.read_result(path)
    assert new.overrides == {"trainer.max_epochs": 2, "model.init_args.lr": 1e-4}
    assert new.configuration == {
        "model": {"class_path": "M", "init_args": {"a": 1, "b": 2, "lr": 1e-4}},
        "trainer": {"max_epochs": 2},
        "data": {"init_args": {}},
    }
    assert (new.precision, new.devices, new.nodes) == ("bf16", 2, 1)
    assert (new.data_digest, new.data, new.reconstructed) == ("aaaaaaaa-bbbbbbbb", OLD["data"], True)
    assert (new.finished_at, new.version) == ("", 2)
    assert new.metrics == {"heldout/mse": 0.25, "train_set/kl_mse": 2.0, "train_set/images": 256.0}
    assert new.curves == {"epoch": [1.0, 2.0], "train_set/kl_mse": [3.0, 2.0]}
    assert new.images == ["images/heldout-output.png", "images/train_set-input.png"]
    assert (path.parent / new.images[1]).read_bytes() == b"picture"
    for name in ("benchmark", "variant", "seed", "profile", "label", "commands", "git", "efficiency", "wall_seconds"):
        assert getattr(new, name) == OLD[name]
    assert main([str(tmp_path)]) == 0
    assert "Converted 0 results" in capsys.readouterr().out


def test_documented_command(tmp_path: Path) -> None:
    path = written(tmp_path, commands=["attnae fit -c configs/saaae.yaml --seed_everything 3"])
    command = [sys.executable, "-m", "attnae.bench.migrate", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "init_args" in result.read_result(path).configuration["model"]


def test_window_digest_is_not_a_data_digest(tmp_path: Path) -> None:
    path = written(tmp_path, data={"kind": "array", "name": "a", "digest": "856f156e-856f156e"})
    assert main([str(tmp_path)]) == 0
    new = result.read_result(path)
    assert new.data_digest == ""
    assert new.data == {"kind": "array", "name": "a", "windows": "856f156e-856f156e"}


def test_converted_results_share_no_table_with_new_results_or_other_arrays(tmp_path: Path) -> None:
    new = []
    for number, digest in enumerate(("856f156e-856f156e", "00000000-00000000")):
        path = written(tmp_path / str(number), data={"kind": "array", "digest": digest})
        assert main([str(tmp_path / str(number))]) == 0
        new.append(result.read_result(path))
    assert sharing.apart(new[0], new[0]) == ""
    assert "different images" in sharing.apart(new[0], new[1])
    fresh = result.Result(**{**vars(new[0]), "reconstructed": False})
    assert "migrated" in sharing.apart(new[0], fresh)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"commands": []}, "no commands are recorded"),
        ({"git": {}}, "no commit is recorded"),
        (
            {"git": {"commit": "0" * 40}, "commands": ["attnae fit -c configs/z.yaml"]},
            "Cannot read configs/z.yaml at commit 000000000000 from git",
        ),
        ({"git": {"commit": "--output=x"}}, "no commit is recorded"),
        ({"commands": ["attnae fit -c"]}, "malformed command"),
        ({"commands": ["attnae fit -c 'x"]}, "malformed format 1 result"),
        ({"commands": 3}, "malformed format 1 result"),
        ({"git": 3}, "malformed format 1 result"),
        ({"metrics": []}, "malformed format 1 result"),
        ({"data": {"digest": 3, "converted": []}}, "data.converted is not an object"),
        ({"seed": "3"}, "seed is not a int"),
        ({"label": "../up"}, "is not a valid folder name"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_incomplete_results_are_left_unchanged(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, **changes)
    before = path.read_bytes()
    assert main([str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Left unchanged: ")
    assert shown(path) in line
    assert said in line
    assert path.read_bytes() == before


@pytest.mark.skipif(not REPORTS.is_dir(), reason="needs the committed reports")
def test_committed_results_have_current_format_and_match_their_tables() -> None:
    found = [(path.parent, result.read_result(path)) for path in REPORTS.glob("*/*/runs/*.json")]
    assert found
    tables = {(table.benchmark, table.label): table for table in sharing.tables(found)}
    assert tables.keys() == {(path.parts[-3], path.parts[-2]) for path, _ in found}
    assert not any(table.superseded for table in tables.values())

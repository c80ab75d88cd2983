"""Weights & Biases: login, run names and IDs, and data stored by offline runs."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from attnae import online, result
from attnae.bench import catalog, plan, tracking
from attnae.bench.app import main
from attnae.bench.identity import Run
from attnae.bench.request import Request

TINY = [
    *("run", "saaae_vs_vae", "--variants", "vae", "--label", "tiny", "--set", "trainer.accelerator=cpu"),
    *("--set", "data.init_args.image_size=16", "--set", "model.init_args.net.init_args.image_size=16"),
    *("--set", "data.init_args.train_images=32", "--set", "data.init_args.test_images=16"),
    *("--set", "data.init_args.batch_size=16", "--set", "model.init_args.net.init_args.channels=[4,4,4,4]"),
    *("--set", "model.init_args.net.init_args.latent_dim=8", "--set", "trainer.max_epochs=2"),
]


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home without accounts."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- login ---------------------------------------------------------------------------------------------------------


def test_not_logged_in(nobody: Path) -> None:
    assert not tracking.login().usable
    assert "WANDB_MODE=offline" in tracking.login().text


@pytest.mark.parametrize(
    ("name", "value", "usable"),
    [
        ("WANDB_API_KEY", "k", True),
        ("WANDB_MODE", "offline", True),
        ("WANDB_MODE", "disabled", False),
        ("WANDB_API_KEY", "", False),
    ],
)
def test_login_by_environment(
    name: str, value: str, usable: bool, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert tracking.login().usable == usable


def test_login_by_netrc(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nobody / "home" / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    assert tracking.login().usable
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab.example")
    assert not tracking.login().usable
    (nobody / "home" / ".netrc").write_text("nonsense")
    assert not tracking.login().usable


@pytest.mark.parametrize(
    ("file", "content", "mode"),
    [
        (".config/wandb/settings", "[default]\nmode = offline\n", "offline"),
        ("../wandb/settings", "[default]\nmode = disabled\n", "disabled"),
        (".config/wandb/settings", "[default]\nbase_url = https://wandb.lab.example\n", "online"),
        (".config/wandb/settings", "nonsense", "online"),
    ],
)
def test_what_wandb_offline_has_stored_counts(
    file: str, content: str, mode: str, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nobody / "home" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert online.mode() == mode
    assert tracking.login().usable == (mode == "offline")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert online.mode() == "online"


class Refusing(BaseHTTPRequestHandler):
    """A server that takes nothing, but answers."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_answers_is_online_and_one_that_is_gone_is_not(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    runs = planned(wandb="lab")
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        assert tracking.connect(runs, Path("runs/b/l")) == ""
        server.shutdown()
    told = tracking.connect(runs, Path("runs/b/l"))
    assert "does not answer" in told
    assert "wandb sync --append runs/b/l/*/*/wandb/offline-run-*" in told
    assert os.environ["WANDB_MODE"] == "offline"
    assert "offline mode" in tracking.connect(runs, Path("runs/b/l"))
    assert tracking.connect(planned(), Path("runs/b/l")) == ""


def test_a_server_that_is_silent_takes_seconds(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert not online.answers()
        assert time.monotonic() - began < 5


# -- run names and IDs ---------------------------------------------------------------------------------------------


def planned(*overrides: str, **options: Any) -> list[Run]:
    request = Request(catalog.load("saaae_vs_vae"), "quick", "vae", "2", overrides=[*overrides], **options)
    return plan.make(request).runs


def test_logger_does_not_change_hash_label_or_commands(nobody: Path) -> None:
    for without, logged in zip(planned(), planned(wandb="lab"), strict=True):
        assert logged.logger
        assert not without.logger
        assert (logged.folder, logged.commands, logged.id) == (without.folder, without.commands, without.id)


def test_run_ids_are_unique_and_stable(nobody: Path) -> None:
    def ids(*overrides: str, **options: Any) -> list[str]:
        words = [word for run in planned(*overrides, wandb="lab", **options) for word in run.logger]
        return [word.split("=")[1] for word in words if word.startswith("--trainer.logger.id=")]

    first = ids()
    assert len(set(first)) == 2
    assert ids() == first
    assert not {*ids("model.init_args.lr=1e-4"), *ids(label="other")} & {*first}


def test_any_logger(nobody: Path) -> None:
    (run, _) = planned("trainer.logger=TensorBoardLogger")
    assert run.logger == ("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={run.folder.as_posix()}")
    (run, _) = planned("trainer.logger=WandbLogger", "trainer.logger.group=mine")
    assert "--trainer.logger.group=mine" in run.logger
    assert sum(word.startswith("--trainer.logger.group=") for word in run.logger) == 1
    (run, _) = planned("trainer.logger=true")
    assert run.logger == ("--trainer.logger=true",)


# -- stored data ---------------------------------------------------------------------------------------------------


def records(path: Path) -> Iterator[Any]:
    """Records of a W&B file: protocol buffers in LevelDB log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:  # end of a block
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full record, or last fragment
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


class Stored:
    """The data that W&B would show after uploading all offline runs in a folder."""

    def __init__(self, folder: Path):
        self.runs: list[Any] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.curves: dict[str, list[Any]] = {}
        self.artifacts: list[Any] = []
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
            for record in records(path):
                kind = record.WhichOneof("record_type")
                if kind == "run":
                    self.runs.append(record.run)
                elif kind == "config":
                    self.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
                elif kind == "summary":
                    self.summary |= {
                        "/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update
                    }
                elif kind == "history":
                    for item in record.history.item:
                        self.curves.setdefault("/".join(item.nested_key), []).append(json.loads(item.value_json))
                elif kind == "artifact":
                    self.artifacts.append(record.artifact)
                elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
                    self.artifacts.append(record.request.log_artifact.artifact)


@pytest.mark.slow
def test_offline_run_is_stored_and_resumes_without_account(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as offline:
        offline.setenv("WANDB_MODE", "offline")
        assert main([*TINY, "--wandb", "lab"]) == 0
    (folder,) = nobody.glob("runs/saaae_vs_vae/tiny/vae/seed1-*")
    record = result.read_result(folder / "result.json")
    stored = Stored(folder)
    assert len(stored.runs) == 2  # training and test
    assert {(r.project, r.run_group, r.run_id, r.display_name, r.resume) for r in stored.runs} == {
        ("lab", "saaae_vs_vae quick", stored.runs[0].run_id, "vae/seed1 tiny", True)
    }
    assert stored.config["trainer"]["max_epochs"] == 2
    assert stored.config["model"]["init_args"]["net"]["init_args"]["latent_dim"] == 8
    assert stored.curves["val/mse"] == pytest.approx(record.curves["val/mse"])
    assert stored.curves["train/loss"] == pytest.approx(record.curves["train/loss"])
    for key, value in {**record.metrics, **record.efficiency}.items():
        assert stored.summary[key] == pytest.approx(value), key
    for image in record.images:
        assert f"images/{Path(image).stem}/_type" in stored.summary
    assert list(folder.glob("wandb/offline-run-*/files/media/images/images/heldout-output*.png"))
    assert "trainer.logger" not in " ".join(record.commands)
    assert "logger: false" in (folder / "config.yaml").read_text()

    report = Stored(nobody / "runs" / "saaae_vs_vae" / "tiny")
    assert [run.display_name for run in report.runs] == ["report tiny"]
    assert [(artifact.name, artifact.type) for artifact in report.artifacts if artifact.type == "report"] == [
        ("report-saaae_vs_vae-tiny", "report")
    ]
    assert any(key.startswith("results/") for key in report.summary)

    capsys.readouterr()
    assert main([*TINY, "--wandb"]) == 0
    assert "Not logging to Weights & Biases: not logged in" in " ".join(capsys.readouterr().out.split())
    assert len(Stored(nobody / "runs" / "saaae_vs_vae" / "tiny").runs) == 1

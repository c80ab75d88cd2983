"""Official files: reading, checksums, downloads and extraction; malicious files are rejected."""

import hashlib
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnae.data import official
from attnae.data.content import content
from attnae.data.location import locate
from attnae.data.official import OFFICIAL, Official, load, read_cifar10, read_stl10
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "cache"))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_stl10(root: Path) -> dict[str, np.ndarray]:
    """Files as published: by image, channel, column, row."""
    made = {}
    for split, count in (("train", 4), ("test", 3)):
        made[split] = RANDOM.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
        path = root / f"stl10_binary/{split}_X.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[split].transpose(0, 3, 2, 1).tobytes())
    return made


def write_cifar10(root: Path) -> dict[str, np.ndarray]:
    """Files as published: pickled dictionaries of rows."""
    made = {}
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for split, names in (("train", [f"data_batch_{n}" for n in range(1, 6)]), ("test", ["test_batch"])):
        images = RANDOM.integers(0, 256, (len(names) * 2, 32, 32, 3), dtype=np.uint8)
        for number, name in enumerate(names):
            rows = images[2 * number :][:2].transpose(0, 3, 1, 2).reshape(2, -1)
            batch = {"data": rows, "labels": [1, 2], "filenames": ["a", "b"], "batch_label": "x"}
            (root / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(batch, protocol=2))
        made[split] = images
    return made


def as_published(monkeypatch: pytest.MonkeyPatch, dataset: str, root: Path, **more: str) -> None:
    """Makes generated files pass as the official ones."""
    one = OFFICIAL[dataset]
    sums = [{name: md5(root / name) for name in names} for names in (one.train, one.test)]
    monkeypatch.setitem(OFFICIAL, dataset, Official(*sums, one.read, **more))


@pytest.mark.parametrize(("dataset", "write"), [("STL-10", write_stl10), ("CIFAR-10", write_cifar10)])
def test_official_files_are_read_correctly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, write: Any
) -> None:
    made = write(tmp_path)
    as_published(monkeypatch, dataset, tmp_path)
    for split, images in made.items():
        np.testing.assert_array_equal(load(dataset, tmp_path, split), images)
    taken = content(locate(dataset, "photos", tmp_path), made["test"].shape[1])
    assert taken is not None
    assert taken.digest == "-".join(
        hashlib.blake2b(made[split].tobytes(), digest_size=16).hexdigest()[:8] for split in ("train", "test")
    )
    assert (taken.train, taken.test) == (len(made["train"]), len(made["test"]))


@pytest.mark.parametrize(("dataset", "write"), [("STL-10", write_stl10), ("CIFAR-10", write_cifar10)])
def test_the_readers_agree_with_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, write: Any
) -> None:
    from torchvision import datasets

    write(tmp_path)
    one = OFFICIAL[dataset]
    for split in ("train", "test"):
        names = one.train if split == "train" else one.test
        ours = one.read([tmp_path / name for name in names], split)
        if dataset == "CIFAR-10":
            monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
            monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
            theirs = datasets.CIFAR10(str(tmp_path), train=split == "train").data
        else:
            raw = datasets.STL10._STL10__loadfile  # what its constructor calls, without labels
            stub = type("Stub", (), {"root": str(tmp_path), "base_folder": "stl10_binary"})()
            theirs = raw(stub, f"{split}_X.bin")[0].transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(ours, theirs)


def test_files_with_another_checksum_are_rejected(tmp_path: Path) -> None:
    write_stl10(tmp_path)
    with pytest.raises(UserError, match=r"STL-10 in .*train_X\.bin is damaged"):
        load("STL-10", tmp_path, "train")


def test_a_missing_batch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    as_published(monkeypatch, "CIFAR-10", tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_3").unlink()
    with pytest.raises(UserError, match="data_batch_3"):
        load("CIFAR-10", tmp_path, "train")


# -- malicious files -----------------------------------------------------------------------------------------------


class Executes:
    def __init__(self, call: Any, *arguments: Any):
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["all", "data", "labels"])
def test_a_malicious_pickle_is_rejected(tmp_path: Path, protocol: int, place: str) -> None:
    executed = tmp_path / "executed"
    attack = Executes(Path.touch, executed)
    batch = {"data": np.zeros((1, 3072), np.uint8), "labels": [1]}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(attack if place == "all" else {**batch, place: attack}, protocol=protocol))
    with pytest.raises(pickle.UnpicklingError, match="it calls"):
        read_cifar10([path], "train")
    assert not executed.exists()


def test_allowed_callables_are_rejected_with_other_arguments(tmp_path: Path) -> None:
    for value in (
        np.array([{}], dtype=object),
        np.zeros(2, "S3"),
        np.zeros(1, [("a", "u1")]),
        Executes(eval, "1"),
        Executes(getattr, 1, "real"),
        Executes(np.load, "x.npy"),
        Executes(bytearray, b"x"),
    ):
        path = tmp_path / "batch"
        path.write_bytes(pickle.dumps({"data": value}, protocol=2))
        with pytest.raises((pickle.UnpicklingError, ValueError)):
            read_cifar10([path], "train")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", pickle.dumps([]), pickle.dumps({"data": np.zeros((2, 7), np.uint8)}), pickle.dumps({"data": 1})],
)
def test_other_content_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(content)
    as_published(monkeypatch, "CIFAR-10", tmp_path)
    with pytest.raises(UserError, match="CIFAR-10 in"):
        load("CIFAR-10", tmp_path, "test")


def test_stl10_of_another_length_is_rejected(tmp_path: Path) -> None:
    for size in (0, 100, 3 * 96 * 96 + 1):
        (tmp_path / "x.bin").write_bytes(bytes(size))
        with pytest.raises(ValueError, match="not a multiple of the size"):
            read_stl10([tmp_path / "x.bin"], "train")


# -- fetching ------------------------------------------------------------------------------------------------------


def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checksum: str = "") -> None:
    write_stl10(tmp_path / "server")
    path = tmp_path / "stl10.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted((tmp_path / "server/stl10_binary").iterdir()):
            tar.add(file, f"stl10_binary/{file.name}")
        tar.add(tmp_path / "server/stl10_binary/test_X.bin", "../outside")
    more = {"url": path.as_uri(), "md5": checksum or md5(path)}
    as_published(monkeypatch, "STL-10", tmp_path / "server", **more)


def test_official_files_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path, monkeypatch)
    location = locate("STL-10", "photos", tmp_path / "new", "official", download=True)
    assert not location.files
    assert content(location, 96, decode=False) is None
    taken = content(location, 96)
    assert taken is not None
    assert (taken.train, taken.test) == (4, 3)
    names = sorted(path.name for path in (tmp_path / "new").rglob("*") if path.suffix != ".lock")
    assert names == ["stl10_binary", "test_X.bin", "train_X.bin"]
    assert not (tmp_path / "outside").exists()
    monkeypatch.setattr(official, "fetch", lambda *_: pytest.fail("fetched again"))
    assert content(location, 96) == taken
    assert content(locate("STL-10", "photos", tmp_path / "new"), 96, decode=False) == taken


@pytest.mark.parametrize("trouble", ["checksum", "network"])
def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    archive(tmp_path, monkeypatch, "0" * 32 if trouble == "checksum" else "")
    if trouble == "network":
        (tmp_path / "stl10.tar.gz").unlink()
    with pytest.raises(UserError, match="Cannot download STL-10 from"):
        content(locate("STL-10", "photos", tmp_path / "new", "official", download=True), 96)
    assert not list((tmp_path / "new").glob("*_binary"))

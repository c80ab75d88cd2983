"""The image cache: decoded once, never half there, whoever reads or stops when."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from attnae.data.cache import Images, cache_folder, cached
from attnae.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def untouchable() -> Iterator[np.ndarray]:
    pytest.fail("decoded although the cache holds the images")
    yield


def load(key: str = "key", pixels: np.ndarray = PIXELS) -> Images:
    return cached(key, len(pixels), 8, iter(pixels), Counter({"grayscale": 2}), "decoding")


def load_again(key: str = "key") -> Images:
    return cached(key, len(PIXELS), 8, untouchable(), Counter(), "decoding")


def the(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


# -- once -------------------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_decoded() -> None:
    first, second = load(), load_again()
    for images in (first, second):
        np.testing.assert_array_equal(images.pixels, PIXELS)
        assert isinstance(images.pixels, np.memmap)
        assert images.conversions == {"grayscale": 2}
    assert first.digest == second.digest


def test_images_cannot_be_changed_by_a_reader() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load().pixels[0] = 0


def test_keys_and_sizes_have_entries_of_their_own() -> None:
    load("one")
    np.testing.assert_array_equal(load("two", PIXELS[::-1]).pixels, PIXELS[::-1])
    np.testing.assert_array_equal(load_again("one").pixels, PIXELS)
    other = cached("one", 2, 4, iter(PIXELS[:2, :4, :4]), Counter(), "decoding")
    np.testing.assert_array_equal(other.pixels, PIXELS[:2, :4, :4])
    np.testing.assert_array_equal(load_again("one").pixels, PIXELS)


def test_the_digest_tells_pixels_apart_and_nothing_else() -> None:
    assert load("one").digest == load("two").digest
    changed = PIXELS.copy()
    changed[4, 7, 7, 2] ^= 1
    assert load("three", changed).digest != load("one").digest


def test_files_are_readable_by_others(folder: Path) -> None:
    load()
    umask = os.umask(0)
    os.umask(umask)
    for suffix in (".npy", ".json"):
        assert the(folder, suffix).stat().st_mode & 0o777 == 0o666 & ~umask


# -- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 5, 60, 128, 500])
def test_a_truncated_entry_is_built_anew(folder: Path, keep: int) -> None:
    load()
    path = the(folder, ".npy")
    path.write_bytes(path.read_bytes()[:keep])
    np.testing.assert_array_equal(load().pixels, PIXELS)
    np.testing.assert_array_equal(load_again().pixels, PIXELS)


@pytest.mark.parametrize(
    "foreign",
    [PIXELS[:4], PIXELS.astype(np.int16), PIXELS[:, :4], np.array([{}], dtype=object)],
    ids=["count", "type", "size", "pickle"],
)
def test_a_foreign_array_is_built_anew(folder: Path, foreign: np.ndarray) -> None:
    load()
    np.save(the(folder, ".npy"), foreign, allow_pickle=True)
    pixels = load().pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize("content", [b"text", b"PK\x03\x04", "zip"])
def test_a_foreign_file_is_built_anew(folder: Path, content: bytes | str) -> None:
    load()
    path = the(folder, ".npy")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path.with_suffix(".npz"), PIXELS)
        path.with_suffix(".npz").replace(path)
    np.testing.assert_array_equal(load().pixels, PIXELS)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"digest": "a"}', "\0", '"digest"'])
def test_a_damaged_description_is_written_anew(folder: Path, text: str) -> None:
    digest = load().digest
    the(folder, ".json").write_text(text)
    assert load().digest == digest
    assert json.loads(the(folder, ".json").read_text())["digest"] == digest


def test_an_array_without_its_description_does_not_count(folder: Path) -> None:
    load()
    the(folder, ".json").unlink()
    np.testing.assert_array_equal(load("key", PIXELS[::-1]).pixels, PIXELS[::-1])


# -- interruption -----------------------------------------------------------------------------------------------


def failing(error: BaseException) -> Iterator[np.ndarray]:
    yield from PIXELS[:3]
    raise error


@pytest.mark.parametrize("error", [UserError("broken image"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failure_while_decoding_leaves_nothing_behind(folder: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        cached("key", 5, 8, failing(error), Counter(), "decoding")
    assert caught.value is error
    assert leftovers(folder) == []
    np.testing.assert_array_equal(load().pixels, PIXELS)
    assert len(leftovers(folder)) == 2


def test_a_failure_leaves_the_entries_of_others_alone(folder: Path) -> None:
    load("other")
    with pytest.raises(ValueError, match="bug"):
        cached("key", 5, 8, failing(ValueError("bug")), Counter(), "decoding")
    np.testing.assert_array_equal(load_again("other").pixels, PIXELS)


def slow_images(log: Path, note: str) -> Iterator[np.ndarray]:
    for image in PIXELS:
        with log.open("a") as stream:
            stream.write(f"{note}\n")
        time.sleep(0.05)
        yield image


def in_a_process(cache: str, log: Path, note: str, ready: Connection, pixels: np.ndarray) -> None:
    os.environ["ATTNAE_CACHE"] = cache
    ready.send("ready")
    ready.recv()
    images = cached("key", 5, 8, slow_images(log, note), Counter(), "decoding")
    ready.send((bool((images.pixels == pixels).all()), images.digest))


def start(folder: Path, log: Path, note: str) -> tuple[multiprocessing.Process, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_a_process, args=(str(folder), log, note, theirs, PIXELS))
    process.start()
    return process, ours  # type: ignore[return-value]


def test_of_two_processes_one_decodes_and_both_agree(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [start(folder, log, note) for note in ("a", "b")]
    for _, pipe in both:
        assert pipe.poll(60)
        assert pipe.recv() == "ready"
    for _, pipe in both:
        pipe.send("go")
    results = []
    for process, pipe in both:
        assert pipe.poll(60)
        results.append(pipe.recv())
        process.join(30)
        assert process.exitcode == 0
    assert results[0] == results[1] == (True, load_again().digest)
    assert log.read_text().splitlines() in (["a"] * 5, ["b"] * 5)


def test_a_killed_process_is_no_obstacle(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process, pipe = start(folder, log, "a")
    assert pipe.poll(60)
    pipe.recv()
    pipe.send("go")
    until = time.monotonic() + 30
    while not (log.exists() and len(log.read_text().splitlines()) >= 2) and time.monotonic() < until:
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert not list(folder.glob("[!.]*.npy"))
    np.testing.assert_array_equal(load().pixels, PIXELS)


# -- folder -----------------------------------------------------------------------------------------------------


def test_the_folder_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ATTNAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "attnae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "attnae"


def test_a_chosen_folder_that_cannot_be_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="ATTNAE_CACHE="):
        load()


def test_a_home_that_cannot_be_written_to_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("ATTNAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"attnae-{os.getuid()}"
    np.testing.assert_array_equal(load().pixels, PIXELS)

"""The image cache: decodes once, is never partial, and survives interruptions."""

import json
import multiprocessing
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attnae.data import cache
from attnae.data.cache import Images, cache_folder, cached, tolerated
from attnae.data.decode import UnreadableImage
from attnae.errors import UserError
from attnae.paths import shown

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def untouchable(position: int, conversions: Counter[str]) -> np.ndarray:
    pytest.fail("decoded although the cache holds the images")


def decoder(pixels: np.ndarray) -> Callable[[int, Counter[str]], np.ndarray]:
    """Decodes images from an array; the first two count as grayscale."""

    def decode(position: int, conversions: Counter[str]) -> np.ndarray:
        if position < 2:
            conversions["grayscale"] += 1
        return pixels[position]

    return decode


def load(key: str = "key", pixels: np.ndarray = PIXELS) -> Images:
    return cached(key, len(pixels), 8, decoder(pixels), "decoding")


def load_again(key: str = "key") -> Images:
    return cached(key, len(PIXELS), 8, untouchable, "decoding")


def the(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


# -- once -------------------------------------------------------------------------------------------------------


def test_cached_images_are_not_decoded_again() -> None:
    first, second = load(), load_again()
    for images in (first, second):
        np.testing.assert_array_equal(images.pixels, PIXELS)
        assert isinstance(images.pixels, np.memmap)
        assert images.conversions == {"grayscale": 2}
    assert first.digest == second.digest


def test_cached_images_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load().pixels[0] = 0


def test_keys_and_sizes_have_separate_entries() -> None:
    load("one")
    np.testing.assert_array_equal(load("two", PIXELS[::-1]).pixels, PIXELS[::-1])
    np.testing.assert_array_equal(load_again("one").pixels, PIXELS)
    other = cached("one", 2, 4, decoder(PIXELS[:2, :4, :4]), "decoding")
    np.testing.assert_array_equal(other.pixels, PIXELS[:2, :4, :4])
    np.testing.assert_array_equal(load_again("one").pixels, PIXELS)


def test_the_digest_depends_only_on_pixels() -> None:
    assert load("one").digest == load("two").digest
    changed = PIXELS.copy()
    changed[4, 7, 7, 2] ^= 1
    assert load("three", changed).digest != load("one").digest


def test_cache_files_are_readable_by_other_users(folder: Path) -> None:
    load()
    umask = os.umask(0)
    os.umask(umask)
    for suffix in (".npy", ".json"):
        assert the(folder, suffix).stat().st_mode & 0o777 == 0o666 & ~umask


# -- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 5, 60, 128, 500])
def test_a_truncated_entry_is_rebuilt(folder: Path, keep: int) -> None:
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
def test_a_foreign_array_is_rebuilt(folder: Path, foreign: np.ndarray) -> None:
    load()
    np.save(the(folder, ".npy"), foreign, allow_pickle=True)
    pixels = load().pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize("content", [b"text", b"PK\x03\x04", "zip"])
def test_a_foreign_file_is_rebuilt(folder: Path, content: bytes | str) -> None:
    load()
    path = the(folder, ".npy")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path.with_suffix(".npz"), PIXELS)
        path.with_suffix(".npz").replace(path)
    np.testing.assert_array_equal(load().pixels, PIXELS)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"digest": "a"}', "\0", '"digest"'])
def test_a_damaged_description_is_rewritten(folder: Path, text: str) -> None:
    digest = load().digest
    the(folder, ".json").write_text(text)
    assert load().digest == digest
    assert json.loads(the(folder, ".json").read_text())["digest"] == digest


def test_an_array_without_description_is_ignored(folder: Path) -> None:
    load()
    the(folder, ".json").unlink()
    np.testing.assert_array_equal(load("key", PIXELS[::-1]).pixels, PIXELS[::-1])


# -- interruption -----------------------------------------------------------------------------------------------


def failing(error: BaseException) -> Callable[[int, Counter[str]], np.ndarray]:
    """Fails at the fourth image."""

    def decode(position: int, conversions: Counter[str]) -> np.ndarray:
        if position == 3:
            raise error
        return decoder(PIXELS)(position, conversions)

    return decode


@pytest.mark.parametrize("error", [UserError("broken image"), UnreadableImage("broken image"), ValueError("bug")])
def test_a_failure_while_decoding_leaves_nothing_behind(folder: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        cached("key", 5, 8, failing(error), "decoding")
    assert caught.value is error
    assert leftovers(folder) == []
    np.testing.assert_array_equal(load().pixels, PIXELS)
    assert len(leftovers(folder)) == 2


def test_a_failure_does_not_affect_other_entries(folder: Path) -> None:
    load("other")
    with pytest.raises(ValueError, match="bug"):
        cached("key", 5, 8, failing(ValueError("bug")), "decoding")
    np.testing.assert_array_equal(load_again("other").pixels, PIXELS)


def interrupted() -> None:
    with pytest.raises(KeyboardInterrupt):
        cached("key", 5, 8, failing(KeyboardInterrupt()), "decoding")


def resumed() -> tuple[Images, list[int]]:
    """Returns the images and the positions that were decoded."""
    decoded = []

    def decode(position: int, conversions: Counter[str]) -> np.ndarray:
        decoded.append(position)
        return decoder(PIXELS)(position, conversions)

    return cached("key", 5, 8, decode, "decoding"), decoded


def test_a_resumed_build_equals_an_uninterrupted_one(folder: Path) -> None:
    interrupted()
    assert not list(folder.glob("[!.]*.npy"))
    images, decoded = resumed()
    assert decoded == [3, 4]
    np.testing.assert_array_equal(images.pixels, PIXELS)
    assert (images.digest, images.conversions) == (load("whole").digest, {"grayscale": 2})
    assert len([name for name in leftovers(folder) if name.startswith(".")]) == 0


@pytest.mark.parametrize(
    ("suffix", "damage", "kept"),
    [
        (".part", lambda data: data[:-1], 2),  # the disk lost the end of the third image
        (".part", lambda data: data[: 128 + 192 + 7], 1),
        (".part", lambda data: data[:60], 0),
        (".part", lambda data: b"", 0),
        (".part", lambda data: data[:-200] + bytes([data[-200] ^ 1]) + data[-199:], 1),  # a bit of the second
        (".part", lambda data: data + bytes(50), 3),  # a fourth image was begun
        (".part", lambda data: data + PIXELS[0].tobytes(), 3),  # a fourth was written but not noted
        (".journal", lambda data: data[:-1], 2),
        (".journal", lambda data: data[:-30], 2),
        (".journal", lambda data: b"nonsense\n" + data, 0),
        (".journal", lambda data: b"[]\n" + data, 0),
        (".journal", lambda data: b"", 0),
    ],
)
def test_only_verified_images_are_resumed(folder: Path, suffix: str, damage: Any, kept: int) -> None:
    interrupted()
    path = the(folder, suffix)
    path.write_bytes(damage(path.read_bytes()))
    images, decoded = resumed()
    assert decoded == list(range(kept, 5))
    np.testing.assert_array_equal(images.pixels, PIXELS)
    assert (images.digest, images.conversions) == (load("whole").digest, {"grayscale": 2})


@pytest.mark.parametrize("moment", ["attnae.data.cache.write_text", "os.fsync", "pathlib.Path.replace"])
def test_an_interruption_at_the_very_end(folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def stop(*rest: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moment, stop)
        with pytest.raises(KeyboardInterrupt):
            load()
    images, decoded = resumed()
    assert decoded == []
    np.testing.assert_array_equal(images.pixels, PIXELS)


# -- unreadable images ------------------------------------------------------------------------------------------


def with_holes(*holes: int, count: int = 30, stop: int = -1) -> Images:
    """Constant images, some of them unreadable."""

    def decode(position: int, conversions: Counter[str]) -> np.ndarray:
        conversions["seen"] += 1
        if position == stop:
            raise KeyboardInterrupt
        if position in holes:
            raise UnreadableImage(f"broken {position}")
        return np.full((8, 8, 3), position, np.uint8)

    return cached("holes", count, 8, decode, "decoding")


def test_a_few_unreadable_images_are_skipped_and_counted() -> None:
    for _ in range(2):  # built and found
        images = with_holes(0, 7, 29)
        assert images.pixels[:, 0, 0, 0].tolist() == [n for n in range(30) if n not in (0, 7, 29)]
        assert isinstance(images.pixels, np.memmap)
        assert images.conversions == {"seen": 27, "unreadable (skipped)": 3}
        assert images.skipped == ["broken 0", "broken 7", "broken 29"]


def test_skipped_images_survive_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt):
        with_holes(0, 7, 29, stop=9)
    images = with_holes(0, 7, 29)
    assert images.pixels[:, 0, 0, 0].tolist() == [n for n in range(30) if n not in (0, 7, 29)]
    assert images.conversions == {"seen": 27, "unreadable (skipped)": 3}
    assert images.skipped == ["broken 0", "broken 7", "broken 29"]


def test_too_many_unreadable_images_are_an_error_that_names_the_first(folder: Path) -> None:
    with pytest.raises(UserError, match=r"More than 3 of 30 images are unusable. The first: broken 4"):
        with_holes(4, 5, 6, 7)
    assert leftovers(folder) == []


def test_the_digest_covers_the_remaining_images() -> None:
    kept = np.stack([np.full((8, 8, 3), n, np.uint8) for n in range(30) if n != 4])
    assert with_holes(4).digest == cached("kept", 29, 8, lambda n, _: kept[n], "decoding").digest


def test_number_of_tolerated_images() -> None:
    assert [tolerated(count) for count in (1, 9, 10, 99, 100, 1000, 1100, 30_000)] == [0, 0, 1, 9, 10, 10, 11, 300]


# -- room and progress ------------------------------------------------------------------------------------------


def free(patch: pytest.MonkeyPatch, space: int) -> None:
    patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**9, used=0, free=space))


def test_a_full_disk_is_detected_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 24_000 * 256 * 256 * 3 - 1)
    with pytest.raises(UserError) as caught:
        cached("large", 24_000, 256, untouchable, "decoding faces")
    assert "\n" not in str(caught.value)
    for part in ("decoding faces", "4.7 GB", shown(folder), "ATTNAE_CACHE"):
        assert part in str(caught.value)
    assert leftovers(folder) == []


def test_space_for_the_remaining_images_suffices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted()
    free(monkeypatch, 2 * 8 * 8 * 3)
    assert resumed()[1] == [3, 4]


def test_a_full_disk_keeps_decoded_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted()
    with monkeypatch.context() as patch:
        free(patch, 2 * 8 * 8 * 3 - 1)
        with pytest.raises(UserError, match=r"has 0\.0 MB left"):
            resumed()
    assert resumed()[1] == [3, 4]


def test_a_disk_that_fills_up_is_one_line_and_loses_nothing(folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # three images
    try:
        with pytest.raises(UserError, match=r"Cannot write .*File too large.*ATTNAE_CACHE"):
            cached("key", 5, 64, decoder(pixels), "decoding")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    rest: list[int] = []
    images = cached("key", 5, 64, lambda n, _: pixels[rest.append(n) or n], "decoding")
    assert rest == [3, 4]
    np.testing.assert_array_equal(images.pixels, pixels)


def test_size_and_progress_are_printed_without_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache, "LARGE", 1)
    monkeypatch.setattr(cache, "PATIENCE", 0.0)
    with_holes()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"decoding: 30 images, 0.0 MB in {shown(folder)}"
    assert lines[1:] == [f"decoding: {n}0% of 30 images" for n in range(1, 11)]


def test_a_quick_build_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with_holes()
    assert capsys.readouterr().err == ""


def test_a_resumed_build_prints_its_position(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted()
    resumed()
    assert "resuming after 3" in capsys.readouterr().err.splitlines()[-1]


# -- processes --------------------------------------------------------------------------------------------------


def slow_images(log: Path, note: str) -> Callable[[int, Counter[str]], np.ndarray]:
    def decode(position: int, conversions: Counter[str]) -> np.ndarray:
        with log.open("a") as stream:
            stream.write(f"{note}\n")
        time.sleep(0.05)
        return decoder(PIXELS)(position, conversions)

    return decode


def in_a_process(cache: str, log: Path, note: str, ready: Connection, pixels: np.ndarray) -> None:
    os.environ["ATTNAE_CACHE"] = cache
    ready.send("ready")
    ready.recv()
    images = cached("key", 5, 8, slow_images(log, note), "decoding")
    ready.send((bool((images.pixels == pixels).all()), images.digest))


def start(folder: Path, log: Path, note: str) -> tuple[multiprocessing.Process, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_a_process, args=(str(folder), log, note, theirs, PIXELS))
    process.start()
    return process, ours  # type: ignore[return-value]


def test_one_of_two_processes_decodes_for_both(folder: Path, tmp_path: Path) -> None:
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


def test_the_next_process_resumes_after_a_kill(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process, pipe = start(folder, log, "a")
    assert pipe.poll(60)
    pipe.recv()
    pipe.send("go")
    until = time.monotonic() + 30
    while not (log.exists() and len(log.read_text().splitlines()) >= 3) and time.monotonic() < until:
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert not list(folder.glob("[!.]*.npy"))
    begun = len(log.read_text().splitlines())
    images, decoded = resumed()
    assert begun >= 3
    # killed before or after the image was noted, or even the one before it, which is written while it is decoded
    assert decoded in [list(range(first, 5)) for first in (begun - 2, begun - 1, begun)]
    np.testing.assert_array_equal(images.pixels, PIXELS)
    assert (images.digest, images.conversions) == (load("whole").digest, {"grayscale": 2})


# -- folder -----------------------------------------------------------------------------------------------------


def test_the_environment_sets_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ATTNAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "attnae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "attnae"


def test_an_invalid_cache_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="ATTNAE_CACHE="):
        load()


def test_a_read_only_home_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("ATTNAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"attnae-{os.getuid()}"
    np.testing.assert_array_equal(load().pixels, PIXELS)

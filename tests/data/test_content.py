"""The content of a dataset: the digest of its pixels, the index of known digests, and leaks between splits."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnae.data import sources
from attnae.data.content import Content, content, leaked
from attnae.data.location import EMBEDDED, locate
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ATTNAE_CACHE", str(folder))
    return folder


def noise(count: int, side: int = 16) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def save(folder: Path, images: np.ndarray, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.{ending}")


def known(root: Path | None, size: int = 16, **options: Any) -> Content | None:
    return content(locate("STL-10", "photos", root), size, **options)


def found(root: Path | None, size: int = 16) -> Content:
    taken = known(root, size)
    assert taken
    assert known(root, size, decode=False) == taken
    return taken


def expected(*splits: np.ndarray) -> str:
    """The digest by its definition."""
    return "-".join(
        blake2b(np.ascontiguousarray(images).tobytes(), digest_size=16).hexdigest()[:8] for images in splits
    )


# -- digest --------------------------------------------------------------------------------------------------------


def test_folders_and_arrays_with_equal_pixels_have_one_digest(tmp_path: Path) -> None:
    train, test = noise(6), noise(3)
    for split, images in (("train", train), ("test", test)):
        save(tmp_path / "folder" / split, images)
        (tmp_path / "arrays").mkdir(exist_ok=True)
        np.save(tmp_path / "arrays" / f"{split}.npy", images)
    assert found(tmp_path / "folder").digest == found(tmp_path / "arrays").digest == expected(train, test)
    assert (found(tmp_path / "arrays").train, found(tmp_path / "arrays").test) == (6, 3)
    assert found(tmp_path / "folder", 24).digest == found(tmp_path / "arrays", 24).digest


def test_embedded_images_have_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EMBEDDED, "photos", (20, 10))
    crops = [sources.photo_crops(train, count, 16) for train, count in ((True, 20), (False, 10))]
    assert found(None).digest == expected(*crops)


def test_the_digest_depends_on_order_and_split(tmp_path: Path) -> None:
    images = noise(6)
    digests = set()
    for number, (train, test) in enumerate(
        [(images[:4], images[4:]), (images[3::-1], images[4:]), (images[4:], images[:4])]
    ):
        for split, part in (("train", train), ("test", test)):
            save(tmp_path / str(number) / split, part)
        digests.add(found(tmp_path / str(number)).digest)
    assert len(digests) == 3


@pytest.mark.parametrize("layout", ["folder", "arrays"])
def test_the_digest_does_not_depend_on_memory_layout(tmp_path: Path, layout: str) -> None:
    train, test = noise(300, 8), noise(3, 8)
    np.save(tmp_path / "train.npy", np.asfortranarray(train) if layout == "folder" else train)
    np.save(tmp_path / "test.npy", test)
    assert found(tmp_path, 8).digest == expected(train, test)


# -- when it is taken again ----------------------------------------------------------------------------------------


def overwrite(path: Path) -> None:
    """Changes the middle of a file in place: name, size and, to all appearances, time stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 3)
        file.write(bytes(200))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", ["array", "folder"])
def test_a_file_overwritten_in_place_has_another_digest(tmp_path: Path, kind: str) -> None:
    for split, images in (("train", noise(6)), ("test", noise(500))):
        if kind == "folder":
            save(tmp_path / "data" / split, images[:6], "bmp")
        else:
            (tmp_path / "data").mkdir(exist_ok=True)
            np.save(tmp_path / "data" / f"{split}.npy", images)
    before = found(tmp_path / "data")
    location = locate("STL-10", "photos", tmp_path / "data")
    overwrite(tmp_path / "data" / ("test.npy" if kind == "array" else "test/003.bmp"))
    assert locate("STL-10", "photos", tmp_path / "data").fingerprint == location.fingerprint
    assert known(tmp_path / "data", decode=False) is None
    after = found(tmp_path / "data")
    assert after.digest.split("-")[0] == before.digest.split("-")[0]
    assert after.digest.split("-")[1] != before.digest.split("-")[1]


def test_nothing_is_decoded_or_hashed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        save(tmp_path / "folder" / split, noise(3))
        (tmp_path / "arrays").mkdir(exist_ok=True)
        np.save(tmp_path / "arrays" / f"{split}.npy", noise(3))
    first = [found(tmp_path / name) for name in ("folder", "arrays")]

    def again(*_: Any) -> Any:
        pytest.fail("done again")

    for name in ("read_image", "pixel_digest"):
        monkeypatch.setattr(sources, name, again)
    monkeypatch.setattr("attnae.data.content.leaked", again)
    assert [found(tmp_path / name) for name in ("folder", "arrays")] == first


def test_unknown_content_is_not_decoded_unless_requested(tmp_path: Path, cache_folder: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, noise(3))
    assert known(tmp_path, decode=False) is None
    assert not list(cache_folder.glob("*"))


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:-9], lambda text: "[]", lambda text: "{}"])
def test_a_damaged_index_is_rewritten(tmp_path: Path, cache_folder: Path, damage: Callable[[str], str]) -> None:
    for split in ("train", "test"):
        save(tmp_path / "data" / split, noise(3))
    before = found(tmp_path / "data")
    (index,) = cache_folder.glob("*.content")
    index.write_text(damage(index.read_text()))
    assert known(tmp_path / "data", decode=False) is None
    assert found(tmp_path / "data") == before


def test_converted_skipped_and_unused_files_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "train", noise(30))
    save(tmp_path / "test", noise(3))
    (tmp_path / "train/007.png").write_bytes(b"broken")
    Image.fromarray(noise(1)[0, ..., 0]).save(tmp_path / "train/008.png")
    for name in ("train/a.txt", "README.md", "val/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    taken = found(tmp_path)
    assert (taken.train, taken.test) == (29, 3)
    assert taken.converted == {"grayscale": 1, "unreadable (skipped)": 1}
    assert [str(tmp_path / "train/007.png") in line for line in taken.skipped] == [True]
    assert taken.left_out == {
        ".txt files": 1, "files beside train/ and test/": 1, "folders beside train/ and test/": 1
    }  # fmt: skip
    assert [line.split(":")[0] for line in taken.notices()] == [
        "Skipped", "Left out of the images", "Held-out images"
    ]  # fmt: skip


# -- leaks ---------------------------------------------------------------------------------------------------------


def test_leaks_are_found_under_any_name(tmp_path: Path) -> None:
    train, test = noise(8), noise(5)
    test[1], test[3] = train[7], train[0]
    save(tmp_path / "train", train)
    save(tmp_path / "test", test, "bmp")
    taken = found(tmp_path)
    assert taken.leaked == 2
    assert taken.notices()[:1] == ["2 of 5 held-out images are also in training"]


@pytest.mark.parametrize("side", [1, 8, 33, 64])
def test_one_pixel_makes_a_difference(side: int) -> None:
    train = noise(20, side)
    test = train.copy()
    assert leaked(train, test) == 20
    test[5, side // 2, side - 1, 2] ^= 1
    assert leaked(train, test) == 19
    assert leaked(train, noise(4, 64)[:, :side, :side] if side > 1 else np.zeros((0, 1, 1, 3), np.uint8)) == 0


@pytest.mark.parametrize("decode", [True, False])
def test_training_images_as_held_out_images_are_rejected(tmp_path: Path, decode: bool) -> None:
    save(tmp_path / "data/train", noise(4))
    (tmp_path / "data/test").symlink_to("train")
    for _ in range(2):  # taken, then known
        with pytest.raises(UserError, match=r"All 4 held-out images of .*data are also training images") as caught:
            known(tmp_path / "data")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="also training images"):
        known(tmp_path / "data", decode=decode)


# -- without torch -------------------------------------------------------------------------------------------------


def test_no_torch_is_imported(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, noise(3))
    code = (
        "import sys\nfrom attnae.data.content import content\nfrom attnae.data.location import EMBEDDED, locate\n"
        "assert not {'numpy', 'PIL'} & set(sys.modules)\n"
        f"here = locate('STL-10', 'photos', {str(tmp_path)!r})\nassert content(here, 16, decode=False) is None\n"
        "assert not {'numpy', 'PIL'} & set(sys.modules)\n"
        "assert content(here, 16)\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_counts_add_up_over_the_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, noise(2))
        Image.fromarray(noise(1)[0, ..., 0]).save(tmp_path / split / "gray.png")
    assert Counter(found(tmp_path).converted) == {"grayscale": 2}

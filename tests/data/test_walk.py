"""The directory walker: links, names, types, and a fixed order."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnae.data.location import EXTENSIONS, FORMATS, image_files, is_held_out, is_image, locate
from attnae.data.walk import order, printable, walk
from attnae.errors import UserError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(folder: Path) -> list[str]:
    return [file.name for file in walk(folder, is_image).files]


def left_out(folder: Path) -> dict[str, int]:
    return dict(walk(folder, is_image).left_out)


# -- links ---------------------------------------------------------------------------------------------------------


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    for number in range(32):
        touch(tmp_path / f"train/a/{number}.png")
        touch(tmp_path / f"elsewhere/{number}.png")
    (tmp_path / "train/b").symlink_to(tmp_path / "elsewhere")
    assert len(names(tmp_path / "train")) == 64
    assert left_out(tmp_path / "train") == {}


def test_a_folder_is_read_once_and_by_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path / "z/1.png")
    (tmp_path / "a").symlink_to("z")
    (tmp_path / "b").symlink_to("a")
    assert names(tmp_path) == ["z/1.png"]
    assert left_out(tmp_path) == {"links to folders that are read already": 2}


def test_the_first_of_two_links_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/1.png")
    for name in ("b", "a", "c"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / name).symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "train") == ["a/1.png"]
    assert left_out(tmp_path / "train") == {"links to folders that are read already": 2}


@pytest.mark.parametrize("target", [".", "..", "../..", "/", "../train", "itself"])
def test_loops_terminate(tmp_path: Path, target: str) -> None:
    touch(tmp_path / "root/train/1.png")
    touch(tmp_path / "root/test/2.png")
    (tmp_path / "root/train/itself").symlink_to(target)
    assert names(tmp_path / "root/train") == ["1.png"]
    assert sum(left_out(tmp_path / "root/train").values()) == 1


def test_a_linked_folder_may_link_back(tmp_path: Path) -> None:
    touch(tmp_path / "train/1.png")
    touch(tmp_path / "other/sub/2.png")
    touch(tmp_path / "other/3.png")
    (tmp_path / "train/link").symlink_to(tmp_path / "other/sub")
    (tmp_path / "other/sub/up").symlink_to("..")  # above the link itself: not followed
    (tmp_path / "other/sub/back").symlink_to(tmp_path / "train")
    assert names(tmp_path / "train") == ["1.png", "link/2.png"]
    assert left_out(tmp_path / "train") == {"links to folders that are read already": 2}


def test_the_walked_folder_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "real/1.png")
    (tmp_path / "train").symlink_to("real")
    assert image_files(tmp_path / "train") == [tmp_path / "train/1.png"]


def test_links_to_files_are_files(tmp_path: Path) -> None:
    touch(tmp_path / "real.bin")
    (tmp_path / "one.png").symlink_to("real.bin")
    (tmp_path / "two.png").hardlink_to(tmp_path / "real.bin")
    assert names(tmp_path) == ["one.png", "two.png"]


def test_broken_links_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "1.png")
    (tmp_path / "gone.png").symlink_to("nothing")
    (tmp_path / "ring.png").symlink_to("ring.png")
    assert names(tmp_path) == ["1.png"]
    assert left_out(tmp_path) == {"broken links": 2}


# -- kinds ---------------------------------------------------------------------------------------------------------


def test_unused_entries_are_counted_by_kind(tmp_path: Path) -> None:
    for name in ("1.png", "a.txt", "b.TXT", "labels.csv", "README", "x.not an ending", ".hidden.png", ".git/a.png"):
        touch(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.png"))  # a socket's path must be short
    assert names(tmp_path) == ["1.png"]
    assert left_out(tmp_path) == {
        ".txt files": 2, ".csv files": 1, "other files": 2, "hidden files and folders": 2, "sockets, pipes and devices": 2,
    }  # fmt: skip


def test_litter_of_file_managers_is_not_counted(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "._1.png", "__MACOSX/1.png", "@eaDir/1.png",
                 ".Trash-1000/1.png"):  # fmt: skip
        touch(tmp_path / name)
    assert walk(tmp_path, is_image) == ([], {})


def test_an_unreadable_folder_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "closed/1.png")
    touch(tmp_path / "open/2.png")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":  # root may read everything
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert names(tmp_path) == ["open/2.png"]
    assert left_out(tmp_path) == {"unreadable files and folders": 1}


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(UserError, match="Input/output error"):
        walk(tmp_path, is_image)


def test_types_are_not_inferred_from_names(tmp_path: Path) -> None:
    """A folder named like an image is searched; an image named like a folder is another file."""
    touch(tmp_path / "folder.png/inside.jpg")
    touch(tmp_path / "train")
    assert names(tmp_path) == ["folder.png/inside.jpg"]
    assert left_out(tmp_path) == {"other files": 1}
    assert names(tmp_path / "train") == []
    assert names(tmp_path / "missing") == []


# -- names ---------------------------------------------------------------------------------------------------------


def test_the_order_never_changes(tmp_path: Path) -> None:
    """By bytes of the path below the folder: results depend on it."""
    wanted = [
        "10.png",
        "2.png",
        "A.png",
        "B/1.png",
        "a-b/1.png",
        "a.png",
        "a/1.png",
        "aa.png",
        "b.png",
        "é.png",
        "\U0001f600.png",
    ]
    for name in reversed(wanted):
        touch(tmp_path / name)
    assert names(tmp_path) == wanted


def test_names_that_differ_in_case_or_unicode_form_only_are_different_files(tmp_path: Path) -> None:
    wanted = ["A.png", "a.png", "z.png", "e\u0301.png", "\u00e9.png"]  # composed first, then by bytes
    for name in wanted:
        touch(tmp_path / name)
    if len(list(tmp_path.iterdir())) < len(wanted):
        pytest.skip("this file system takes some of the names for one")
    assert names(tmp_path) == wanted


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), unique=True))
def test_the_order_does_not_depend_on_the_unicode_form(found: list[str]) -> None:
    import unicodedata

    composed = {unicodedata.normalize("NFC", name) for name in found}
    decomposed = sorted((unicodedata.normalize("NFD", name) for name in composed), key=order)
    assert [unicodedata.normalize("NFC", name) for name in decomposed] == sorted(composed, key=order)


def test_a_decomposed_name_is_in_the_same_split() -> None:
    for number in range(50):
        assert is_held_out(f"e\u0301{number}.jpg") == is_held_out(f"\u00e9{number}.jpg")


def test_undecodable_names_work_and_print(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    for split in ("train", "test"):
        touch(tmp_path / split / name)
    (found,) = walk(tmp_path / "train", is_image).files
    assert found.path.read_bytes() == b"x"
    assert printable(found.name) == "\\xff\\xfe.png"
    location = locate("STL-10", "photos", tmp_path)
    assert location.fingerprint == locate("STL-10", "photos", tmp_path).fingerprint


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower])
def test_all_extensions_registered_by_pillow_are_images(change: Callable[[str], str]) -> None:
    Image.init()
    for ending, name in Image.registered_extensions().items():
        assert is_image(change(f"a{ending}")) == (name in FORMATS), ending
    assert {name for name in Image.OPEN if name not in FORMATS} <= {
        "BUFR", "EPS", "FPX", "GRIB", "HDF5", "IMT", "IPTC", "MCIDAS", "MIC", "MPEG", "SPIDER", "WMF", "XVTHUMB",
    }  # fmt: skip
    assert all(ending == ending.lower() for ending in EXTENSIONS)

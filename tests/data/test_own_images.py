"""Own images: folders, arrays, zip files and Parquet, with and without a split; what is wrong with them is one line."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnae.data import PatchMask, STL10DataModule, archive, hub
from attnae.data.content import Content, content
from attnae.data.layout import split_tables
from attnae.data.location import Location, locate
from attnae.data.parquet import Rows
from attnae.data.sources import splits_of
from attnae.data.walk import File
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)
Files = dict[str, bytes]
"""Contents of files by their names below a folder."""


def png(side: int = 16, mode: str = "RGB") -> bytes:
    pixels = RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def many(count: int, folder: str = "") -> Files:
    return {f"{folder}{number:03}.png": png() for number in range(count)}


def write(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def table(path: Path, images: list[bytes | None], column: str = "image", structs: bool = True, **options: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if structs else pa.binary()
    rows = [{"bytes": image, "path": f"{n}.png"} if structs else image for n, image in enumerate(images)]
    pq.write_table(
        pa.table({"label": pa.array(range(len(images))), column: pa.array(rows, kind)}),
        path,
        **{"row_group_size": 7, **options},
    )
    return path


def found(root: Path | str, dataset: str = "STL-10") -> Location:
    return locate(dataset, "photos", root)


def known(root: Path | str, size: int = 16) -> Content:
    taken = content(found(root), size)
    assert taken
    return taken


def images(root: Path | str, size: int = 16) -> dict[str, np.ndarray]:
    return {name: np.array(split.images(size).pixels) for name, split in splits_of(found(root), size).items()}


def refused(root: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        known(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sides(files: Files) -> dict[str, list[bytes]]:
    """The split by its definition: one in five by the CRC-32 of the bytes."""
    result: dict[str, list[bytes]] = {"train": [], "test": []}
    for _, data in sorted(files.items()):
        result["test" if zlib.crc32(data) % 5 == 0 else "train"].append(data)
    return result


def decoded(data: list[bytes]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in data])


# -- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "a/", "a/b/"])
@pytest.mark.parametrize("dataset", ["STL-10", "CIFAR-10"])
def test_a_fifth_of_a_folder_is_held_out_by_the_bytes(tmp_path: Path, folder: str, dataset: str) -> None:
    files = many(40, folder)
    write(tmp_path / "photos", files)
    here = found(tmp_path / "photos", dataset)
    assert (here.kind, here.title, here.whole) == ("folder", "your images (photos)", True)
    for split, expected in sides(files).items():
        np.testing.assert_array_equal(images(tmp_path / "photos")[split], decoded(expected))
    taken = known(tmp_path / "photos")
    assert taken.train + taken.test == 40
    assert not taken.leaked


@given(st.sets(st.binary(min_size=1, max_size=8), min_size=1, max_size=30), st.integers(1, 29))
@settings(deadline=None, max_examples=30)
def test_no_file_changes_sides_when_others_come_or_go(contents: set[bytes], more: int) -> None:
    """Whatever the files are called and wherever they lie."""

    def split(root: Path) -> dict[str, set[bytes]]:
        everything = splits_of(found(root), 16)
        assert everything["train"].title
        from attnae.data import sources

        here = found(root)
        positions = sources._sides(here, sources._folder(here, "train", 16))
        return {name: {here.files["train"][n].path.read_bytes() for n in each} for name, each in positions.items()}

    fixed = [n.to_bytes(2, "big") for n in range(20)]  # of both sides
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        write(Path(first), {f"{n}.png": each for n, each in enumerate(fixed)})
        write(Path(second), {f"b/{n}.png": each for n, each in enumerate([*sorted(contents)[:more], *fixed])})
        before, after = split(Path(first)), split(Path(second))
    assert before["train"] <= after["train"]
    assert before["test"] <= after["test"]
    assert not after["train"] & after["test"]


def test_about_a_fifth_is_held_out() -> None:
    held_out = [zlib.crc32(RANDOM.bytes(50)) % 5 == 0 for _ in range(5000)]
    assert np.mean(held_out) == pytest.approx(0.2, abs=0.023)  # 4 standard deviations


def test_locating_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, many(12))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert found(tmp_path).whole


def test_files_are_not_read_again_when_the_cache_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "photos", many(30))
    before = known(tmp_path / "photos")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert known(tmp_path / "photos") == before


@pytest.mark.parametrize("name", ["val", "validation"])
def test_validation_images_are_held_out_without_test_images(tmp_path: Path, name: str) -> None:
    train, val, test = many(6, "train/"), many(5, f"{name}/"), many(4, "test/")
    taken = known(write(tmp_path / "two", train | val))
    assert (taken.train, taken.test) == (6, 5)
    np.testing.assert_array_equal(images(tmp_path / "two")["test"], decoded(list(val.values())))
    taken = known(write(tmp_path / "three", train | val | test))
    assert (taken.train, taken.test) == (6, 4)
    assert taken.left_out == {"folders beside train/ and test/": 1}


def test_class_folders_without_a_split(tmp_path: Path) -> None:
    write(tmp_path, many(20, "cats/") | many(20, "dogs/"))
    assert found(tmp_path).has_classes("train")
    data = STL10DataModule(PatchMask(), root=tmp_path, image_size=16, batch_size=4, train_images=8)
    data.prepare_data()
    data.setup("fit")
    assert 0 < sum(position < 16 for position in data.sets()["train"].indices) < 8


def test_too_few_images_to_split(tmp_path: Path) -> None:
    data = next(each for each in iter(png, None) if zlib.crc32(each) % 5)
    assert "contains 1 images, but the split by content (one fifth is held out) leaves none for test" in refused(
        write(tmp_path, {"a.png": data})
    )


def test_known_stand_ins_keep_their_title(tmp_path: Path) -> None:
    write(tmp_path / "natural64", many(4))
    assert found(tmp_path / "natural64").title == "natural64 (folder; stands in for STL-10)"


# -- arrays --------------------------------------------------------------------------------------------------------


def stack(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (16, 16, 3))), dtype=np.uint8)


def test_one_array_is_split_by_its_images(tmp_path: Path) -> None:
    array = stack(40)
    np.save(tmp_path / "photos.npy", array)
    np.savez(tmp_path / "photos.npz", array)
    held_out = np.array([zlib.crc32(image.tobytes()) % 5 == 0 for image in array])
    for name in ("photos.npy", "photos.npz"):
        assert found(tmp_path / name).title == "your images (photos)"
        np.testing.assert_array_equal(images(tmp_path / name)["test"], array[held_out])
        np.testing.assert_array_equal(images(tmp_path / name)["train"], array[~held_out])
    assert known(tmp_path / "photos.npy").digest == known(tmp_path / "photos.npz").digest


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("held_out", ["test", "val"])
def test_arrays_named_after_the_splits(tmp_path: Path, save: Callable[..., None], held_out: str) -> None:
    train, test = stack(6), stack(3)
    save(tmp_path / "photos.npz", **{"train": train, held_out: test, "labels": np.zeros(6)})
    np.testing.assert_array_equal(images(tmp_path / "photos.npz")["train"], train)
    np.testing.assert_array_equal(images(tmp_path / "photos.npz")["test"], test)
    assert known(tmp_path / "photos.npz").left_out == {"other arrays": 1}


def test_gray_and_oblong_arrays_are_converted_and_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "photos.npz", train=stack(6, 16, 16), test=stack(3, 16, 24, 3))
    assert known(tmp_path / "photos.npz").converted == {"grayscale": 6, "cropped to a square": 3}
    with np.load(tmp_path / "photos.npz") as arrays:
        np.testing.assert_array_equal(images(tmp_path / "photos.npz")["train"], arrays["train"][..., None].repeat(3, 3))
        np.testing.assert_array_equal(images(tmp_path / "photos.npz")["test"], arrays["test"][:, :, 4:20])


@pytest.mark.parametrize(
    ("arrays", "culprit"),
    [
        ({"a": stack(4), "b": stack(4)}, "contains the arrays a, b"),
        ({}, "contains the arrays (none)"),
        ({"train": stack(4)[..., :2], "test": stack(4)}, "uint8 of shape (4, 16, 16, 2)"),
        ({"train": stack(4) / 255, "test": stack(4)}, "float64"),
        ({"train": np.array([{}, {}], dtype=object), "test": stack(4)}, "Object arrays cannot be loaded"),
        ({"images": np.zeros((16, 16, 3), np.uint8)}, "shape (16, 16, 3)"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], culprit: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    assert culprit in refused(tmp_path / "a.npz")


def test_an_array_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((400, 64, 64, 3), np.uint8))
    monkeypatch.setattr("attnae.data.sources.LARGEST_ARRAY", 1_000_000)
    assert "unpacks to 4,915,328 bytes" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.zip", "a.parquet", "a.npy"])
@pytest.mark.parametrize("data", [b"", b"junk", b"PK\x03\x04junk", b"PAR1junkPAR1", b"\x93NUMPY"])
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert str(tmp_path / name) in refused(tmp_path / name)


def test_a_file_that_holds_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert "not a file of images" in refused(tmp_path / "a.txt")


# -- zip files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "photos/", "a/b/"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/"), ("train/", "val/"), ("cats/", "dogs/")])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_has_the_digest_of_its_folder(tmp_path: Path, top: str, splits: tuple[str, ...], method: int) -> None:
    files = {name: data for split in splits for name, data in many(20, split).items()}
    write(tmp_path / "folder", files)
    path = pack(tmp_path / "photos.zip", {top + name: data for name, data in files.items()}, method)
    assert found(path).kind == "zip"
    assert found(path).title == "your images (photos)"
    assert known(path).digest == known(tmp_path / "folder").digest
    for split in ("train", "test"):
        assert found(path).has_classes(split) == found(tmp_path / "folder").has_classes(split)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder", path]  # nothing was unpacked


def test_a_split_in_other_letters_is_refused(tmp_path: Path) -> None:
    """As in a folder: training images would be tested."""
    path = pack(tmp_path / "a.zip", {**many(20, "photos/Train/"), **many(4, "photos/TEST/")})
    with pytest.raises(UserError, match=r"has Train/ and TEST/\. Rename them to train/ and test/"):
        found(path)


def test_datasets_split_by_name_are_so_in_a_zip(tmp_path: Path) -> None:
    files = many(30)
    here = locate("CelebA-HQ", "faces", pack(tmp_path / "a.zip", files))
    there = locate("CelebA-HQ", "faces", write(tmp_path / "folder", files))
    for split in ("train", "test"):
        assert [file.name for file in here.files[split]] == [file.name for file in there.files[split]]


def test_members_that_are_no_images_of_the_folder_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    names = ["../up.png", "/etc/passwd.png", "a/../../b.png", "C:/a.png", "a\\b.png", "a/notes.txt", "inner.zip"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in many(20).items():
            zipped.writestr(name, data)
        for name in names:
            zipped.writestr(name, png())
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("__MACOSX/._000.png", b"litter")
        zipped.writestr(".hidden/a.png", png())
        zipped.writestr("bomb.bmp", bytes(3_000_000))
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("001.png", png())
    taken = known(path)
    assert taken.train + taken.test == 20
    assert taken.left_out == {
        archive.OUTSIDE: 5, ".txt files": 1, ".zip files": 1, archive.LINKS: 1, "hidden files and folders": 1,
        archive.BOMBS: 1, archive.REPEATED: 1,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_the_member_that_was_checked_is_read(tmp_path: Path) -> None:
    """zipfile finds the last member of a name; the limits are those of the listed one."""
    path = tmp_path / "a.zip"
    first = png()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("bomb.png", bytes(3_000_000))
        zipped.writestr("sound.png", first)
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("bomb.png", first)
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("sound.png", bytes(3_000_000))
    listed, left_out = archive.members(path)
    crc, content = archive.reader(path)
    assert {file.name: file.size for file in listed} == dict.fromkeys(("bomb.png", "sound.png"), len(first))
    for file in listed:
        assert content(file.name) == first
        assert crc(file.name) == zlib.crc32(first)
    assert left_out == {archive.BOMBS: 2}


def test_validation_members_beside_test_members_are_counted(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", many(6, "train/") | many(4, "test/") | many(5, "val/"))
    assert (known(path).train, known(path).test) == (6, 4)
    assert known(path).left_out == {"images beside train/ and test/": 5}


@pytest.mark.parametrize("files", [{}, {"a.txt": b"text"}, {"train/a.png": b"x"}, {"../a.png": b"x"}])
def test_a_zip_without_images_is_refused(tmp_path: Path, files: Files) -> None:
    assert "images" in refused(pack(tmp_path / "a.zip", files))


def test_a_damaged_member_is_skipped_and_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", many(30, "train/") | many(9, "test/"), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as zipped:
        place = zipped.getinfo("train/003.png").header_offset + 200
    data[place] ^= 255
    path.write_bytes(data)
    taken = known(path)
    assert (taken.train, taken.test) == (29, 9)
    assert "train/003.png: Bad CRC-32" in taken.skipped[0]


def test_many_members_are_listed_at_once_and_too_many_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = many(20) | {f"{number}.txt": b"" for number in range(5000)}
    path = pack(tmp_path / "a.zip", files)
    assert found(path).left_out == {".txt files": 5000}
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5000)
    assert "5,020 members; at most 5,000" in refused(path)


# -- Parquet -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structs", [True, False])
@pytest.mark.parametrize("column", ["image", "photo"])
def test_one_parquet_file_has_the_digest_of_its_folder(tmp_path: Path, structs: bool, column: str) -> None:
    files = many(40)
    path = table(tmp_path / "photos.parquet", list(files.values()), column, structs)
    here = found(path)
    assert (here.kind, here.title, here.whole) == ("parquet", "your images (photos)", True)
    assert known(path).digest == known(write(tmp_path / "folder", files)).digest


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-{:05}-of-00002.parquet", "data/test-{:05}-of-00002.parquet"),
        ("data/train-{:05}-of-00002.parquet", "data/validation-{:05}-of-00002.parquet"),
        ("train/{:04}.parquet", "test/{:04}.parquet"),
        ("default/train/{:04}.parquet", "default/validation/{:04}.parquet"),
        ("train.{}.parquet", "val.{}.parquet"),
    ],
)
def test_shards_are_split_by_their_names(tmp_path: Path, train: str, test: str) -> None:
    ours, theirs = [png() for _ in range(20)], [png() for _ in range(10)]
    for shard in range(2):
        table(tmp_path / "hub" / train.format(shard), list(ours[shard * 10 : shard * 10 + 10]))
        table(tmp_path / "hub" / test.format(shard), list(theirs[shard * 5 : shard * 5 + 5]))
    write(tmp_path / "hub", {"README.md": b"text", ".gitattributes": b"text"})
    assert not found(tmp_path / "hub").whole
    np.testing.assert_array_equal(images(tmp_path / "hub")["train"], decoded(ours))
    np.testing.assert_array_equal(images(tmp_path / "hub")["test"], decoded(theirs))
    assert known(tmp_path / "hub").left_out["hidden files and folders"] == 1


def test_further_splits_are_left_out_and_one_split_is_split(tmp_path: Path) -> None:
    for split in ("train", "test", "validation", "unsupervised"):
        table(tmp_path / f"{split}-00000-of-00001.parquet", [png() for _ in range(20)])
    assert (known(tmp_path).train, known(tmp_path).test) == (20, 20)
    assert known(tmp_path).left_out == {"Parquet files of the split validation": 1, "Parquet files of no split": 1}
    for split in ("test", "validation", "unsupervised"):
        (tmp_path / f"{split}-00000-of-00001.parquet").unlink()
    assert found(tmp_path).whole
    assert known(tmp_path).train + known(tmp_path).test == 20


@pytest.mark.parametrize("split", ["val", "valid", "dev", "validation", "unsupervised", "train"])
def test_a_chosen_split_may_have_any_name(split: str) -> None:
    files = [
        File(f"data/{name}-00000-of-00001.parquet", Path(name), 1, (0, 0, 0))
        for name in ("train", "validation", "unsupervised")
    ]
    chosen, left_out, whole = split_tables(files, Counter(), split)
    expected = "validation" if split in ("val", "valid", "dev") else split
    assert [file.path.name for file in chosen["train"]] == [expected]
    assert (whole, left_out.total()) == (True, 2)


def test_a_limit_that_leaves_too_few_for_a_batch_is_named(tmp_path: Path) -> None:
    write(tmp_path, many(30))
    data = STL10DataModule(PatchMask(), root=tmp_path, image_size=16, train_images=1)
    with pytest.raises(UserError, match=r"Increase data\.init_args\.train_images"):
        data.setup("fit")


def test_a_folder_without_images_names_only_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": b"text"})
    assert "Left out: 1 .txt files." in refused(tmp_path)


def test_of_images_and_parquet_the_larger_ones_count(tmp_path: Path) -> None:
    write(tmp_path / "photos", many(30))
    table(tmp_path / "photos" / "metadata.parquet", [b"x"])
    assert found(tmp_path / "photos").kind == "folder"
    assert found(tmp_path / "photos").left_out == {".parquet files": 1}
    table(tmp_path / "hub" / "train.parquet", [png() for _ in range(30)])
    write(tmp_path / "hub", {"logo.png": png()})
    assert found(tmp_path / "hub").kind == "parquet"
    assert found(tmp_path / "hub").left_out == {"images beside Parquet": 1}


def test_conversions_and_broken_bytes_are_counted(tmp_path: Path) -> None:
    rows: list[bytes | None] = [png() for _ in range(60)]
    rows[10], rows[20], rows[30] = png(mode="L"), b"broken", None
    for split in ("train", "test"):
        table(tmp_path / f"{split}.parquet", rows if split == "train" else [png() for _ in range(9)])
    taken = known(tmp_path)
    assert taken.train == 58
    assert taken.converted == {"grayscale": 1, "unreadable (skipped)": 2}
    assert "train.parquet[20]" in taken.skipped[0]
    assert "train.parquet[30] contains no image bytes" in taken.skipped[1]


def test_a_value_stored_once_is_not_expanded_for_all_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    value, path = bytes(900_000), tmp_path / "a.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([value]))
    pq.write_table(pa.table({"image": column}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    rows, pool = Rows([found(path).files["train"][0]]), pa.default_memory_pool()
    before = pool.max_memory()
    assert [rows.content(index) == value for index in (0, 1, 70, 5)] == [True] * 4
    assert pool.max_memory() <= max(before, 400_000_000)  # all rows have 1.8 GB


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_rows_are_found_in_any_order(data: st.DataObject) -> None:
    images: list[bytes | None] = [None if number % 11 == 3 else bytes([number]) * 5 for number in range(150)]
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows([found(table(Path(folder) / "a.parquet", images, row_group_size=70)).files["train"][0]])
        for index in data.draw(st.lists(st.integers(0, 149), max_size=12)):
            assert rows.content(index) == images[index]


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", [png() for _ in range(30)])
    table(tmp_path / "test.parquet", [])
    module = STL10DataModule(PatchMask(), root=tmp_path, image_size=16, batch_size=4)
    with pytest.raises(UserError, match="no images"):
        module.prepare_data()


def test_parquet_of_paths_alone_says_so(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": None, "path": f"photos/{number}.png"} for number in range(30)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    message = refused(tmp_path / "a.parquet")
    assert "stores no images" in message
    assert "only paths" in message


def test_parquet_without_images_lists_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    message = refused(tmp_path / "a.parquet")
    assert "no column of images" in message
    assert "text (string), label (int64)" in message


def test_damaged_pages_are_one_line(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [png() for _ in range(40)], compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[2000:4000] = bytes(2000)
    path.write_bytes(data)
    assert str(path) in refused(path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.parquet", [png() for _ in range(9)])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert "pip install 'attnae[hub]'" in refused(path)


# -- the hub -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://owner/name", ("owner", "name", "", "")),
        ("hf:/owner/name", ("owner", "name", "", "")),
        ("hf://o-1/n.2:test", ("o-1", "n.2", "", "test")),
        ("hf://o/n@refs/convert/parquet:train", ("o", "n", "refs/convert/parquet", "train")),
    ],
)
def test_addresses(text: str, expected: tuple[str, ...]) -> None:
    assert tuple(hub.parse(text)) == expected
    assert hub.parse(str(hub.parse(text))) == hub.parse(text)
    assert hub.parse(Path(text)) == hub.parse(text)


@pytest.mark.parametrize(
    "text", ["hf://", "hf://name", "hf://a/b/c", "hf://../b", "hf://a/..", "hf://a/b@", "hf://a/b@../c"]
)
def test_other_addresses_are_refused(text: str) -> None:
    assert "hf://owner/name[@revision][:split]" in refused(text)


def test_an_unreachable_hub_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refused("hf://owner/unreachable@v1")
    assert "hf download --repo-type dataset owner/unreachable --revision v1 --local-dir unreachable" in message
    assert content(found("hf://owner/unreachable@v1"), 16, decode=False) is None


@pytest.mark.parametrize("name", ["train_images", "test_images", "val_images", "train_set_images", "image_size"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        STL10DataModule(PatchMask(), **{name: -1})  # type: ignore[arg-type]

"""Locating data in a folder, errors, and loading by the DataModule."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnae.data import CIFAR10DataModule, GaussianNoise, ImageDataModule, PatchMask, STL10DataModule, layout
from attnae.data.location import Location, image_files, locate
from attnae.data.walk import File
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)


def save(path: Path, side: int = 16, value: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for split, count in (("train", 6), ("test", 3)):
        for number in range(count):
            save(root / split / f"{number}.png")
    return root


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    root = tmp_path / "arrays"
    root.mkdir()
    for split, count in (("train", 6), ("test", 3)):
        np.save(root / f"{split}.npy", RANDOM.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))
    return root


def found(root: Path | None, **options: Any) -> Location:
    return locate("STL-10", "photos", root, **options)


def refused(root: Path | None, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        found(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def module(root: Path | None, **options: Any) -> STL10DataModule:
    data = STL10DataModule(PatchMask(), root=root, **{"image_size": 16, "batch_size": 2, **options})
    data.prepare_data()
    data.setup("fit")
    return data


def module_refused(root: Path | None, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        module(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- kinds ------------------------------------------------------------------------------------------------------


def test_embedded_images_are_used_without_a_root() -> None:
    here = found(None)
    assert (here.kind, here.root, here.name, here.title) == ("embedded", None, "photos", "embedded photos")


def test_embedded_images_can_be_requested(folder: Path) -> None:
    assert found(folder, source="embedded").kind == "embedded"


@pytest.mark.parametrize("source", ["auto", "folder"])
def test_a_folder_of_images(folder: Path, source: Any) -> None:
    here = found(folder, source=source)
    assert (here.kind, here.root, here.name) == ("folder", folder, "pictures")
    assert here.title == "your images (pictures)"


@pytest.mark.parametrize("source", ["auto", "array"])
def test_arrays(arrays: Path, source: Any) -> None:
    here = found(arrays, source=source)
    assert (here.kind, here.root, here.name) == ("array", arrays, "arrays")


@pytest.mark.parametrize("source", ["auto", "official"])
def test_official_files_come_first(folder: Path, source: Any) -> None:
    for name in ("train_X.bin", "test_X.bin"):
        (folder / "stl10_binary").mkdir(exist_ok=True)
        (folder / "stl10_binary" / name).write_bytes(b"")
    here = found(folder, source=source)
    assert (here.kind, here.name, here.title) == ("official", "stl10", "STL-10 (official)")


def test_official_files_may_be_missing_only_with_download(tmp_path: Path) -> None:
    assert found(tmp_path / "new", source="official", download=True).kind == "official"
    assert "no such folder" in refused(tmp_path / "new", source="official")
    save(tmp_path / "a.png")
    assert "no official data" in refused(tmp_path, source="official")


def test_the_name_is_the_folders_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found(Path()).name == "pictures"


# -- refusals ---------------------------------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    message = refused(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "--profile quick" in message
    assert "not a file of images" in refused(save(tmp_path / "file.png"))
    assert "no folder given" in refused(None, source="folder")


def test_empty(tmp_path: Path) -> None:
    assert f"{tmp_path} has no train images" in refused(tmp_path)


@pytest.mark.parametrize(("present", "missing"), [("train", "test"), ("test", "train")])
def test_one_split_only(tmp_path: Path, present: str, missing: str) -> None:
    save(tmp_path / present / "a.png")
    assert f"{tmp_path / missing} contains no images" in refused(tmp_path)
    (tmp_path / missing).mkdir()
    (tmp_path / missing / "notes.txt").write_text("no image")
    assert f"{tmp_path / missing} contains no images" in refused(tmp_path)


def test_train_array_only(arrays: Path) -> None:
    (arrays / "test.npy").unlink()
    assert "has no test.npy" in refused(arrays)


def test_images_and_arrays_are_not_confused(folder: Path, arrays: Path) -> None:
    assert "no array data" in refused(folder, source="array")
    assert "Left out: 2 .npy files" in refused(arrays, source="folder")


def test_a_broken_link_is_ignored_and_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train" / "gone.png").symlink_to(folder / "nothing.png")
    about = module(folder).about()
    assert (about["train"], about["left_out"]) == (6, {"broken links": 1})
    assert capsys.readouterr().err.splitlines()[0] == "Left out of the images: 1 broken links"


# -- which files ------------------------------------------------------------------------------------------------


def test_hidden_and_other_files_are_ignored(folder: Path) -> None:
    before = found(folder).fingerprint
    (folder / "train" / ".hidden.png").write_bytes(b"broken")
    (folder / "train" / "._0.png").write_bytes(b"broken")
    (folder / "train" / ".thumbnails").mkdir()
    (folder / "train" / ".thumbnails" / "a.png").write_bytes(b"broken")
    (folder / "train" / "labels.csv").write_text("a,b")
    assert [path.name for path in image_files(folder / "train")] == [f"{n}.png" for n in range(6)]
    assert found(folder).fingerprint == before
    data = module(folder)
    assert len(data.pixels("train")) == 6
    assert data.about()["left_out"] == {".csv files": 1, "hidden files and folders": 1}


def test_a_hidden_folder_can_be_the_root(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / ".data" / split / "a.png")
    assert found(tmp_path / ".data").kind == "folder"


def test_nested_folders_and_uppercase_extensions(folder: Path) -> None:
    save(folder / "train" / "class" / "deep" / "A.PNG")
    save(folder / "train" / "class" / "b.Jpg")
    assert len(image_files(folder / "train")) == 8
    assert len(module(folder).pixels("train")) == 8


def test_a_folder_around_train_and_test(folder: Path) -> None:
    """As after ``unzip x.zip -d photos``: split as declared, under the name that was given."""
    outer = folder.parent / "photos"
    (outer / "deep").mkdir(parents=True)
    (outer / ".DS_Store").write_bytes(b"")
    direct = found(folder)
    folder.rename(outer / "deep" / "pictures")
    assert {split: len(files) for split, files in found(outer).files.items()} == {"train": 6, "test": 3}
    assert (found(outer).name, found(outer).fingerprint) == ("photos", direct.fingerprint)
    (outer / "deep" / "pictures" / "train").rename(outer / "deep" / "pictures" / "Train")
    (outer / "deep" / "pictures" / "test").rename(outer / "deep" / "pictures" / "TEST")
    assert "has Train/ and TEST/. Rename them to train/ and test/" in refused(outer)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    names = [f"{n:03}.png" for n in RANDOM.permutation(30)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(tmp_path)] == sorted(names, key=os.fsencode)


# -- fingerprint ------------------------------------------------------------------------------------------------


def test_the_fingerprint_does_not_depend_on_the_location(folder: Path) -> None:
    before = found(folder).fingerprint
    assert found(folder).fingerprint == before
    moved = folder.rename(folder.with_name("moved"))
    assert found(moved).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: save(root / "train" / "new.png"),
        lambda root: (root / "train" / "0.png").unlink(),
        lambda root: (root / "train" / "0.png").rename(root / "train" / "zero.png"),
        lambda root: (root / "train" / "0.png").rename(root / "test" / "00.png"),
        lambda root: save(root / "test" / "0.png", side=24),
    ],
    ids=["added", "removed", "renamed", "moved", "resized"],
)
def test_the_fingerprint_changes_with_the_files(folder: Path, change: Any) -> None:
    before = found(folder).fingerprint
    change(folder)
    assert found(folder).fingerprint != before


@pytest.mark.parametrize("place", [0, 3, -1])
def test_the_digest_changes_with_an_array(arrays: Path, place: int) -> None:
    before = module(arrays).about()["digest"]
    pixels = np.load(arrays / "train.npy", mmap_mode="r+")
    pixels[place] ^= 1
    pixels.flush()
    assert module(arrays).about()["digest"].split("-")[0] != before.split("-")[0]
    assert module(arrays).about()["digest"].split("-")[1] == before.split("-")[1]


# -- through the DataModule -------------------------------------------------------------------------------------


def test_folder_images_are_loaded_in_order(folder: Path) -> None:
    data = module(folder)
    for split, count in (("train", 6), ("test", 3)):
        expected = np.stack([np.asarray(Image.open(folder / split / f"{n}.png")) for n in range(count)])
        np.testing.assert_array_equal(data.pixels(split), expected)
    about = data.about()
    assert (about["name"], about["kind"], about["train"], about["test"], about["size"]) == (
        "pictures",
        "folder",
        6,
        3,
        16,
    )


def test_a_modified_image_is_decoded_again(folder: Path) -> None:
    before = module(folder).about()["digest"]
    path = save(folder / "train" / "0.bmp", value=0)
    size = path.stat().st_size
    first = module(folder)
    assert first.about()["digest"] != before
    save(path, value=1)
    os.utime(path, ns=(1, 1))
    assert path.stat().st_size == size  # neither name nor size tell
    assert (module(folder).pixels("train")[0] == 1).all()
    assert (first.pixels("train")[0] == 0).all()


def test_arrays_of_the_right_size_are_not_copied(arrays: Path) -> None:
    pixels = module(arrays).pixels("train")
    np.testing.assert_array_equal(pixels, np.load(arrays / "train.npy"))
    assert isinstance(pixels, np.memmap)


def test_arrays_of_another_size_are_resized(arrays: Path) -> None:
    pixels = module(arrays, image_size=32).pixels("test")
    expected = Image.fromarray(np.load(arrays / "test.npy")[1]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels[1], np.asarray(expected))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 16, 16, 3), np.float32),
        np.zeros((4, 16, 16, 3), np.int64),
        np.zeros((4, 3, 16, 16), np.uint8),
        np.zeros((4, 16, 16, 1), np.uint8),
        np.zeros((4, 16, 16, 4), np.uint8),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_arrays_of_another_shape_are_rejected(arrays: Path, wrong: np.ndarray, split: str) -> None:
    np.save(arrays / f"{split}.npy", wrong)
    message = module_refused(arrays)
    assert str(arrays / f"{split}.npy") in message
    assert str(wrong.dtype) in message
    assert "Expected uint8" in message


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY", b"PK\x03\x04", "cut", "zip", "pickle"])
def test_invalid_array_files_are_rejected(arrays: Path, content: bytes | str) -> None:
    path = arrays / "train.npy"
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "zip":
        np.savez(arrays / "train.npz", np.zeros((4, 16, 16, 3), np.uint8))
        (arrays / "train.npz").replace(path)
    elif content == "pickle":
        np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    assert str(path) in module_refused(arrays)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_array_without_images_is_rejected(arrays: Path, split: str) -> None:
    np.save(arrays / f"{split}.npy", np.zeros((0, 16, 16, 3), np.uint8))
    module_refused(arrays)


def test_tiny_images_in_an_array_are_rejected(arrays: Path) -> None:
    np.save(arrays / "train.npy", np.zeros((4, 4, 4, 3), np.uint8))
    assert "4x4 pixels" in module_refused(arrays)


def test_a_batch_shrinks_to_the_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(folder, batch_size=7)
    assert data.batch_size == 6
    assert [len(index) for _, index in data.train_dataloader()] == [6]
    assert "pictures has 6 training images: batches of 6 instead of 7" in capsys.readouterr().err
    assert module(folder, batch_size=6).batch_size == 6
    assert "instead" not in capsys.readouterr().err
    assert "too few" in module_refused(folder, train_images=1)


def test_few_held_out_images_are_said_to_be_few(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module(folder)
    assert "Held-out images: 3. Too few" in capsys.readouterr().err
    for number in range(3, 8):
        save(folder / "test" / f"{number}.png")
    module(folder)
    assert not capsys.readouterr().err


def test_a_broken_image_is_named(folder: Path) -> None:
    broken = folder / "train" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert str(broken) in module_refused(folder)
    save(broken)
    module(folder)  # nothing of the failed attempt is left in the way


def test_damaged_official_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "stl10_binary").mkdir()
    for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"):
        (tmp_path / "stl10_binary" / name).write_bytes(b"damaged")
    assert f"STL-10 in {tmp_path}" in module_refused(tmp_path)


def test_limits(folder: Path) -> None:
    data = module(folder, train_images=4, test_images=2, val_images=1, train_set_images=3, eval_batch_size=2)
    assert len(data.pixels("train")) == 4
    assert sum(len(index) for _, index in data.train_dataloader()) == 4
    assert [index.tolist() for _, index in data.val_dataloader()] == [[0]]
    assert [[index.tolist() for _, index in loader] for loader in data.test_dataloader()] == [[[0, 1]], [[0, 1], [2]]]


def test_training_images_are_never_held_out(folder: Path) -> None:
    """Dataloaders are identified by their index in ``test_splits``: an empty one must not shift the others."""
    with contextlib.suppress(UserError):
        data = module(folder, test_images=0, train_set_images=2)
        loaders = dict(zip(data.test_splits, data.test_dataloader(), strict=False))
        assert sum(len(index) for _, index in loaders["heldout"]) == 0


def evaluated(root: Path) -> list[int]:
    """Positions of the training images that the paper's own protocol evaluates."""
    loaders = module(root, train_set_images=6).test_dataloader()
    return [int(position) for _, index in loaders[1] for position in index]


def test_training_images_without_classes_are_evaluated_in_order(folder: Path, arrays: Path) -> None:
    assert evaluated(folder) == evaluated(arrays) == list(range(6))
    for number in range(20):
        save(folder / "train" / "one_class" / f"{number}.png")
    assert evaluated(folder) == list(range(6))


def test_training_images_are_evaluated_from_all_classes(tmp_path: Path) -> None:
    """In class folders, the first images all belong to one class."""
    for name in "abcd":
        for number in range(10):
            save(tmp_path / "train" / name / f"{number}.png")
    save(tmp_path / "test" / "a" / "1.png")
    chosen = evaluated(tmp_path)
    assert chosen == [15, 32, 8, 13, 25, 3]  # fixed for ever: results depend on it
    assert len({position // 10 for position in chosen}) == 4


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Four classes in folders of their own, 10 images each for training and 10 held out."""
    root = tmp_path / "classes"
    for split in ("train", "test"):
        for name in "abcd":
            for number in range(10):
                save(root / split / name / f"{number}.png")
    return root


def positions(data: ImageDataModule, name: str) -> list[int]:
    images = data.sets()[name]
    return images[list(range(len(images)))][1].tolist()


def test_limits_take_all_classes(classes: Path) -> None:
    data = module(classes, train_images=12, test_images=12, val_images=6, train_set_images=5)
    train, heldout = positions(data, "train"), positions(data, "heldout")
    assert (len(train), len(heldout)) == (12, 12)
    for chosen in (train, heldout, positions(data, "val")):
        assert {position // 10 for position in chosen} == {0, 1, 2, 3}
    assert positions(data, "val") == heldout[:6]
    assert positions(data, "train_set") == train[:5]
    assert train[:6] == [15, 32, 8, 13, 25, 3]  # fixed for ever: results depend on it
    for split, chosen in (("train", train), ("test", heldout)):
        np.testing.assert_array_equal(data.pixels(split), module(classes).pixels(split)[chosen])


@pytest.mark.parametrize("name", ["train", "heldout", "val"])
def test_a_smaller_limit_is_a_prefix_of_a_larger_one(classes: Path, folder: Path, name: str) -> None:
    option = {"train": "train_images", "heldout": "test_images", "val": "val_images"}[name]
    for root, largest in ((classes, 20), (folder, 3)):
        longest = positions(module(root, **{option: largest}), name)
        assert len(set(longest)) == largest
        for limit in range(2, largest):
            assert positions(module(root, **{option: limit}), name) == longest[:limit]


def test_without_classes_limits_take_the_first_images(folder: Path) -> None:
    data = module(folder, train_images=4, test_images=2, val_images=1)
    assert [positions(data, name) for name in ("train", "heldout", "val")] == [[0, 1, 2, 3], [0, 1], [0]]


def test_without_a_limit_the_order_stays(classes: Path) -> None:
    data = module(classes)
    assert positions(data, "train") == list(range(40))
    assert positions(data, "heldout") == list(range(40))


def test_held_out_classes_are_mixed_for_cifar10_too(classes: Path) -> None:
    data = CIFAR10DataModule(GaussianNoise(0.2), root=classes, image_size=16, batch_size=2, test_images=8)
    data.prepare_data()
    data.setup("fit")
    assert len({position // 10 for position in positions(data, "heldout")}) == 4


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/a/1", "train/b/1"], True),
        (["train/a/1", "train/2", "train/b/1"], True),
        (["train/deep/a/1", "train/deep/b/1"], True),
        (["a/1", "b/1"], True),
        (["train/1", "train/2"], False),
        (["train/a/1", "train/2"], False),
        (["train/a/1", "train/a/2"], False),
        (["1", "2"], False),
        (["1"], False),
        ([], False),
    ],
)
def test_what_a_folder_of_classes_is(names: list[str], expected: bool) -> None:
    files = {"train": [File(name, Path(name), 1, (1, 1, 1)) for name in names]}
    assert Location("STL-10", "folder", Path(), "name", "", files).has_classes("train") == expected
    assert not Location("STL-10", "array", Path(), "name", "", files).has_classes("train")
    assert not Location("STL-10", "folder", Path(), "name", "", files).has_classes("test")


def test_leaks_are_counted_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test" / "copy.png").write_bytes((folder / "train" / "2.png").read_bytes())
    assert module(folder).about()["leaked"] == 1
    assert capsys.readouterr().err.splitlines()[:1] == ["1 of 4 held-out images are also in training"]


def test_leaks_are_counted_among_the_images_used(folder: Path) -> None:
    for number in (0, 1):
        (folder / "test" / f"{number}.png").write_bytes((folder / "train" / f"{number + 4}.png").read_bytes())
    assert module(folder).about()["leaked"] == 2
    assert module(folder, train_images=5).about()["leaked"] == 1  # the sixth is not used
    assert module(folder, train_images=4, test_images=2).about()["leaked"] == 0
    assert "All 2 held-out images used of pictures are also training images" in module_refused(folder, test_images=2)


def test_fully_leaked_held_out_images_are_rejected(folder: Path) -> None:
    for number in range(3):
        (folder / "test" / f"{number}.png").unlink()
    (folder / "test").rmdir()
    (folder / "test").symlink_to("train")
    assert "All 6 held-out images" in module_refused(folder)


def test_a_folder_is_scanned_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    real = layout.walk
    monkeypatch.setattr(layout, "walk", lambda *rest: walked.append(rest[0]) or real(*rest))
    module(folder)
    assert walked == [folder / "train", folder / "test"]


@pytest.mark.parametrize("name", ["image_size", "batch_size", "eval_batch_size"])
def test_sizes_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        STL10DataModule(PatchMask(), **{name: 0})


def test_a_batch_holds_clean_and_masked_images_in_0_1(folder: Path) -> None:
    data = STL10DataModule(PatchMask(size=4), root=folder, image_size=16, batch_size=2)
    data.prepare_data()
    data.setup("test")
    pixels, index = next(iter(data.predict_dataloader()))
    batch = data.on_after_batch_transfer((pixels, index), 0)
    assert batch.target.shape == (3, 3, 16, 16)
    np.testing.assert_allclose(batch.target.permute(0, 2, 3, 1).numpy(), data.pixels("test") / 255, atol=1e-7)
    assert batch.mask is not None
    assert batch.input[batch.mask.expand(3, 3, -1, -1)].eq(0.5).all()

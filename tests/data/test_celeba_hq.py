"""CelebA-HQ: the split by file name, unusual files, and the embedded portraits."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnae.data import CelebAHQDataModule, Uncorrupted, portraits
from attnae.data.location import Location, is_held_out, locate, split_files
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)


def save(path: Path, side: int = 16, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path, **options)
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A flat folder of 60 images."""
    for number in range(60):
        save(tmp_path / "faces" / f"{number:05}.png")
    return tmp_path / "faces"


def found(root: Path, dataset: str = "CelebA-HQ") -> Location:
    return locate(dataset, "faces", root)


def refused(root: Path, dataset: str = "CelebA-HQ") -> str:
    with pytest.raises(UserError) as caught:
        found(root, dataset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def module(root: Path | None, **options: Any) -> CelebAHQDataModule:
    data = CelebAHQDataModule(root=root, **{"image_size": 16, "batch_size": 2, **options})
    data.prepare_data()
    data.setup("fit")
    return data


def names(root: Path) -> dict[str, set[str]]:
    splits, _ = split_files("CelebA-HQ", root)
    return {split: {file.name for file in files} for split, files in splits.items()}


# -- split by name ----------------------------------------------------------------------------------------------


def test_the_split_never_changes() -> None:
    """By hash: on every machine, with every version. Results depend on it."""
    held_out = [n for n in range(30) if is_held_out(f"{n:05}.jpg")]
    assert held_out == [1, 9, 16, 21]
    assert {is_held_out(f"{folder}/00001.jpg") for folder in range(30)} == {
        True
    }  # the same image, however deep it lies


@pytest.mark.parametrize("pattern", ["{}.jpg", "{:05}.png", "img_{:05}.webp", "women/{}.png", "a b/é{}.PNG"])
def test_a_fifth_is_held_out_for_any_file_names(pattern: str) -> None:
    held_out = np.array([is_held_out(pattern.format(n)) for n in range(30_000)])
    assert held_out.mean() == pytest.approx(0.2, abs=0.009)  # 4 standard deviations
    assert np.abs(held_out.reshape(30, 1000).mean(1) - 0.2).max() < 0.06  # and everywhere alike


@given(st.sets(st.text("ab1é", min_size=1, max_size=6), min_size=1, max_size=12), st.integers(0, 11))
@settings(deadline=None, max_examples=20)
def test_any_subset_of_the_files_has_the_same_split(stems: set[str], left: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for stem in stems:
            (root / f"{stem}.png").write_bytes(b"")
        whole = names(root)
        gone = {file.name for file in list(root.iterdir())[:left]}
        for name in gone:
            (root / name).unlink()
        assert names(root) == {split: files - gone for split, files in whole.items()}


def test_the_split_of_a_file_does_not_depend_on_other_files(faces: Path) -> None:
    before = names(faces)
    for number in range(100, 160):
        save(faces / f"{number:05}.png")
    for number in range(0, 60, 7):
        (faces / f"{number:05}.png").unlink()
    after = names(faces)
    for side, other in (("train", "test"), ("test", "train")):
        assert before[side] & after[side]
        assert not before[side] & after[other]


def test_the_split_depends_on_subfolders_but_not_on_the_root(faces: Path) -> None:
    before, fingerprint = names(faces), found(faces).fingerprint
    moved = faces.rename(faces.with_name("elsewhere"))
    assert names(moved) == before
    assert found(moved).fingerprint == fingerprint
    nested = moved.with_name("nested")
    nested.mkdir()
    moved.rename(nested / "women")
    assert {name.split("/")[0] for files in names(nested).values() for name in files} == {"women"}
    assert sum(map(len, names(nested).values())) == 60
    assert found(nested).kind == "folder"


def test_every_image_is_in_exactly_one_split(faces: Path) -> None:
    splits = names(faces)
    assert splits["train"] | splits["test"] == {f"{n:05}.png" for n in range(60)}
    assert not splits["train"] & splits["test"]
    data = module(faces)
    assert (data.about()["train"], data.about()["test"]) == (len(splits["train"]), len(splits["test"]))
    first = np.asarray(Image.open(faces / min(splits["test"])))
    np.testing.assert_array_equal(data.pixels("test")[0], first)


def test_train_and_test_folders_define_the_splits(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "train" / f"{number}.png")
    save(tmp_path / "test" / "a.png")
    save(tmp_path / "stray.png")
    assert names(tmp_path) == {"train": {f"train/{n}.png" for n in range(6)}, "test": {"test/a.png"}}
    (tmp_path / "test" / "a.png").unlink()
    assert f"{tmp_path / 'test'} contains no images" in refused(tmp_path)


# -- refusals ---------------------------------------------------------------------------------------------------


def test_a_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    message = refused(tmp_path / "nowhere")
    for part in (
        f"CelebA-HQ not found in {tmp_path / 'nowhere'}",
        "Expected a folder of images (30,000 at 256x256",
        "--data-root",
        "--profile quick",
    ):
        assert part in message
    assert "download" not in message


def test_an_empty_folder_and_too_few_images(tmp_path: Path) -> None:
    assert f"{tmp_path} has no train images" in refused(tmp_path)
    kept = next(n for n in range(99) if not is_held_out(f"{n}.png"))
    save(tmp_path / f"{kept}.png")
    assert f"{tmp_path} has no test images" in refused(tmp_path)


# -- odd files --------------------------------------------------------------------------------------------------


def grayscale(path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)


def cmyk(path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, "JPEG")


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def cut(path: Path) -> None:
    save(path, 64)
    path.write_bytes(path.read_bytes()[:200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def tiny(path: Path) -> None:
    save(path, 4)


@pytest.mark.parametrize(
    ("spoil", "reason", "lost"),
    [
        (grayscale, "grayscale", 0),
        (cmyk, "CMYK", 0),
        (animated, "animated (first frame)", 0),
        (cut, "unreadable (skipped)", 1),
        (empty, "unreadable (skipped)", 1),
        (tiny, "unreadable (skipped)", 1),
    ],
)
def test_odd_files_are_converted_or_skipped_and_counted(
    faces: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], reason: str, lost: int
) -> None:
    odd = sorted(names(faces)["train"])[3]
    spoil(faces / odd)
    for _ in range(2):  # decoded, then found in the cache
        data = module(faces)
        assert data.about()["converted"] == {reason: 1}
        assert data.about()["train"] == len(names(faces)["train"]) - lost
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Skipped: ")]
        assert len(told) == lost
        assert all(str(faces / odd) in line for line in told)
    expected = [np.asarray(Image.open(faces / name)) for name in sorted(names(faces)["train"]) if name != odd]
    pixels = data.pixels("train") if lost else np.delete(data.pixels("train"), 3, axis=0)
    np.testing.assert_array_equal(pixels, np.stack(expected))


def test_too_many_unreadable_files_are_an_error(faces: Path) -> None:
    spoiled = sorted(names(faces)["train"])[:10]
    for name in spoiled:
        cut(faces / name)
    with pytest.raises(UserError, match="are unusable") as caught:
        module(faces)
    assert str(faces / spoiled[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


# -- through the DataModule -------------------------------------------------------------------------------------


def test_defaults_match_the_paper() -> None:
    data = CelebAHQDataModule()
    assert (data.image_size, data.batch_size) == (256, 16)
    assert isinstance(data.corruption, Uncorrupted)
    assert data.test_splits == ("heldout",)


def test_portraits_are_used_without_a_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CelebAHQDataModule, "embedded_counts", (20, 8))
    data = module(None)
    about = data.about()
    assert (about["title"], about["train"], about["test"]) == ("embedded faces", 20, 8)
    for split, count in (("train", 20), ("test", 8)):
        np.testing.assert_array_equal(data.pixels(split), portraits(split == "train", count, 16))


def test_portraits_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CelebAHQDataModule, "embedded_counts", (12, 8))
    module(None)
    monkeypatch.setattr("attnae.data.sources.portrait", lambda *rest: pytest.fail("drawn again"))
    module(None)


def test_inputs_are_targets(faces: Path) -> None:
    data = module(faces)
    pixels, index = next(iter(data.test_dataloader()[0]))
    batch = data.on_after_batch_transfer((pixels, index), 0)
    assert torch.equal(batch.input, batch.target)
    assert batch.mask is None
    assert batch.sigma is None
    assert batch.index.tolist() == index.tolist()
    np.testing.assert_allclose(batch.target.permute(0, 2, 3, 1).numpy(), data.pixels("test")[index] / 255, atol=1e-7)

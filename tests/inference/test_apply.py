"""``attnae apply`` on tiny models and all image types."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny_runs import pixels, save

from attnae.errors import UserError
from attnae.inference import commands, images, inputs, summary
from attnae.inference.apply import mask_for
from attnae.inference.load import load
from attnae.paths import relative


def apply(run: Path, *arguments: Any) -> int:
    return commands.run(["apply", str(run), *map(str, arguments), "--device", "cpu"])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_denoising_with_a_truth(denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = pixels(40, 53)
    source = save(tmp_path / "in.png", 40, 53)
    assert apply(denoiser, source, "-o", tmp_path / "out", "--sigma", "0.2") == 0
    (row,) = rows(tmp_path / "out")
    output = read(tmp_path / "out" / "in.png")
    assert output.shape == truth.shape
    assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(truth, output), abs=1e-6)
    assert float(row["ssim"]) == pytest.approx(structural_similarity(truth, output, channel_axis=-1), abs=1e-4)
    key = (1, images.identity(truth))
    noisy = images.to_pixels(images.noisy_rows(truth, 0.2, key, 0, 40))
    assert float(row["psnr_input"]) == pytest.approx(peak_signal_noise_ratio(truth, noisy), abs=1e-6)
    assert 12 < float(row["psnr_input"]) < 17  # 14 dB, and a little more where noise is clamped
    assert read(tmp_path / "out" / "in-compared.png").shape[1] > 3 * 256
    printed = capsys.readouterr().out
    assert "Next: attnae export" in printed


def test_denoising_without_a_truth(denoiser: Path, tmp_path: Path) -> None:
    """The output equals the model's for any image size; without a truth there are no metrics."""
    source = save(tmp_path / "in.png", 16, 16)
    larger = save(tmp_path / "larger.png", 30, 17)
    assert apply(denoiser, source, larger, "-o", tmp_path / "out") == 0
    model = load(denoiser)
    for path, size in ((source, (16, 16)), (larger, (30, 17))):
        expected = images.to_pixels(model(images.to_tensor(pixels(*size))[None])[0])
        assert np.abs(read(tmp_path / "out" / path.name).astype(int) - expected).max() <= 1
    assert [row["psnr"] for row in rows(tmp_path / "out")] == ["", ""]


def test_filling_in_with_a_given_mask(saaae: Path, tmp_path: Path) -> None:
    """Only the hole changes; what is measured is that, the hole alone, and the network's own output outside it."""
    source, hidden = save(tmp_path / "in.png", 16, 16), np.zeros((16, 16), np.uint8)
    hidden[4:9, 2:7] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    assert apply(saaae, source, "-o", tmp_path / "out", "--mask", tmp_path / "mask.png") == 0
    truth, hole = pixels(16, 16), hidden > 0
    model = load(saaae)
    made = images.to_pixels(model(images.to_tensor(truth)[None], torch.from_numpy(hole)[None, None])[0])
    saved = read(tmp_path / "out" / "in.png")
    assert np.array_equal(saved[~hole], truth[~hole])
    assert np.array_equal(saved[hole], made[hole])
    (row,) = rows(tmp_path / "out")
    shown = np.where(hole[..., None], np.uint8(round(255 * model.fill)), truth)
    for name, one, other in (
        ("psnr_input", shown, truth),
        ("psnr", saved, truth),
        ("psnr_hole", made[hole], truth[hole]),
        ("psnr_outside", made[~hole], truth[~hole]),
    ):
        assert float(row[name]) == pytest.approx(peak_signal_noise_ratio(other, one), abs=1e-6), name


@pytest.mark.parametrize(
    ("corruption", "missing"),
    [
        ({"class_path": "attnae.data.PixelMask", "init_args": {"ratio": 0.001}}, "psnr_hole"),
        ({"class_path": "attnae.data.CenterMask", "init_args": {"size": 16}}, "psnr_outside"),
    ],
)
def test_a_mask_of_training_that_hides_nothing_or_everything(
    saaae: Path, tmp_path: Path, corruption: dict[str, Any], missing: str
) -> None:
    model = masked_by(saaae, tmp_path / "model", corruption)
    assert apply(model, save(tmp_path / "in.png", 16, 16), "-o", tmp_path / "out", "--json") == 0
    (row,) = rows(tmp_path / "out")
    assert [name for name in ("psnr_hole", "psnr_outside", "psnr") if not row[name]] == [missing]


def test_a_mask_of_training_that_is_larger_than_the_images(saaae: Path, tmp_path: Path) -> None:
    patches = {"class_path": "attnae.data.PatchMask", "init_args": {"size": 64}}
    model = masked_by(saaae, tmp_path / "model", patches)
    with pytest.raises(UserError, match=r"config\.yaml: PatchMask cannot draw a mask: patches of 64 pixels"):
        apply(model, save(tmp_path / "in.png", 16, 16), "-o", tmp_path / "out")


def test_a_model_trained_without_masks_takes_a_given_one(saaae: Path, tmp_path: Path) -> None:
    model = masked_by(saaae, tmp_path / "model", {"class_path": "attnae.data.Uncorrupted"})
    source, hidden = save(tmp_path / "in.png", 16, 16), np.zeros((16, 16), np.uint8)
    with pytest.raises(UserError, match=r"was trained without masks\. Pass --mask FILE\."):
        apply(model, source, "-o", tmp_path / "out")
    hidden[4:9, 2:7] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    assert apply(model, source, "-o", tmp_path / "out", "--mask", tmp_path / "mask.png") == 0
    (row,) = rows(tmp_path / "out")
    assert row["psnr_hole"]


def masked_by(run: Path, folder: Path, corruption: dict[str, Any]) -> Path:
    """A copy of a run with another corruption in its configuration."""
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"]["init_args"]["corruption"] = corruption
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_json_is_all_that_stdout_holds(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [save(tmp_path / "in" / f"{name}.png", 20, 24, seed) for seed, name in enumerate("ab")]
    broken = tmp_path / "in" / "broken.png"
    broken.write_bytes(sources[0].read_bytes()[:60])
    chance = ["--sigma", "0.1"] if "denoiser" in str(run) else []
    assert apply(run, tmp_path / "in", "-o", tmp_path / "out", "--json", *chance) == 1
    numbers = json.loads(capsys.readouterr().out)
    assert len(numbers["skipped"]) == 1
    table = rows(tmp_path / "out")
    for image, row in zip(numbers["images"], table, strict=True):
        for name in row:
            assert str(image[name] if image[name] is not None else "") == row[name]
    assert numbers["means"]["count"] == 2
    for name in ("psnr", "ssim"):
        assert numbers["means"][name] == pytest.approx(np.mean([float(row[name]) for row in table]))
    flags = [image["worse_than_input"] for image in numbers["images"]]
    assert flags == [float(r["psnr"]) < float(r["psnr_input"]) if r["psnr_input"] else None for r in table]
    assert numbers["worse_than_input"] == flags.count(True)


def test_a_result_that_is_worse_than_its_input_is_marked(
    denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that has learned nothing hardly helps where there is hardly any noise, and helps gray where all is noise."""
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", 20, 24)
    assert apply(denoiser, tmp_path / "in", "-o", tmp_path / "out", "--sigma", "0.01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.rstrip().endswith("worse") for line in lines) == 2
    assert lines[-1].startswith("Warning: 2 of 2 results have a lower PSNR than the input: a.png, b.png.")
    assert lines[-1].endswith("with noise of sigma 0.2.")


def test_warnings_compare_what_the_digits_show() -> None:
    def row(image: str, psnr_input: float | None, psnr: float | None) -> dict[str, Any]:
        return dict.fromkeys(summary.COLUMNS) | {"image": image, "psnr_input": psnr_input, "psnr": psnr}

    assert summary.is_worse(row("a", 20.001, 20.0)) is False
    assert summary.is_worse(row("a", 20.01, 20.0)) is True
    assert summary.is_worse(row("a", 20.0, 25.0)) is False
    assert summary.is_worse(row("a", None, 25.0)) is None
    many = [row(f"in/{number}.png", 20.0, 10.0) for number in range(9)]
    assert summary.warning(many, "Trained.").endswith("input: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more. Trained.")
    assert summary.warning([row("a", 20.0, 20.0)], "Trained.") == ""


def test_results_do_not_depend_on_other_images_or_order(run: Path, tmp_path: Path) -> None:
    """Random masks and noise are seeded by the image."""
    sources = [save(tmp_path / "in" / f"{name}.png", 20, 24, seed) for seed, name in enumerate("abc")]
    chance = ["--sigma", "0.1"] if "denoiser" in str(run) else []
    assert apply(run, *sources, "-o", tmp_path / "all", *chance) == 0
    assert apply(run, sources[2], "-o", tmp_path / "one", *chance, "--batch-size", 1) == 0
    difference = read(tmp_path / "all" / "c.png").astype(int) - read(tmp_path / "one" / "c.png")
    assert np.abs(difference).max() <= 1
    assert [row["image"] for row in rows(tmp_path / "all")] == [relative(source) for source in sources]


def test_seeds_and_images_have_different_masks(saaae: Path) -> None:
    model, one, other = load(saaae), pixels(16, 16, 0), pixels(16, 16, 1)
    drawn = [
        mask_for(model, "random", (16, 16), seed, image) for seed, image in ((1, one), (1, one), (2, one), (1, other))
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[3])


def test_noise_does_not_depend_on_the_rows_requested() -> None:
    image = pixels(30, 11)
    whole = images.noisy_rows(image, 0.3, (1, 2), 0, 30)
    assert torch.equal(whole[:, 7:19], images.noisy_rows(image, 0.3, (1, 2), 7, 19))
    flat = np.full((200, 200, 3), 128, np.uint8)
    noise = images.noisy_rows(flat, 0.1, (1, 2), 0, 200) - 128 / 255
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 0.002


SIXTEEN = (np.add.outer(np.arange(20), np.arange(20)) * 1600).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "image", "said"),
    [
        ("transparent.png", Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "transparent (on white)"),
        ("sixteen.png", Image.fromarray(SIXTEEN), "16-bit"),
        ("gray.png", Image.new("L", (20, 20), 90), "grayscale"),
        ("palette.gif", Image.new("P", (20, 20), 3), ""),
        ("one.png", Image.new("RGB", (1, 1), (10, 20, 30)), ""),
        ("line.png", Image.new("RGB", (90, 1)), ""),
        ("cmyk.jpg", Image.new("CMYK", (20, 20)), "CMYK"),
    ],
)
def test_all_image_types(
    denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, image: Image.Image, said: str
) -> None:
    image.save(tmp_path / name)
    assert apply(denoiser, tmp_path / name, "-o", tmp_path / "out", "--sigma", "0.1") == 0
    assert said in capsys.readouterr().out
    output = read(tmp_path / "out" / f"{Path(name).stem}.png")
    assert output.shape == (image.height, image.width, 3)


def test_sixteen_bits_are_scaled_and_transparency_is_white(tmp_path: Path) -> None:
    from collections import Counter

    Image.fromarray(SIXTEEN).save(tmp_path / "sixteen.png")
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    scaled = np.asarray(images.read(tmp_path / "sixteen.png", Counter()))[..., 0]
    assert np.abs(scaled - SIXTEEN / 257).max() <= 0.51
    assert (np.asarray(images.read(tmp_path / "clear.png", Counter())) == 255).all()


def test_a_very_wide_image(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "wide.png", 20, 12_000)
    assert apply(denoiser, source, "-o", tmp_path / "out", "--sigma", "0.1") == 0
    assert read(tmp_path / "out" / "wide.png").shape == (20, 12_000, 3)
    assert max(read(tmp_path / "out" / "wide-compared.png").shape) < 4000


def test_bad_images_among_good_ones(denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    good = save(folder / "deep" / "good.png", 20, 20)
    (folder / "broken.png").write_bytes(good.read_bytes()[:60])
    (folder / "text.jpg").write_text("not an image")
    (folder / "notes.txt").write_text("left alone")
    assert apply(denoiser, folder, "-o", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert captured.err.count("Skipped") == 2
    assert "2 images could not be read" in captured.out
    assert (tmp_path / "out" / "deep" / "good.png").exists()
    with pytest.raises(UserError, match=r"None of the 2 images is usable\. The first: Cannot read"):
        apply(denoiser, folder / "*.*g", "-o", tmp_path / "other")
    capsys.readouterr()
    with pytest.raises(UserError, match="Cannot read the image"):
        apply(denoiser, folder / "text.jpg", "-o", tmp_path / "other")
    assert not capsys.readouterr().err


def test_nothing_is_overwritten_by_default(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 16, 16)
    apply(denoiser, source, "-o", tmp_path / "out")
    (tmp_path / "out" / "in.png").write_bytes(b"mine")
    for place in ("out", "in.png"):
        with pytest.raises(UserError, match=r"already exist|is a file"):
            apply(denoiser, source, "-o", tmp_path / place)
    assert (tmp_path / "out" / "in.png").read_bytes() == b"mine"
    apply(denoiser, source, "-o", tmp_path / "out", "--overwrite")
    assert read(tmp_path / "out" / "in.png").shape == (16, 16, 3)


def test_results_never_replace_inputs_nor_become_inputs(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "photos" / "in.png", 16, 16)
    before = source.read_bytes()
    with pytest.raises(UserError, match=r"photos/in\.png is also an input"):
        apply(denoiser, source.parent, "-o", source.parent, "--overwrite")
    assert source.read_bytes() == before
    for _ in range(2):
        assert apply(denoiser, source.parent, "-o", source.parent / "out", "--overwrite") == 0
    assert len(rows(source.parent / "out")) == 1
    assert apply(denoiser, source.parent / "out" / "in.png", "-o", source.parent / "out" / "again") == 0


def test_a_mask_and_the_ends_of_a_row_are_inputs(saaae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("face.jpg", "face.png"):
        save(tmp_path / name, 16, 16)
    for words in (
        ["apply", str(saaae), "face.jpg", "-o", ".", "--mask", "face.png", "--overwrite"],
        ["sample", str(saaae), "-o", "face.png", "--between", "face.png", "face.jpg", "--overwrite"],
    ):
        with pytest.raises(UserError, match=r"face\.png is also an input"):
            commands.run(words)


def test_a_place_that_cannot_be_written_to_is_refused_first(denoiser: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 16, 16)
    with pytest.raises(UserError, match=r"Cannot write into .*photo\.png"):
        apply(denoiser, photo, "-o", photo / "sub")


def test_a_result_that_would_also_be_a_folder_is_refused_first(denoiser: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.jpg", 16, 16)
    save(tmp_path / "in" / "a.png" / "b.jpg", 16, 16)
    with pytest.raises(UserError, match=r"a\.png would be a result and a folder of results"):
        apply(denoiser, tmp_path / "in", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_in_tables_are_as_they_are(denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply(denoiser, save(tmp_path / "a:cat:[red].png", 16, 16), "-o", tmp_path / "out") == 0
    assert "a:cat:[red].png" in capsys.readouterr().out


def test_a_name_too_long_for_its_result_is_refused_first(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / f"{'a' * 246}.png", 16, 16)
    with pytest.raises(UserError, match=r"aaa-compared\.png would be too long"):
        apply(denoiser, source, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert apply(denoiser, save(tmp_path / f"{'b' * 242}.png", 16, 16), "-o", tmp_path / "out") == 0


def test_a_name_of_any_bytes(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 16, 16)
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        source.rename(named)
    except OSError:
        pytest.skip("this file system requires UTF-8")
    assert apply(denoiser, named, "-o", tmp_path / "out") == 0
    assert rows(tmp_path / "out")[0]["file"] == "caf\\udce9.png"


def test_an_image_that_cannot_be_opened_is_skipped(
    denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, 16, 16)
    (tmp_path / "in" / "notes.txt").write_text("text")
    content = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "b.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return content(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    assert apply(denoiser, tmp_path / "in", "-o", tmp_path / "out") == 1
    assert [row["file"] for row in rows(tmp_path / "out")] == ["a.png", "c.png"]
    said = capsys.readouterr().err
    assert "b.png: Permission denied" in said
    assert "Left out: 1 .txt files" in said


def test_finished_images_have_their_numbers_after_an_error(
    denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [save(tmp_path / "in" / name, 16, 16) for name in ("a.png", "b.png")]
    written = images.save

    def full(pixels: Any, path: Path) -> None:
        if path.name == "b.png":
            raise UserError("Cannot write b.png: No space left on device.")
        written(pixels, path)

    monkeypatch.setattr(images, "save", full)
    with pytest.raises(UserError, match="No space left"):
        apply(denoiser, *sources, "-o", tmp_path / "out", "--sigma", "0.2")
    assert [row["file"] for row in rows(tmp_path / "out")] == ["a.png"]


def test_names_patterns_and_equal_names(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b/a.png", "b/c.jpg"):
        save(tmp_path / "in" / name, 9, 9)
    save(tmp_path / "elsewhere" / "a.png", 9, 9)
    found = {source.name for source in inputs.find([str(tmp_path / "in")])}
    assert found == {"a-png", "a-jpg", "b/a", "b/c"}
    assert len(inputs.find([str(tmp_path / "in" / "**" / "*.jpg")])) == 2
    assert [s.name for s in inputs.find([str(tmp_path / "in/a.png"), str(tmp_path / "in/*.png")])] == ["a"]
    with pytest.raises(UserError, match="Several images are named a"):
        inputs.find([str(tmp_path / "in" / "a.png"), str(tmp_path / "elsewhere" / "a.png")])
    for nothing in ("missing.png", "*.tif", "in/b/*.tif"):
        with pytest.raises(UserError, match="matches no files"):
            inputs.find([str(tmp_path / nothing)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no such files"):
        inputs.find([str(tmp_path / "empty")])


def test_invalid_options_for_the_model(denoiser: Path, saaae: Path, vqvae: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 32, 32)
    for run, options, word in (
        (vqvae, ["--sigma", "0.1"], "--sigma"),
        (denoiser, ["--mask", source], "--mask"),
        (saaae, ["--mask", tmp_path / "no.png"], "no.png"),
        (saaae, ["--mask", save(tmp_path / "other.png", 8, 8)], "other.png is 8x8"),
        (denoiser, ["--sigma", "-1"], "argument --sigma"),
        (denoiser, ["--sigma", "nan"], "argument --sigma"),
        (denoiser, ["--batch-size", "0"], "argument --batch-size"),
        (denoiser, ["--seed", "x"], "argument --seed"),
        (denoiser, [""], "argument IMAGES: the path is empty"),
        ("", [], "argument MODEL: the path is empty"),
    ):
        with pytest.raises(UserError, match=word):
            apply(run, source, *options, "-o", tmp_path / "out")
    Image.new("L", (32, 32), 255).save(tmp_path / "white.png")
    with pytest.raises(UserError, match="hides everything"):
        apply(saaae, source, "-o", tmp_path / "out", "--mask", tmp_path / "white.png")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(7, 7), (9, 40), (70, 263), (270, 20)])
def test_similarity_in_blocks_is_scikit_images(size: tuple[int, int]) -> None:
    one, other = pixels(*size, 0), pixels(*size, 1)
    psnr, ssim = images.quality(one, other)
    assert psnr == pytest.approx(peak_signal_noise_ratio(other, one))
    assert ssim == pytest.approx(structural_similarity(other, one, channel_axis=-1), abs=1e-5)


def test_quality_of_equal_and_tiny_images() -> None:
    assert images.quality(pixels(8, 8), pixels(8, 8)) == (100.0, pytest.approx(1))
    assert images.quality(pixels(6, 9), pixels(6, 9)) == (100.0, None)

"""Image files of all types: correct conversions, and errors that name the file."""

import errno
import struct
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from attnae.data.decode import UnreadableImage, read_image, resize, resize_array
from attnae.errors import UserError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (16, 16, 3), dtype=np.uint8)
GRAY = RANDOM.integers(0, 256, (16, 16), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (16, 16), dtype=np.uint8)


def read(path: Path, size: int = 16) -> tuple[np.ndarray, dict[str, int]]:
    conversions = Counter[str]()
    pixels = read_image(path, size, conversions)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    return pixels, dict(conversions)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def png(bits: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of 16x16 RGB pixels, put together by hand."""
    whole = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, bits, 2, 0, 0, 0)), *chunks, (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in whole]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- conversions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_rgb_passes_unchanged(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
    pixels, conversions = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels, RGB)
    assert conversions == {}


def test_jpeg_matches_pil(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg")[0], np.asarray(Image.open(tmp_path / "a.jpg")))


def test_grayscale_fills_all_channels(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    pixels, conversions = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.repeat(GRAY[..., None], 3, 2))
    assert conversions == {"grayscale": 1}


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(GRAY > 127).save(tmp_path / "a.png")
    pixels, conversions = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.repeat(np.where(GRAY > 127, 255, 0)[..., None], 3, 2))
    assert conversions == {"grayscale": 1}


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_rgba_lies_on_white(tmp_path: Path, suffix: str) -> None:
    rgba = np.dstack([RGB, ALPHA])
    rgba[0, 0] = (0, 0, 0, 0)
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(rgba).save(tmp_path / f"a.{suffix}", **options)
    pixels, conversions = read(tmp_path / f"a.{suffix}")
    assert np.abs(pixels - on_white(rgba[..., :3], rgba[..., 3])).max() <= 1
    assert (pixels[0, 0] == 255).all()
    assert conversions == {"transparent (on white)": 1}


def test_grayscale_with_alpha_lies_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GRAY, ALPHA]), "LA").save(tmp_path / "a.png")
    pixels, conversions = read(tmp_path / "a.png")
    assert np.abs(pixels - on_white(np.repeat(GRAY[..., None], 3, 2), ALPHA)).max() <= 1
    assert conversions["transparent (on white)"] == 1


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = RANDOM.integers(0, 65536, (16, 16), dtype=np.uint16)
    deep[0, :3] = (0, 257, 65535)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    pixels, conversions = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels[..., 0], np.round(deep / 257).astype(np.uint8))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    assert pixels[0, :3, 0].tolist() == [0, 1, 255]
    assert conversions["16-bit"] == 1


@pytest.mark.parametrize("bits", [8, 16, 31])
def test_32_bit_integers_have_the_smallest_range_that_fits(tmp_path: Path, bits: int) -> None:
    deep = RANDOM.integers(0, 2**bits, (16, 16), dtype=np.int64).astype(np.int32)
    deep[0, :2] = (0, 2**bits - 1)
    Image.fromarray(deep).save(tmp_path / "a.tiff")
    pixels, conversions = read(tmp_path / "a.tiff")
    np.testing.assert_array_equal(pixels[..., 0], np.round(deep / (2**bits - 1) * 255).astype(np.uint8))
    assert conversions["32-bit"] == 1


def test_12_bits_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    """TIFF files of microscopes and cameras; Pillow reads them without a word about their range."""
    deep = RANDOM.integers(0, 4096, (16, 16))
    deep[0, :3] = (0, 2048, 4095)
    pairs = deep.reshape(-1, 2)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist())
    tags = {256: 16, 257: 16, 258: 12, 259: 1, 262: 1, 273: 10 + 9 * 12 + 4, 277: 1, 278: 16, 279: len(packed)}
    directory = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    (tmp_path / "a.tiff").write_bytes(header + directory + struct.pack("<I", 0) + packed)
    pixels, conversions = read(tmp_path / "a.tiff")
    np.testing.assert_array_equal(pixels[..., 0], np.round(deep / 4095 * 255).astype(np.uint8))
    assert conversions["12-bit"] == 1


def test_no_image_opens_another_format_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPTC file contains an image of any format, such as PostScript, which would start an interpreter."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: started.append(args))
    monkeypatch.setattr(EpsImagePlugin, "has_ghostscript", lambda: started.append("asked") or True)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"

    def field(record: int, number: int, data: bytes) -> bytes:
        return b"\x1c" + bytes([record, number]) + struct.pack(">H", len(data)) + data

    fields = [(3, 60, b"\x01\x01"), (3, 65, b"\x00"), (3, 20, b"\x00\x10"), (3, 30, b"\x00\x10"), (3, 120, b"\x05")]
    whole = b"".join(field(*one) for one in fields) + field(8, 10, program)
    for name in ("a.iim", "a.jpg"):
        (tmp_path / name).write_bytes(whole)
        with pytest.raises(UnreadableImage):
            read(tmp_path / name)
    assert not started


def test_16_bit_rgb_is_scaled(tmp_path: Path) -> None:
    deep = RANDOM.integers(0, 65536, (16, 16, 3), dtype=np.uint16)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep))
    (tmp_path / "a.png").write_bytes(png(16, (b"IDAT", rows)))
    assert np.abs(read(tmp_path / "a.png")[0] - deep / 257).max() <= 1


def test_floating_point_is_scaled_by_its_peak(tmp_path: Path) -> None:
    values = np.linspace(0, 4000, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    pixels, _ = read(tmp_path / "a.tiff")
    assert np.abs(pixels[..., 0] - values * 255 / 4000).max() <= 0.5


def test_palette(tmp_path: Path) -> None:
    indices = RANDOM.integers(0, 4, (16, 16), dtype=np.uint8)
    colors = np.array([[255, 0, 0], [0, 200, 0], [10, 20, 30], [250, 250, 1]], dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(colors.tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], colors[indices])


def test_transparent_palette_lies_on_white(tmp_path: Path) -> None:
    indices = RANDOM.integers(0, 2, (16, 16), dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=1)
    pixels, conversions = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.array([[200, 0, 0], [255, 255, 255]])[indices])
    assert conversions == {"transparent (on white)": 1}


def test_cmyk(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[:, 8:, 1:3] = 255  # magenta and yellow: red
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tiff")
    pixels, conversions = read(tmp_path / "a.tiff")
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == (255, 0, 0)).all()
    assert conversions == {"CMYK": 1}


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, np.rot90),
    ],
)
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int, upright: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], upright(RGB))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=50, **options)
    pixels, conversions = read(tmp_path / f"a.{suffix}")
    assert (pixels == (255, 0, 0)).all()
    assert conversions == {"animated (first frame)": 1}


def test_conversions_are_counted_over_files(tmp_path: Path) -> None:
    conversions = Counter[str]()
    for number in range(3):
        Image.fromarray(GRAY).save(tmp_path / f"{number}.png")
        read_image(tmp_path / f"{number}.png", 16, conversions)
    assert conversions == {"grayscale": 3}


# -- size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 16, 33, 64, 96, 250])
@pytest.mark.parametrize("size", [16, 64])
def test_resize_is_bilinear_as_pil_does(side: int, size: int) -> None:
    image = Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8))
    conversions = Counter[str]()
    pixels = resize(image, size, conversions, "a")
    np.testing.assert_array_equal(pixels, np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))
    assert conversions == ({"enlarged": 1} if side < size else {})


def test_resize_is_antialiased() -> None:
    checks = np.indices((96, 96)).sum(0) % 2 * 255
    image = Image.fromarray(np.repeat(checks[..., None], 3, 2).astype(np.uint8))
    pixels = resize(image, 16, Counter(), "a")
    assert np.abs(pixels[2:-2, 2:-2].astype(int) - 127).max() < 12  # without a filter: 0 and 255


@pytest.mark.parametrize(("width", "height"), [(40, 16), (16, 40), (17, 16), (16, 17)])
def test_the_center_square_is_cropped(tmp_path: Path, width: int, height: int) -> None:
    wide = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(wide).save(tmp_path / "a.png")
    pixels, conversions = read(tmp_path / "a.png")
    top, left = (height - 16) // 2, (width - 16) // 2
    np.testing.assert_array_equal(pixels, wide[top : top + 16, left : left + 16])
    assert conversions == {"cropped to a square": 1}


def test_arrays_are_resized_like_files() -> None:
    images = RANDOM.integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    for image in images:
        resized = resize_array(image, 16, Counter(), "train.npy")
        np.testing.assert_array_equal(resized, resize(Image.fromarray(image), 16, Counter(), "a"))
    np.testing.assert_array_equal(resize_array(images[0], 24, Counter(), "train.npy"), images[0])


def test_a_tiny_image_in_an_array_is_named() -> None:
    with pytest.raises(UserError, match=r"train\.npy\[0\] has 4x4 pixels"):
        resize_array(np.zeros((4, 4, 3), np.uint8), 16, Counter(), "train.npy[0]")


# -- refusals ---------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_image(path, 16, Counter())
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_rejected(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"P6"]
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "ppm"])
def test_files_other_than_images_are_rejected(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(content)
    refused(path)


def test_a_png_with_a_damaged_chunk_is_rejected(tmp_path: Path) -> None:
    """The one format for which PIL raises SyntaxError while it decodes."""
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB))
    (tmp_path / "a.png").write_bytes(png(8, (b"IDAT", rows[:200]), (b"IDAT", rows[200:])))
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], RGB)
    (tmp_path / "a.png").write_bytes(png(8, (b"IDAT", rows[:200]), (b"ID\1T", rows[200:])))
    refused(tmp_path / "a.png")


def test_a_disk_error_is_not_an_unreadable_image(tmp_path: Path) -> None:
    """A skipped image stays skipped in the cache; one that a disk or a permission holds back must not."""
    path = tmp_path / "image.png"
    path.symlink_to("/proc/self/mem")  # reading its beginning fails with EIO, as on a broken disk
    with pytest.raises(UserError, match=r"image\.png: Input/output error") as caught:
        read(path)
    assert not isinstance(caught.value, UnreadableImage)


@pytest.mark.parametrize(
    "error",
    [struct.error("bad"), KeyError("bad"), ZeroDivisionError("bad"), IndexError("bad"), AssertionError("bad"),
     OverflowError("bad"), MemoryError("bad"), SyntaxError("bad"), TypeError("bad"), RecursionError("bad"),
     OSError(errno.EINVAL, "bad"), EOFError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_all_decoder_errors_become_one_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)

    def load(self: Any) -> None:
        raise error

    monkeypatch.setattr(PngImageFile, "load", load)
    conversions = Counter[str]()
    with pytest.raises(UnreadableImage, match=r"image\.png: .*(bad|EOFError).*Repair or remove it"):
        read_image(path, 16, conversions)
    assert not conversions


def oriented(path: Path, *, orientation: bytes, resolution: bytes) -> None:
    """A JPEG file with an EXIF block of two entries, put together by hand: an orientation and a resolution."""
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHI", 0x112, 3, 1) + orientation
    tiff += struct.pack("<HHI", 0x11A, 5, 1) + resolution + bytes(4)
    Image.fromarray(RGB).save(path, quality=95, exif=b"Exif\0\0" + tiff)


@pytest.mark.parametrize("resolution", [struct.pack("<I", 0xFFFFFF), struct.pack("<I", 36)], ids=["nowhere", "cut"])
def test_damaged_metadata_does_not_prevent_the_rotation(tmp_path: Path, resolution: bytes) -> None:
    oriented(tmp_path / "a.jpg", orientation=struct.pack("<I", 6), resolution=resolution)
    pixels, conversions = read(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as raw:
        np.testing.assert_array_equal(pixels, np.rot90(np.asarray(raw.convert("RGB")), -1))
    assert conversions == {}


def test_an_invalid_rational_does_not_prevent_the_rotation(tmp_path: Path) -> None:
    """As some cameras write it: orientation 6, and a resolution of -1/0. Turning must not need the other entries."""
    entries = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + struct.pack(">HHII", 0x11A, 10, 1, 38)
    block = b"MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4) + struct.pack(">iI", -1, 0)
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    with Image.open(tmp_path / "a.jpg") as raw:
        with pytest.raises(struct.error):  # what makes it hard
            ImageOps.exif_transpose(raw)
        turned = np.rot90(np.asarray(raw.convert("RGB")), -1)
    pixels, conversions = read(tmp_path / "a.jpg")
    np.testing.assert_array_equal(pixels, turned)
    assert conversions == {}


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_unknown_orientation_is_ignored(tmp_path: Path, orientation: int) -> None:
    oriented(tmp_path / "a.jpg", orientation=struct.pack("<I", orientation), resolution=struct.pack("<I", 0))
    with Image.open(tmp_path / "a.jpg") as raw:
        np.testing.assert_array_equal(read(tmp_path / "a.jpg")[0], np.asarray(raw.convert("RGB")))


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    refused(tmp_path / "missing.png")
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png")


@pytest.mark.parametrize(("width", "height"), [(4, 4), (7, 100), (100, 7), (1, 1)])
def test_a_tiny_image_is_rejected(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "tiny.png")
    assert f"{width}x{height} pixels; at least 8x8" in refused(tmp_path / "tiny.png")


def test_a_decompression_bomb_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused(tmp_path / "bomb.png")


def _samples() -> dict[str, bytes]:
    samples = {}
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "gif", "webp", "tiff", "bmp", "ppm"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a.{suffix}"
            image.save(path, **({"compression": "tiff_lzw"} if suffix == "tiff" else {}))
            samples[suffix] = path.read_bytes()
    return samples


SAMPLES = _samples()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", SAMPLES)
@given(data=st.data())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_an_image_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, data: st.DataObject
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # damaged sizes must not fill the memory of the tester
    content = bytearray(SAMPLES[suffix])
    near_start = st.integers(0, min(80, len(content) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(near_start | st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    try:
        outcome = str(read_image(path, 16, Counter()).shape)
    except UserError as error:
        outcome = str(error)
    assert outcome == "(16, 16, 3)" or str(path) in outcome

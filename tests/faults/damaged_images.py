"""Damaged images of every format that Pillow writes: each is decoded or rejected in one line, within a time limit.

    python tests/faults/damaged_images.py 0 20000

decodes the given range of them and prints the outcomes.
"""

from __future__ import annotations

import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from attnae.data.decode import UnreadableImage, read_image
from attnae.data.location import FORMATS

PATIENCE = 10.0
"""Maximum processor time per image in seconds."""

MEMORY = 4 << 30
"""Maximum address space of the decoding process in bytes."""

MODES = ("RGB", "L", "RGBA", "P", "1", "I;16", "F", "CMYK", "LA")


def samples() -> list[tuple[str, bytes]]:
    """Valid files: every format in every supported mode, with metadata and several frames where supported."""
    Image.init()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112], exif[0x10F], exif[0x11A] = 6, "maker", 72.0
    made = []
    for name in sorted(set(FORMATS) & set(Image.SAVE)):
        for mode in MODES:
            if mode == "I;16":
                image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            else:
                image = Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)
            for options in ({}, {"exif": exif}, {"save_all": True, "append_images": [image.rotate(90)]}):
                file = io.BytesIO()
                try:
                    image.save(file, name, **options)
                except Exception:  # the format does not take the mode
                    continue
                made.append((f"{name} {mode}", file.getvalue()))
    return list(dict.fromkeys(made))


def cut(content: bytearray, other: bytes, chance: random.Random) -> bytearray:
    return content[: chance.randrange(len(content))]


def bits(content: bytearray, other: bytes, chance: random.Random) -> bytearray:
    for _ in range(chance.randint(1, 12)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def header(content: bytearray, other: bytes, chance: random.Random) -> bytearray:
    length = chance.randint(2, 64)
    content[:length] = other[:length]
    return content


def metadata(content: bytearray, other: bytes, chance: random.Random) -> bytearray:
    """Changes values in headers, chunks and directories."""
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(min(200, len(content)))
        value = chance.choice(
            [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01", chance.randbytes(4)]
        )
        content[place : place + 4] = value[: len(content[place : place + 4])]
    return content


def spliced(content: bytearray, other: bytes, chance: random.Random) -> bytearray:
    start, length = chance.randrange(len(content)), chance.randint(1, 64)
    return content[:start] + other[start : start + length] + content[start + chance.choice([0, length]) :]


DAMAGES: list[Callable[[bytearray, bytes, random.Random], bytearray]] = [cut, bits, header, metadata, spliced]


def damaged(number: int, sound: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """A damaged file and its description, deterministic for a given number."""
    chance = random.Random(f"damage {number}")
    name, content = sound[number % len(sound)]
    damage = DAMAGES[chance.randrange(len(DAMAGES))]
    return f"{name} {damage.__name__}", bytes(damage(bytearray(content), chance.choice(sound)[1], chance))


def decode(start: int, count: int) -> None:
    """Decodes damaged files; prints a line before each and a line of JSON at the end."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sound, outcomes, failures = samples(), Counter[str](), list[str]()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.png")
        for number in range(start, start + count):
            kind, content = damaged(number, sound)
            print(f"{number} {kind}", flush=True)
            path.write_bytes(content)
            began = time.process_time()
            try:
                pixels = read_image(path, 16, Counter())
                assert pixels.shape == (16, 16, 3)
                assert pixels.dtype == np.uint8
                outcomes["decoded"] += 1
            except UnreadableImage as error:
                outcomes["refused"] += 1
                if str(path) not in str(error) or "\n" in str(error):
                    failures.append(f"{number} {kind}: {error}")
            except BaseException as error:
                failures.append(f"{number} {kind}: {error!r}")
            seconds = time.process_time() - began
            slowest = max(slowest, seconds)
            if seconds > PATIENCE:
                failures.append(f"{number} {kind}: {seconds:.0f} s")
    print(json.dumps({"outcomes": outcomes, "failures": failures, "slowest": slowest, "samples": len(sound)}))


def outcome(start: int, count: int, seconds: float) -> dict[str, object]:
    """Outcomes of damaged files, decoded in a separate process.

    Raises:
        AssertionError: The process hung or died; the message names the file.
    """
    command = [sys.executable, __file__, str(start), str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode().splitlines()
        raise AssertionError(f"no end after {seconds:.0f} s, at {lines[-1] if lines else 'the start'}") from error
    last = (done.stdout.splitlines() or [""])[-1]
    assert done.returncode == 0, f"the process died with {done.returncode} at {last}: {done.stderr[-300:]}"
    found: dict[str, object] = json.loads(last)
    return found


def add_to_catalog() -> None:
    """Registers the fault. A process that only decodes skips the harness, which imports torch."""
    from harness import Tally, fault

    @fault(
        "Untrusted input",
        "Damaged images of every format that Pillow writes: truncated, bits flipped, changed headers, metadata and chunks",
        "Decoded, or one line that names the file; no other error, no hang",
        short=150,
        long=2000,
    )
    def damaged_images(tally: Tally, times: int, folder: Path) -> None:
        found: dict[str, object] = {}
        with tally.attempt(f"{times} images"):
            found = outcome(0, times, 120 + times / 5)
        failures, outcomes = found.get("failures", []), found.get("outcomes", {})
        assert isinstance(failures, list)
        assert isinstance(outcomes, dict)
        tally.tried = max(tally.tried, times)
        tally.failures += failures
        tally.notes.append(f"{outcomes.get('decoded', 0)} decoded, {outcomes.get('refused', 0)} refused")


if __name__ == "__main__":
    decode(int(sys.argv[1]), int(sys.argv[2]))
else:
    add_to_catalog()

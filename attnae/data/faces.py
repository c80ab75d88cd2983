"""Embedded faces: procedural portraits, any number at any size, with known positions and colors of the eyes.

A head is symmetric except for the eye colors, but the light is not. A portrait therefore differs from its mirror image, and a
model that copies one side to the other can be detected.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from attnae.data.decode import UInt8

Floats = np.ndarray
"""float32 array."""

TWO_COLORS = 0.2
"""Probability that the eyes have different colors."""

IRISES = np.array(
    [
        [0.36, 0.20, 0.09],  # brown
        [0.62, 0.36, 0.10],  # amber
        [0.25, 0.55, 0.25],  # green
        [0.20, 0.45, 0.80],  # blue
        [0.50, 0.58, 0.66],  # gray
    ],
    np.float32,
)
SKINS = np.array(
    [[0.98, 0.84, 0.74], [0.93, 0.75, 0.60], [0.82, 0.60, 0.44], [0.60, 0.41, 0.28], [0.42, 0.27, 0.18]], np.float32
)
HAIRS = np.array(
    [[0.10, 0.08, 0.08], [0.28, 0.17, 0.10], [0.50, 0.32, 0.16], [0.86, 0.70, 0.42], [0.62, 0.26, 0.12]], np.float32
)

EYE_X, EYE_Y = 0.112, -0.015
"""Position of the eyes in units of the head: horizontal and vertical distance from its center."""


class Eyes(NamedTuple):
    """The eyes of n portraits. The first eye of a pair is on the left of the image.

    Attributes:
        centers: Centers of the irises (n, 2, 2), x from the left and y from the top in fractions of the image's side.
        radius: Radius of the irises (n,) in fractions of the image's side.
        colors: RGB (n, 2, 3) in [0, 1] before lighting.
    """

    centers: Floats
    radius: Floats
    colors: Floats


def portraits(train: bool, count: int, size: int) -> UInt8:
    """The first portraits of a split. Portrait i depends only on split, i and size.

    Args:
        train: Training or held-out portraits: different faces from the same distribution.
        count: Number of portraits.
        size: Height and width in pixels.

    Returns:
        uint8 array of shape (count, size, size, 3).
    """
    pictures = [portrait(train, index, size) for index in range(count)]
    return np.stack(pictures) if pictures else np.empty((0, size, size, 3), np.uint8)


def eyes(train: bool, indices: ArrayLike) -> Eyes:
    """Positions and colors of the eyes of some portraits.

    Args:
        train: Training or held-out portraits.
        indices: Indices of the portraits, integers (n,).
    """
    people = [_Person(train, int(index)) for index in np.asarray(indices)]
    return Eyes(
        np.array(
            [[person.place(side * EYE_X + person.gaze, EYE_Y) for side in (-1, 1)] for person in people], np.float32
        ).reshape(-1, 2, 2),
        np.array([person.iris * person.scale for person in people], np.float32),
        np.array([person.irises for person in people], np.float32).reshape(-1, 2, 3),
    )


class _Person:
    """All random parameters of a portrait, determined by split and index."""

    def __init__(self, train: bool, index: int):
        self.random = random = np.random.default_rng([20261, int(train), index])

        def mixed(palette: Floats, spread: float) -> Floats:
            first, second = palette[random.integers(len(palette), size=2)]
            blend = first + random.uniform(0, 0.4) * (second - first) + random.normal(0, spread, 3)
            return np.asarray(blend.clip(0.04, 0.98), np.float32)

        # Pose: center and size of the head in fractions of the image's side, and its tilt.
        self.x, self.y = 0.5 + random.uniform(-0.04, 0.04), 0.47 + random.uniform(-0.03, 0.03)
        self.scale = random.uniform(1.06, 1.24)
        tilt = random.uniform(-0.08, 0.08)
        self.cos, self.sin = math.cos(tilt), math.sin(tilt)
        # Light: direction and color.
        light = (random.choice((-1.0, 1.0)) * random.uniform(0.45, 0.85), random.uniform(-0.5, -0.1), 0.6)
        self.light = tuple(float(part) / math.hypot(*light) for part in light)
        self.ambient = random.uniform(0.45, 0.65)
        self.tint = 1 + random.uniform(-0.06, 0.06) * np.array([1, 0, -1], np.float32)
        # Colors.
        self.skin, self.hair = mixed(SKINS, 0.015), mixed(HAIRS, 0.02)
        # Muted, or a small codebook represents walls before it represents faces.
        colors = random.uniform(0.1, 0.9, (3, 3))
        gray = colors.mean(1, keepdims=True)
        self.clothes, self.wall, self.wall_2 = (gray + 0.25 * (colors - gray)).astype(np.float32)
        one, other = random.choice(len(IRISES), 2, replace=False)
        pair = [one, other] if random.random() < TWO_COLORS else [one, one]
        self.irises = (IRISES[pair] + random.normal(0, 0.02, 3)).clip(0, 1).astype(np.float32)
        # Shape, in units of the head.
        self.width, self.height = random.uniform(0.235, 0.275), random.uniform(0.315, 0.35)
        self.jaw = random.uniform(0.1, 0.4)
        self.iris, self.gaze = random.uniform(0.034, 0.040), random.uniform(-0.012, 0.012)
        self.mouth, self.smile = random.uniform(0.07, 0.11), random.uniform(-0.2, 1)
        self.open = max(0.0, random.uniform(-0.01, 0.022))
        self.nose = random.uniform(0.035, 0.05)
        self.brow, self.arch = random.uniform(0.007, 0.013), random.uniform(0, 0.03)
        self.hairline, self.fringe = random.uniform(0.13, 0.21), random.uniform(-0.6, 1.6)
        self.length, self.volume = random.uniform(0, 0.3), random.uniform(0.03, 0.08)
        self.strands = random.uniform(35, 70)
        self.beard = random.uniform(0.4, 0.85) if random.random() < 0.25 else 0.0
        self.stripes = random.uniform(20, 60)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Converts a point of the head to fractions of the image's side."""
        return (
            self.x + self.scale * (self.cos * x - self.sin * y),
            self.y + self.scale * (self.sin * x + self.cos * y),
        )


def portrait(train: bool, index: int, size: int) -> UInt8:
    """One portrait, uint8 (size, size, 3); see :func:`portraits`."""
    person = _Person(train, index)
    drawing = _Drawing(person, size)
    _paint_body(person, drawing)
    edge = _paint_face(person, drawing)
    _paint_eyes(person, drawing)
    _paint_mouth(person, drawing)
    # Hair over the forehead.
    mirrored, y = drawing.mirrored, drawing.y
    line_y = -person.hairline - person.fringe * (0.02 - mirrored**2) + 0.012 * np.cos(mirrored * 90)
    drawing.paint(drawing.inside(np.minimum(edge + 0.02, line_y - y)), person.hair, drawing.hair)
    return np.ascontiguousarray((drawing.picture * 255).clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))


class _Drawing:
    """An image painted from back to front.

    Attributes:
        x: Horizontal position of each pixel in units of the head (size, size), from its center.
        y: Vertical position of each pixel, downward.
        mirrored: Distance from the head's axis, for symmetric shapes.
        picture: RGB (3, size, size).
        face: Coverage of each pixel by the face, once painted.
    """

    def __init__(self, person: _Person, size: int):
        line = (np.arange(size, dtype=np.float32) + 0.5) / size
        across, down = (line - person.x)[None, :] / person.scale, (line - person.y)[:, None] / person.scale
        self.x, self.y = person.cos * across + person.sin * down, person.cos * down - person.sin * across
        self.pixel = 1 / (size * person.scale)
        self.mirrored = np.abs(self.x)
        self.noise = _noise(person.random, size)
        # Light on a sphere of the head's size; also used for hair, neck and shoulders.
        ball_x, ball_y = (self.x / 0.36).clip(-0.95, 0.95), (self.y / 0.46).clip(-0.95, 0.95)
        ball_z = np.sqrt((1 - ball_x**2 - ball_y**2).clip(0.05, 1))
        facing = (person.light[0] * ball_x + person.light[1] * ball_y + person.light[2] * ball_z).clip(0, 1)
        self.light = person.tint[:, None, None] * (person.ambient + 0.65 * facing)
        slope = line[None, :] * person.light[0] + line[:, None] * 0.5
        wall = (slope + 0.25 + 0.9 * self.noise).clip(0, 1)
        self.picture = person.wall[:, None, None] + wall * (person.wall_2 - person.wall)[:, None, None]
        strands = 0.5 + 0.5 * np.sin(
            person.strands * np.arctan2(self.mirrored + 0.02, 0.5 - self.y) + 6 * np.cos(9 * self.y)
        )
        self.hair, self.skin = 0.75 + 0.45 * strands + 0.8 * self.noise, 1 + 0.16 * self.noise  # reliefs
        self.face: Floats = np.zeros_like(self.x)

    def inside(self, depth: Floats) -> Floats:
        """Coverage of each pixel from its distance to the edge, in units of the head."""
        return (depth / self.pixel + 0.5).clip(0, 1)

    def paint(self, share: Floats, color: ArrayLike, relief: Floats | float = 1.0, lit: bool = True) -> None:
        """Paints a color (3,) times a relief (H, W) with the given coverage (H, W)."""
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        if not len(rows):
            return
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        texture = np.asarray(color, np.float32)[:, None, None]
        texture = texture * (relief[box] if isinstance(relief, np.ndarray) else relief)
        if lit:
            texture = texture * self.light[:, box[0], box[1]]
        beneath = self.picture[:, box[0], box[1]]
        beneath += share[box] * (texture - beneath)


def _ellipse(x: Floats, y: Floats, width: float, height: float) -> Floats:
    """Approximate distance to the edge of an ellipse around the origin; positive inside."""
    radius = np.sqrt((x / width) ** 2 + (y / height) ** 2) + 1e-6
    slope = np.sqrt((x / width**2) ** 2 + (y / height**2) ** 2) + 1e-6
    return radius * (1 - radius) / slope


def _paint_body(person: _Person, drawing: _Drawing) -> None:
    """Paints hair behind the face, neck, clothes and ears."""
    x, y, mirrored, noise = drawing.x, drawing.y, drawing.mirrored, drawing.noise
    hair, skin, paint, inside = drawing.hair, drawing.skin, drawing.paint, drawing.inside
    top = person.height + person.volume
    paint(
        inside(_ellipse(x, y + 0.02 - person.length / 2, person.width + person.volume, top + person.length / 2)),
        person.hair,
        hair,
    )
    paint(inside(np.minimum(0.1 + 0.1 * (y - 0.25) ** 2 * 8 - mirrored, y - 0.1)), person.skin, 0.78 * skin)
    clothes = 0.85 + 0.2 * np.sin(person.stripes * y) + 0.8 * noise
    shoulders = _ellipse(x, y - 0.68, 0.46, 0.27)
    paint(inside(np.minimum(shoulders, -_ellipse(x, y - 0.40, 0.13, 0.07))), person.clothes, clothes)
    paint(inside(_ellipse(mirrored - person.width - 0.005, y - 0.02, 0.035, 0.065)), person.skin, 0.9 * skin)


def _paint_face(person: _Person, drawing: _Drawing) -> Floats:
    """Paints face, cheeks and beard. Returns the distance to the edge of the face."""
    x, y, mirrored, noise = drawing.x, drawing.y, drawing.mirrored, drawing.noise
    paint, inside, skin = drawing.paint, drawing.inside, drawing.skin
    narrow = person.width * (1 - person.jaw * (y / person.height).clip(0, 1) ** 2)
    edge = _ellipse(x * (person.width / narrow), y, person.width, person.height)
    face = drawing.face = inside(edge)
    paint(face, person.skin, skin)
    paint(
        face * 0.25 * np.exp(-((mirrored - 0.13) ** 2 + (y - 0.09) ** 2) / 0.004),
        person.skin * np.array([1.05, 0.6, 0.55], np.float32),
    )
    if person.beard:
        upper = 0.15 - 1.1 * (mirrored - 0.1).clip(0, None)
        chin = face * ((y - upper) / 0.05).clip(0, 1) * inside(-_ellipse(x, y - 0.2, person.mouth, 0.03))
        paint(chin * person.beard, person.hair * 0.6, 1 + 2 * noise)
    return edge


def _paint_eyes(person: _Person, drawing: _Drawing) -> None:
    """Paints eye sockets, whites, irises, pupils, highlights, lids and brows."""
    x, y, mirrored, face = drawing.x, drawing.y, drawing.mirrored, drawing.face
    paint, inside = drawing.paint, drawing.inside
    paint(face * 0.3 * np.exp(-((mirrored - EYE_X) ** 2 + (y - EYE_Y + 0.01) ** 2) / 0.003), person.skin * 0.5)
    white = _ellipse(mirrored - EYE_X, y - EYE_Y, 0.068, 0.043)
    paint(inside(white), [0.96, 0.95, 0.93])
    for side, color in zip((-1, 1), person.irises, strict=True):
        eye_x, eye_y = x - side * EYE_X - person.gaze, y - EYE_Y
        radius = np.sqrt(eye_x**2 + eye_y**2)
        within = inside(np.minimum(person.iris - radius, white))
        paint(within, color, 1.08 - 0.25 * (radius / person.iris) ** 4)
        paint(inside(0.4 * person.iris - radius), [0.03, 0.03, 0.03])
        lamp = np.hypot(eye_x - math.copysign(0.3 * person.iris, person.light[0]), eye_y + 0.3 * person.iris)
        paint(0.9 * inside(0.2 * person.iris - lamp), [1, 1, 1], lit=False)
    paint(inside(0.006 - np.abs(white)) * inside(EYE_Y + 0.01 - y), person.hair * 0.4)
    arc = y - EYE_Y + 0.075 + person.arch - 9 * person.arch * (mirrored - EYE_X) ** 2 * 25
    paint(inside(np.minimum(person.brow - np.abs(arc), 0.062 - np.abs(mirrored - EYE_X))), person.hair * 0.8)


def _paint_mouth(person: _Person, drawing: _Drawing) -> None:
    """Paints nose and mouth."""
    x, y, mirrored, face = drawing.x, drawing.y, drawing.mirrored, drawing.face
    paint, inside = drawing.paint, drawing.inside
    bridge = np.exp(-((mirrored / 0.016) ** 2) - ((y - 0.03) / 0.08) ** 2)
    paint(0.35 * face * bridge, (person.skin * 1.25).clip(0, 1))
    paint(0.8 * inside(_ellipse(mirrored - 0.55 * person.nose, y - 0.118, 0.012, 0.007)), person.skin * 0.35)
    paint(0.3 * face * np.exp(-((mirrored / person.nose) ** 2) - ((y - 0.125) / 0.012) ** 2), person.skin * 0.55)
    bow = y - 0.2 + person.smile * 3 * (mirrored**2 - 0.003)
    paint(
        inside(_ellipse(x, bow, person.mouth, 0.026 + person.open)),
        person.skin * np.array([0.88, 0.52, 0.52], np.float32),
    )
    gap = _ellipse(x, bow, person.mouth * 0.85, 0.004 + person.open)
    paint(inside(gap), [0.25, 0.07, 0.07])
    if person.open > 0.006:
        paint(inside(np.minimum(gap, 0.3 * person.open - bow)), [0.95, 0.93, 0.9])


def _noise(random: np.random.Generator, size: int) -> Floats:
    """Smooth noise (size, size) of four octaves, consistent across sizes, roughly in [-0.3, 0.3]."""
    total = np.zeros((size, size), np.float32)
    for cells, strength in ((4, 0.12), (10, 0.07), (24, 0.04), (48, 0.03)):
        lattice = random.normal(0, strength, (cells + 1, cells + 1)).astype(np.float32)
        at = (np.arange(size, dtype=np.float32) + 0.5) / size * cells
        left = at.astype(int)
        share = at - left
        share = share * share * (3 - 2 * share)
        rows = lattice[left] * (1 - share)[:, None] + lattice[left + 1] * share[:, None]
        total += rows[:, left] * (1 - share) + rows[:, left + 1] * share
    return total

"""Per-image comparison of one pair of trained networks. It does not cover the variation between seeds."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attnae.errors import UserError
from attnae.paths import shown
from attnae.result import Result

RESAMPLES = 2000
BATCH = 100
"""Number of resamples drawn at once; for 5,000 images they take 4 MB."""

ARRAYS = {
    "psnr_mean": "psnr",
    "ssim_mean": "ssim",
    "ssim_gauss_mean": "ssim_gauss",
    "sse": "sse",
    "mse": "sse",
    "mae": "sae",
    "mae_over_sigma": "sae",
}
"""Maps metrics to arrays of ``per_image.npz``. The metric is the array's mean, up to a constant factor."""

TOLERANCE = 1e-3
"""Maximum relative difference between a recorded metric and the mean of its array, kept in single precision."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ImageStatement:
    """Number of images on which one network is better, and the mean difference.

    Attributes:
        better: Number of images on which left is better.
        worse: Number of images on which it is worse; the rest are ties.
        n: Number of images.
        mean: Mean of left minus right.
        low: Lower end of the 95% bootstrap interval over images.
        high: Upper end.
    """

    better: int
    worse: int
    n: int
    mean: float
    low: float
    high: float

    def words(self, digits: int = 2, unit: str = "-") -> str:
        """``with these weights better on 74% of 512 images, -15.9 [-19.5, -12.5]; variation between seeds is not covered``.

        Args:
            digits: Digits after the decimal point.
            unit: Unit of the metric; "-" for none.
        """
        mean, low, high = (f"{value:+,.{digits}f}" for value in (self.mean, self.low, self.high))
        unit = "" if unit == "-" else f" {unit}"
        share = f"{100 * self.better / self.n:.0f}% of {self.n:,} images"
        return f"with these weights better on {share}, {mean} [{low}, {high}]{unit}; variation between seeds is not covered"


def compare(left: Array, right: Array, better: Literal["lower", "higher"]) -> ImageStatement | None:
    """Compares two networks image by image.

    The interval is a percentile bootstrap of the mean over images with a fixed random seed.

    Args:
        left: One value per image.
        right: The same images in the same order.
        better: Direction of the metric.

    Returns:
        ``None`` if the images differ in number or fewer than two have finite numbers on both sides.
    """
    if left.shape != right.shape or left.ndim != 1:
        return None
    gaps = left.astype(np.float64) - right.astype(np.float64)
    gaps = gaps[np.isfinite(gaps)]
    if len(gaps) < 2:
        return None
    low, high = bootstrap(gaps)
    signs = np.sign(gaps) if better == "higher" else -np.sign(gaps)
    return ImageStatement(int((signs > 0).sum()), int((signs < 0).sum()), len(gaps), float(gaps.mean()), low, high)


def bootstrap(values: Array) -> tuple[float, float]:
    """95% percentile interval of the mean.

    Args:
        values: Finite numbers (N,), two or more.
    """
    # RandomState gives the same numbers in every version of NumPy, so that committed reports can be verified.
    random = np.random.RandomState(0)
    center = values.mean()  # centered before resampling, to keep precision if the offset is large
    means = np.concatenate(
        [
            (values - center)[random.randint(0, len(values), (BATCH, len(values)))].mean(1)
            for _ in range(RESAMPLES // BATCH)
        ]
    )
    low, high = np.quantile(means, (0.025, 0.975)) + center
    return float(low), float(high)


def read(path: Path, key: str, recorded: float | None = None) -> Array | None:
    """A metric of every image, in the unit of the recorded metric.

    Args:
        path: ``per_image.npz`` of a run.
        key: ``"<protocol>/<name>"``.
        recorded: The metric in the run's record, which is the mean over the images. Sums over pixels are scaled to it.

    Returns:
        ``None`` if the file or the array does not exist, the metric is not a mean over images, or the mean is not the
        recorded metric: the file is of another run.

    Raises:
        UserError: The file is damaged or contains pickled objects.
    """
    protocol, _, name = key.rpartition("/")
    if name not in ARRAYS or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if f"{protocol}/{ARRAYS[name]}" not in arrays:
                return None
            values = np.asarray(arrays[f"{protocol}/{ARRAYS[name]}"], dtype=np.float64)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(
            f"Cannot read {shown(path)}: it is damaged or contains pickled objects. Delete it, then rerun with --retest."
        ) from error
    mean = float(values.mean()) if values.size else 0.0
    if name in ("mse", "mae", "mae_over_sigma"):
        return values * (recorded / mean) if recorded is not None and mean else None
    return values if recorded is None or math.isclose(mean, recorded, rel_tol=TOLERANCE) else None


def kept(folder: Path, run: Result) -> dict[str, Array]:
    """All per-image metrics of a run, by ``"<protocol>/<name>"``; see :func:`read`.

    Args:
        folder: The run's folder, or ``runs/`` of a report.
        run: The run.
    """
    path = file(folder, run)
    found = {key: read(path, key, value) for key, value in run.metrics.items()}
    return {key: values for key, values in found.items() if values is not None}


def file(folder: Path, run: Result) -> Path:
    """The file with the per-image metrics of a run, in the run's folder or in ``runs/`` of a report; it may be missing."""
    path = folder / "per_image.npz"
    return path if path.is_file() else folder / per_image_name(run.variant, run.seed)


def per_image_name(variant: str, seed: int) -> str:
    """Name of the file with per-image metrics next to a kept record."""
    return f"{variant}-seed{seed}.npz"

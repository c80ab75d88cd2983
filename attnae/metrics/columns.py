"""Defines every metric in ``result.json`` and reports: formula, unit, range and direction. Plain Python.

``python -m attnae.metrics.columns`` prints the page as Markdown; ``attnae/metrics/README.md`` is that output.

Symbols: x is an image of C x H x W values in [0, 1], y its reconstruction clamped to [0, 1], D = C H W; sums run over
the values of one image; a metric without "std" or "p" in its name is the mean over images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Column:
    """Definition of a metric.

    Attributes:
        name: Key in ``result.json``, without the protocol.
        title: Heading in a table.
        formula: Definition.
        unit: Unit, or "-" for pure numbers.
        range: Smallest and largest value.
        better: Direction; "-" if there is none or another column is equivalent.
        digits: Digits after the point in a table.
        kind: ``quality`` is computed on test images and may be logged during training; ``counted`` is a cost that does not
            depend on machine or seed; ``measured`` is a cost that depends on the machine; ``curve`` is only logged during
            training.
        indices: Number of indices after the name: ``route_prob_0_2`` has 2.
    """

    name: str
    title: str
    formula: str
    unit: str
    range: str
    better: Literal["lower", "higher", "-"]
    digits: int
    kind: Literal["quality", "counted", "measured", "curve"] = "quality"
    indices: int = 0

    @property
    def heading(self) -> str:
        """Title with an arrow for the better direction."""
        return self.title + {"lower": " ↓", "higher": " ↑", "-": ""}[self.better]

    @property
    def cost(self) -> bool:
        """Whether the metric is a cost of training or of the network."""
        return self.kind in ("counted", "measured")


_ALL = [
    Column("mse", "MSE", "sum (x - y)^2 / D", "squared pixel value", "[0, 1]", "lower", 5),
    Column("sse", "squared error per image", "sum (x - y)^2; the SAAAE paper's \"MSE\"", "squared pixel value", "[0, D]", "lower", 2),
    Column("kl", "KL", "-1/2 sum (1 + log s^2 - m^2 - s^2) over the latents, posterior N(m, s^2) against N(0, 1); for the VAE with learned relevance, against its prior N(0, v)", "nat per image", "[0, inf)", "-", 2),
    Column("kl_mse", "KL+MSE", "training objective of the last epoch as in the SAAAE paper: squared error in [-1, 1] (4 times that in [0, 1]) plus KL, mean per image / 20.48, which equals the sum over 5,000 images / (256 x 20 x 20)", "-", "[0, inf)", "lower", 2),
    Column("kl_gated", "gated KL", "KL of the gated posterior N(m, (g s)^2), where g is the gate on the noise, against the same prior; gates are clamped to at least 1e-6; equal to KL for a plain VAE", "nat per image", "[0, inf)", "-", 2),
    Column("kl_mse_gated", "KL+MSE, gated", "kl_mse with the gated KL, even if training minimizes the other", "-", "[0, inf)", "lower", 2),
    Column("mae", "MAE", "sum |x - y| / D", "pixel value", "[0, 1]", "lower", 4),
    Column("mae_over_sigma", "MAE/sigma", "mae / standard deviation of all values of all x; missing if the standard deviation is below 0.001 (images without contrast)", "-", "[0, inf)", "lower", 4),
    Column("sigma", "sigma", "population standard deviation of all values of all x, channels together", "pixel value", "[0, 0.5]", "-", 4),
    Column("power", "power", "mean of x^2 over all values of all x: the MSE of black images", "squared pixel value", "[0, 1]", "-", 4),
    Column("symmetry", "symmetry error", "sum |(y - flip y) - (x - flip x)| / D / sigma, where flip mirrors left and right; missing where MAE/sigma is", "-", "[0, inf)", "lower", 4),
    Column("symmetry_ratio", "symmetry / MAE", "symmetry / mae_over_sigma: the symmetry error relative to the reconstruction error", "-", "[0, 2]", "lower", 3),
    Column("eye_color", "eye color error", "mean over R, G, B of |(left - right eye in y) - (left - right eye in x)|, where an eye is the mean color over its iris; only for faces with known eye positions", "pixel value", "[0, 2]", "lower", 4),
    Column("active_codes", "active codes", "number of codes of a level's codebook used at least once over all images; _l is level l, where level 1 is the lowest, with the largest map", "-", "[1, K]", "-", 0, indices=1),
    Column("perplexity", "perplexity", "exp(entropy) of the code usage of a level over all images; _l is level l", "-", "[1, K]", "-", 1, indices=1),
    Column("bits_per_pixel", "bits/pixel", "entropy of how often the codes of a level are used over all images x codes, summed over the levels, per pixel: what the codes cost an entropy coder that knows those shares and nothing of neighboring codes", "bit per pixel", "[0, inf)", "lower", 4),
    Column("psnr_mean", "PSNR", "10 log10 (1 / mse) of each image, at most 100", "dB", "[0, 100]", "higher", 2),
    Column("psnr_std", "PSNR std", "population standard deviation of the images' PSNR", "dB", "[0, 50]", "-", 2),
    Column("psnr_p10", "PSNR 10%", "10% quantile of the images' PSNR", "dB", "[0, 100]", "higher", 2),
    Column("psnr_p50", "PSNR median", "median of the images' PSNR", "dB", "[0, 100]", "higher", 2),
    Column("psnr_p90", "PSNR 90%", "90% quantile of the images' PSNR", "dB", "[0, 100]", "higher", 2),
    Column("ssim_mean", "SSIM 7x7", "structural similarity with scikit-image's defaults: uniform 7x7 window, sample covariance, K1 0.01, K2 0.03, 3 pixels of border cropped, mean over channels", "-", "[-1, 1]", "higher", 4),
    Column("ssim_std", "SSIM std", "population standard deviation of the images' SSIM 7x7", "-", "[0, 1]", "-", 4),
    Column("ssim_gauss_mean", "SSIM Gauss", "structural similarity with torchmetrics' defaults: Gaussian 11x11 window of sigma 1.5, K1 0.01, K2 0.03; includes windows over the border (torchmetrics before 1.4.2 excluded them)", "-", "[-1, 1]", "higher", 4),
    Column("lpips", "LPIPS", "distance between AlexNet features of x and y, Zhang et al. 2018 (version 0.1), computed by torchmetrics; only with perceptual=true", "-", "[0, inf)", "lower", 4),
    Column("rfid", "rFID", "Frechet distance between Inception's 2,048 pooled features of all x and all y, computed by torchmetrics; larger for fewer images, so compare only equal numbers of images; only with perceptual=true", "-", "[0, inf)", "lower", 2),
    Column("gate_mean", "gate", "mean over images and latents of the factor on the posterior's noise; 1 for a plain VAE", "-", "[0, 1]", "-", 3),
    Column("active_units", "active latents", "number of latents whose posterior mean has a variance above 0.01 over all images, in units of the prior's variance (Burda et al. 2016)", "-", "[0, latents]", "-", 0),
    Column("route_prob", "probability", "mean routing probability of an expert over tokens and images; _b_e is block b, expert e", "-", "[0, 1]", "-", 3, indices=2),
    Column("route_std", "probability std", "standard deviation of that probability over all tokens", "-", "[0, 1]", "-", 3, indices=2),
    Column("route_argmax", "argmax share", "share of tokens whose largest probability is the expert's", "-", "[0, 1]", "-", 3, indices=2),
    Column("route_edge", "edge correlation", "correlation over tokens of the probability with the mean Sobel gradient of the token's clean patch", "-", "[-1, 1]", "-", 3, indices=2),
    Column("route_entropy", "entropy", "mean entropy of a token's routing probabilities; _b is block b", "nat", "[0, log E]", "-", 3, indices=1),
    Column("dead", "dead", "share of an image's values that are exactly 0 or 1 in every output of the set", "-", "[0, 1]", "lower", 4),
    Column("dead_rows", "dead rows", "number of rows of the last layer (C x p x p outputs per patch of p x p pixels) whose outputs are exactly 0 or 1 in every patch of every image of the set", "-", "[0, C p p]", "lower", 1),
    Column("images", "images", "number of images evaluated", "-", "[1, inf)", "-", 0),
    Column("loss", "training loss", "training objective, mean over the images of an epoch; see the paper's README", "-", "(-inf, inf)", "lower", 5, "curve"),
    Column("reconstruction", "reconstruction loss", "first term of the VQ-VAE's loss: mean absolute error over the images of an epoch; mean squared error with reconstruction=l2", "pixel value", "[0, 1]", "lower", 4, "curve"),
    Column("vq", "codebook loss", "codebook and commitment losses, mean over the images of an epoch", "-", "[0, inf)", "lower", 5, "curve"),
    Column("adversarial", "adversarial loss", "adversarial loss of the autoencoder", "-", "(-inf, inf)", "lower", 4, "curve"),
    Column("discriminator", "discriminator loss", "loss of the discriminator on real and reconstructed images", "-", "[0, inf)", "-", 4, "curve"),
    Column("discriminator_accuracy", "discriminator accuracy", "balanced accuracy of the discriminator over patches of real and reconstructed images", "-", "[0, 1]", "-", 3, "curve"),
    Column("grad_norm", "gradient norm", "Euclidean norm of the gradient of all parameters before clipping, mean over the steps of an epoch", "-", "[0, inf)", "-", 3, "curve"),
    Column("params_trainable", "parameters", "number of values updated in training, codebooks included", "-", "[0, inf)", "lower", 0, "counted"),
    Column("params_total", "parameters (all)", "number of all parameters, including frozen ones", "-", "[0, inf)", "-", 0, "counted"),
    Column("params_keras", "parameters (Keras)", "number of parameters as counted by Keras, including running statistics of BatchNorm and codebooks", "-", "[0, inf)", "-", 0, "counted"),
    Column("gflops_forward", "GFLOPs", "floating-point operations of one image's forward pass by torch's flop counter (2 per multiply-add; matrix products and convolutions)", "10^9 per image", "[0, inf)", "lower", 3, "counted"),
    Column("seconds_per_epoch", "s/epoch", "median over the training epochs except the first, without validation and checkpoints", "s", "(0, inf)", "lower", 2, "measured"),
    Column("cpu_seconds_per_epoch", "CPU s/epoch", "seconds of all processor cores together in the same epochs, median; near seconds_per_epoch times the threads where nothing else ran", "s", "(0, inf)", "-", 2, "measured"),
    Column("images_per_second", "images/s", "training images per epoch / seconds_per_epoch", "1/s", "(0, inf)", "-", 0, "measured"),
    Column("peak_memory_mb", "peak memory", "peak memory of the training: allocated memory on the GPU, or resident memory of the process on the CPU", "10^6 byte", "(0, inf)", "lower", 0, "measured"),
]  # fmt: skip

COLUMNS: dict[str, Column] = {column.name: column for column in _ALL}
"""All columns by name."""

PROTOCOLS: dict[str, str] = {
    "heldout": "held-out images, each with its own fixed corruption; variational models decode the posterior's mean",
    "heldout_as_trained": "held-out images, with BatchNorm's statistics as trained where `heldout` has recomputed ones",
    "heldout_sampled": "held-out images, each with its own fixed corruption, decoding one sample of the posterior, seeded by the image's position",
    "heldout_sigma_<s>": "held-out images with Gaussian noise of standard deviation s, fixed for each image",
    "train_set": "the paper's protocol on 256 training images, decoding a sample",
}
"""Protocols: images and procedure of a metric; the part of a key before the slash."""


COSTS: tuple[str, ...] = tuple(column.name for column in _ALL if column.cost and column.better != "-")
"""Names of the costs shown in every comparison."""


_others: dict[str, dict[str, Column]] = {}
"""Columns of benchmarks outside the package, by benchmark."""


def define(benchmark: str, columns: Iterable[Column]) -> None:
    """Adds the columns of a benchmark outside the package, in place of those that it had.

    Raises:
        ValueError: Another benchmark defines one of them differently; reports of both may be on one page.
    """
    added = {column.name: column for column in columns}
    for other, theirs in _others.items():
        for name in added.keys() & theirs.keys() if other != benchmark else ():
            if added[name] != theirs[name]:
                raise ValueError(f"{name}: the benchmark {other} defines it differently; choose another name")
    _others[benchmark] = added


def defined(name: str) -> Column | None:
    """The package's definition of a name without a protocol; ``None`` if it has none.

    Names with indices, such as ``route_prob_0_2``, share the definition of the name without them.
    """
    if name in COLUMNS:
        return COLUMNS[name]
    stem = re.sub(r"(_\d+)+$", "", name)
    numbers = name[len(stem) :].split("_")[1:]
    if stem in COLUMNS and COLUMNS[stem].indices == len(numbers):
        return replace(COLUMNS[stem], name=name, title=f"{COLUMNS[stem].title} {'.'.join(numbers)}")
    return None


def column(key: str) -> Column:
    """Definition of ``"<protocol>/<name>"`` or a bare name, see also :func:`define`. Unknown names get a generic one."""
    name = key.rsplit("/", 1)[-1]
    others = (columns[name] for columns in _others.values() if name in columns)
    generic = Column(name, name.replace("_", " "), "see the paper's README", "-", "-", "-", 4)
    return defined(name) or next(others, generic)


def is_protocol(name: str) -> bool:
    """Whether a protocol is defined. ``<s>`` in a name matches any number."""
    return name in PROTOCOLS or bool(re.fullmatch(r"heldout_sigma_\d+(\.\d+)?", name))


def page() -> str:
    """The definitions as Markdown."""
    lines = ["# Metrics", "", *(__doc__ or "").split("\n\n", 2)[2].strip().splitlines(), ""]
    lines += [
        "| protocol | images and procedure |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in PROTOCOLS.items()),
        "",
    ]
    lines += ["| key | column | definition | unit | range | better |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.title} | {c.formula.replace('|', chr(92) + '|')} | {c.unit} | {c.range} | {c.better} |"
        for c in _ALL
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")

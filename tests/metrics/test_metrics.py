"""Metrics against scikit-image, against NumPy, and against their own definitions page."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

import attnae.metrics
from attnae.metrics import columns
from attnae.metrics.columns import COLUMNS, PROTOCOLS, Column, column, page
from attnae.metrics.faces import symmetry_error
from attnae.metrics.functional import PSNR_LIMIT, psnr, ssim_gaussian, ssim_uniform
from attnae.metrics.images import ImageQuality


def smooth(count: int, seed: int, side: int = 24) -> Tensor:
    """Random images with structure: noise at an eighth of the size, enlarged, plus a little noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=generator)
    fine = torch.rand(count, 3, side, side, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear") * 0.9 + fine * 0.1


def flat(*levels: float) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 24, 24).contiguous()


def pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Named outputs and targets: everyday ones and the corners."""
    images, noise = smooth(4, 0), torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(9))
    yield "independent", images, smooth(4, 1)
    yield "noise", noise, noise.flip(0)
    yield "close", (images + 0.02 * (noise - 0.5)).clamp(0, 1), images
    yield "identical", images, images
    yield "inverted", 1 - images, images
    yield "flat and flat", flat(0, 0.3, 1, 0.999), flat(1, 0.3, 1, 0.5)
    yield "flat and noise", flat(0, 0.5, 0.9, 1), noise
    yield "bright, nearly flat", 0.95 + 0.05 * noise, 0.95 + 0.05 * noise.flip(0)
    yield "brighter, flatter", 0.999 + 0.001 * noise, flat(1, 1, 1, 1)
    yield "dark, nearly flat", 0.01 * noise, 0.01 * images


def quiet(name: str, output: Tensor, target: Tensor) -> object:
    return pytest.param(output, target, id=name)


every_pair = pytest.mark.parametrize(("output", "target"), [quiet(*pair) for pair in pairs()])


def reference_ssim(output: Tensor, target: Tensor, **options: object) -> list[float]:
    both = zip(output.double().numpy(), target.double().numpy(), strict=True)
    return [structural_similarity(x, y, data_range=1.0, channel_axis=0, **options) for x, y in both]


# -- against scikit-image ---------------------------------------------------------------------------------------


@every_pair
def test_psnr_matches_scikit_image(output: Tensor, target: Tensor) -> None:
    with np.errstate(divide="ignore"):
        expected = [
            min(peak_signal_noise_ratio(y, x, data_range=1.0), PSNR_LIMIT)
            for x, y in zip(output.double().numpy(), target.double().numpy(), strict=True)
        ]
    np.testing.assert_allclose(psnr(output, target).numpy(), expected, atol=1e-4)


@every_pair
def test_ssim_matches_scikit_images_default(output: Tensor, target: Tensor) -> None:
    np.testing.assert_allclose(ssim_uniform(output, target).numpy(), reference_ssim(output, target), atol=1e-4)


GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def with_border(images: Tensor) -> Tensor:
    """Five mirrored pixels all around, half a window: the measure counts windows that reach over the edge.

    scikit-image leaves those windows out, as torchmetrics did before 1.4.2; on masked photographs of 64x64 that moves
    the mean by 0.05 to 0.1, so the two are different measures, equal only after this padding.
    """
    return torch.nn.functional.pad(images, (5, 5, 5, 5), mode="reflect")


@every_pair
def test_gaussian_ssim_matches_scikit_image_with_a_mirrored_border(output: Tensor, target: Tensor) -> None:
    expected = reference_ssim(with_border(output), with_border(target), **GAUSSIAN)
    np.testing.assert_allclose(ssim_gaussian(output, target).numpy(), expected, atol=1e-4)


@every_pair
def test_gaussian_ssim_matches_torchmetrics_default(output: Tensor, target: Tensor) -> None:
    expected = structural_similarity_index_measure(output.double(), target.double(), data_range=1.0, reduction="none")
    np.testing.assert_allclose(ssim_gaussian(output, target).numpy(), expected, atol=1e-4)


@given(
    seed=st.integers(0, 10_000),
    side=st.integers(7, 40),
    low=st.floats(0, 1),
    span=st.floats(0, 1),
    noise=st.floats(0, 0.5),
)
@settings(deadline=None, max_examples=40)
def test_psnr_and_ssim_of_any_image(seed: int, side: int, low: float, span: float, noise: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = (low + span * torch.rand(1, 3, side, side, generator=generator)).clamp(0, 1)
    output = (target + noise * (torch.rand(1, 3, side, side, generator=generator) - 0.5)).clamp(0, 1)
    np.testing.assert_allclose(ssim_uniform(output, target).numpy(), reference_ssim(output, target), atol=1e-4)
    error = float((output.double() - target.double()).square().mean())
    expected = min(10 * math.log10(1 / error), 100) if error else 100
    assert psnr(output, target).item() == pytest.approx(expected, abs=2e-3 if expected > 60 else 1e-4)


@pytest.mark.parametrize("allowed", ["highest", "high", "medium"])
def test_metrics_have_full_precision_under_autocast(allowed: str) -> None:
    torch.manual_seed(0)
    target = torch.rand(4, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    output = (target + 0.05 * torch.randn_like(target)).clamp(0, 1)
    before, quality = torch.get_float32_matmul_precision(), ImageQuality()
    torch.set_float32_matmul_precision(allowed)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            quality.update(output, target)
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision(before)
    images = [image.permute(1, 2, 0).double().numpy() for image in (*output, *target)]
    expected = [structural_similarity(images[i], images[i + 4], channel_axis=2, data_range=1) for i in range(4)]
    assert quality.compute()["ssim_mean"] == pytest.approx(np.mean(expected), abs=2e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssim_gaussian(output, target), quality.ssim_gauss[0])
    assert torch.equal(ssim_gaussian(output, target), quality.ssim_gauss[0])


def test_ssim_of_known_images() -> None:
    black_and_white = ssim_uniform(flat(0.0), flat(1.0)).item()
    assert black_and_white == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-3)  # c1 / (1 + c1) x c2 / c2
    for level in (0.0, 0.3, 1.0):
        assert ssim_uniform(flat(level), flat(level)).item() == pytest.approx(1)
        assert ssim_gaussian(flat(level), flat(level)).item() == pytest.approx(1)


def test_psnr_of_known_images() -> None:
    np.testing.assert_allclose(psnr(flat(0.5, 0.4, 1.0), flat(0.6, 0.4, 0.0)), [20, 100, 0], atol=1e-4)
    assert psnr(flat(0.5), flat(0.5)).item() == PSNR_LIMIT == 100
    assert psnr(flat(0.5), flat(0.5) + 1e-7).item() <= 100


@pytest.mark.parametrize("measure", [psnr, ssim_uniform, ssim_gaussian, symmetry_error])
def test_metrics_of_an_image_do_not_depend_on_the_batch(measure: object) -> None:
    assert callable(measure)
    output, target = smooth(5, 0), smooth(5, 1)
    whole = measure(output, target)
    assert whole.shape == (5,)
    torch.testing.assert_close(torch.cat([measure(output[n : n + 1], target[n : n + 1]) for n in range(5)]), whole)


# -- accumulated ------------------------------------------------------------------------------------------------


def computed(
    output: Tensor, target: Tensor, sizes: list[int], per_image_metrics: dict[str, Tensor] | None = None
) -> dict[str, float]:
    quality, splits = ImageQuality(), {name: values.split(sizes) for name, values in (per_image_metrics or {}).items()}
    for number, (one, truth) in enumerate(zip(output.split(sizes), target.split(sizes), strict=True)):
        quality.update(one, truth, {name: parts[number] for name, parts in splits.items()})
    return quality.compute()


@pytest.mark.parametrize("sizes", [[13], [5, 5, 3], [1] * 13, [12, 1]])
def test_metrics_match_numpy_for_any_batching(sizes: list[int]) -> None:
    output, target = smooth(13, 0), smooth(13, 1)
    kl = torch.rand(13, generator=torch.Generator().manual_seed(3)) * 50
    numbers = computed(output, target, sizes, {"kl": kl, "gate_mean": kl / 50, "symmetry": kl})

    x, y = target.double().numpy().reshape(13, -1), output.double().numpy().reshape(13, -1)
    sse, absolute = ((x - y) ** 2).sum(1), np.abs(x - y).mean(1)
    decibel = 10 * np.log10(1 / ((x - y) ** 2).mean(1))
    ssim = np.array(reference_ssim(output, target))
    gauss = reference_ssim(with_border(output), with_border(target), **GAUSSIAN)
    expected = {
        "mse": sse.mean() / (3 * 24 * 24),
        "sse": sse.mean(),
        "mae": absolute.mean(),
        "mae_over_sigma": absolute.mean() / x.std(),
        "sigma": x.std(),
        "power": (x**2).mean(),
        "psnr_mean": decibel.mean(),
        "psnr_std": decibel.std(),
        "psnr_p10": np.quantile(decibel, 0.1),
        "psnr_p50": np.median(decibel),
        "psnr_p90": np.quantile(decibel, 0.9),
        "ssim_mean": ssim.mean(),
        "ssim_std": ssim.std(),
        "ssim_gauss_mean": np.mean(gauss),
        "images": 13,
        "kl": kl.numpy().mean(),
        "gate_mean": kl.numpy().mean() / 50,
        "symmetry": kl.numpy().mean() / x.std(),  # given in pixel values, reported in sigmas
    }
    assert numbers.keys() == expected.keys()
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value, rel=1e-5, abs=1e-4 if "ssim" in name else 1e-9), name
    assert all(isinstance(value, float) for value in numbers.values())


def test_the_mean_over_images_is_not_the_mean_over_batches() -> None:
    output, target = flat(*[0.0] * 9, 1.0), flat(*[0.0] * 10)
    assert computed(output, target, [9, 1])["mse"] == pytest.approx(0.1)


def test_outputs_are_clamped_first() -> None:
    numbers = computed(flat(-3.0, 7.0), flat(0.0, 1.0), [2])
    assert numbers["mse"] == 0
    assert numbers["psnr_mean"] == 100
    assert numbers["ssim_mean"] == pytest.approx(1)
    wild = smooth(3, 0) * 4 - 1.5
    assert computed(wild, smooth(3, 1), [3]) == computed(wild.clamp(0, 1), smooth(3, 1), [3])


def test_sigma_is_over_all_values_of_all_targets() -> None:
    """Two flat images have no spread each, but one of 0.5 together."""
    numbers = computed(flat(0.25, 0.75), flat(0.0, 1.0), [1, 1])
    assert numbers["sigma"] == pytest.approx(0.5)
    assert numbers["mae_over_sigma"] == pytest.approx(0.25 / 0.5)


@pytest.mark.parametrize("level", [0.0, 0.3, 0.7, 1.0])
def test_ratios_are_missing_without_contrast(level: float) -> None:
    numbers = computed(flat(0.5, 0.5, 0.5), flat(level, level, level), [2, 1], {"symmetry": torch.ones(3)})
    assert math.isnan(numbers["mae_over_sigma"])
    assert math.isnan(numbers["symmetry"])
    assert numbers["sigma"] < 1e-3


def test_identical_images_have_the_best_values() -> None:
    numbers = computed(smooth(3, 0), smooth(3, 0), [3])
    assert numbers["psnr_mean"] == numbers["psnr_p10"] == numbers["psnr_p90"] == 100
    assert numbers["mse"] == numbers["sse"] == numbers["mae"] == numbers["mae_over_sigma"] == numbers["psnr_std"] == 0
    assert numbers["ssim_mean"] == pytest.approx(1)
    assert numbers["ssim_gauss_mean"] == pytest.approx(1)


def test_per_image_measures_keep_the_order() -> None:
    quality, output, target = ImageQuality(), smooth(6, 0), smooth(6, 1)
    quality.update(output[:4], target[:4], {"kl": torch.arange(4.0)})
    quality.update(output[4:], target[4:], {"kl": torch.arange(4.0, 6)})
    images = quality.per_image()
    assert images["kl"].tolist() == list(range(6))
    torch.testing.assert_close(images["psnr"], psnr(output, target).double())
    torch.testing.assert_close(images["sse"], (output - target).square().sum((1, 2, 3)).double())


def test_reset_clears_all_state() -> None:
    quality = ImageQuality()
    quality.update(smooth(3, 5), smooth(3, 6), {"kl": torch.ones(3)})
    quality.compute()
    quality.reset()
    quality.update(smooth(2, 0), smooth(2, 1))
    assert quality.compute() == computed(smooth(2, 0), smooth(2, 1), [2])


def test_metrics_keep_no_graph() -> None:
    output = smooth(2, 0).requires_grad_()
    quality = ImageQuality()
    quality.update(output, smooth(2, 1), {"kl": output.sum((1, 2, 3))})
    assert not any(values.requires_grad for values in quality.per_image().values())


# -- definitions ------------------------------------------------------------------------------------------------


def test_every_metric_is_defined() -> None:
    from attnae.data import Batch
    from attnae.papers.saaae import SAAAE, SAAAETask

    images = smooth(2, 0, 16)
    task = SAAAETask(SAAAE(image_size=16, latent_dim=4, channels=(2, 2, 2, 2)))
    for split in ("heldout", "train_set"):
        predictions = task.predictions(Batch(images, images, None, torch.arange(2)), split)
        assert predictions.keys() <= PROTOCOLS.keys()
        for prediction in predictions.values():
            quality = ImageQuality()
            quality.update(prediction.images, images, prediction.per_image_metrics)
            assert quality.compute().keys() <= COLUMNS.keys()


def test_the_page_is_the_readme() -> None:
    readme = Path(attnae.metrics.__file__).with_name("README.md")
    again = "python -m attnae.metrics.columns > attnae/metrics/README.md"
    assert readme.read_text(encoding="utf-8") == page(), f"run {again}"


def test_the_page_defines_every_column_and_protocol() -> None:
    rows = [line.split("|") for line in page().splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == [*PROTOCOLS, *COLUMNS]
    assert all(cell.strip() for row in rows for cell in row[1:-1])
    assert {c.better for c in COLUMNS.values()} <= {"lower", "higher", "-"}


def test_headings_show_the_better_direction() -> None:
    assert column("heldout/psnr_mean").heading == "PSNR ↑"
    assert column("mse").heading == "MSE ↓"
    assert column("train_set/kl").heading == "KL"


def test_an_unknown_metric_gets_a_generic_definition() -> None:
    assert column("heldout/active_codes_top").title == "active codes top"


def test_a_benchmark_outside_the_package_defines_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_others", {})
    ours = Column("edges", "edges", "d", "-", "-", "lower", 2)
    columns.define("one", [ours])
    columns.define("two", [ours])  # the same
    assert column("heldout/edges") == ours
    with pytest.raises(ValueError, match=r"edges: the benchmark one defines it differently"):
        columns.define("two", [replace(ours, digits=3)])
    columns.define("two", [])
    columns.define("one", [replace(ours, digits=3)])  # its file has changed
    assert column("val/edges").digits == 3
    assert column("heldout/edges_2").title == "edges 2"


def test_metrics_of_a_level_share_a_definition() -> None:
    assert column("heldout/active_codes_2").title == "active codes 2"
    assert column("heldout/perplexity_1").formula == COLUMNS["perplexity"].formula
    assert {"sigma", "symmetry", "eye_color", "params_keras"} <= COLUMNS.keys()

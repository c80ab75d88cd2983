"""Keras initialization against Keras' formula, and normalization with fixed statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnae.papers.attentive_vqvae import AttentiveVQVAE, PatchDiscriminator
from attnae.papers.attentive_vqvae.blocks import Affine, normalized
from attnae.papers.attentive_vqvae.net import parameter_counts

SMALL: dict[str, Any] = {"levels": 2, "attention": "pixel", "width": 16, "latent": 24, "codes": 16}


def net(**settings: Any) -> AttentiveVQVAE:
    torch.manual_seed(0)
    return AttentiveVQVAE(**{**SMALL, **settings})


def keras_fans(layer: nn.Module) -> tuple[int, int]:
    """``compute_fans`` of Keras: over a kernel laid out (height, width, in, out), or (height, width, out, in) if transposed."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    area = math.prod(layer.kernel_size)
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.out_channels * area, layer.in_channels * area
    return layer.in_channels * area, layer.out_channels * area


@pytest.mark.parametrize(
    "module",
    [net(init="keras"), net(init="keras", codebook="fsq"), PatchDiscriminator(16, init="keras")],
    ids=["network", "network with fsq", "discriminator"],
)
def test_kernels_are_glorot_uniform_and_biases_zero(module: nn.Module) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert len(layers) >= 6
    scaled = []
    for layer in layers:
        limit = math.sqrt(6 / sum(keras_fans(layer)))
        assert layer.bias is not None
        assert not layer.bias.any()
        assert layer.weight.abs().max() <= limit
        if layer.weight.numel() > 500:
            assert layer.weight.abs().max() > 0.98 * limit
        scaled.append(layer.weight.detach().flatten() / limit)
    values = torch.cat(scaled)
    assert float(values.mean()) == pytest.approx(0, abs=0.02)
    assert float(values.var()) == pytest.approx(1 / 3, rel=0.03)  # uniform in [-1, 1]


def test_initialization_touches_kernels_and_biases_only() -> None:
    """Codebooks and normalization have the same initial values, so runs with equal seeds are paired."""
    one = net()
    first, second = one.state_dict(), net(init="keras").state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        part = one.get_submodule(name.rpartition(".")[0])
        drawn = isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        assert torch.equal(value, second[name]) != drawn, name


@pytest.mark.parametrize("settings", [SMALL, {"levels": 2, "attention": "pixel"}], ids=["small", "published"])
def test_names_and_counts_do_not_depend_on_initialization_or_affine(settings: dict[str, Any]) -> None:
    with torch.device("meta"):
        today = AttentiveVQVAE(**settings)
        keras = AttentiveVQVAE(**settings, init="keras", norm="affine")
        group = AttentiveVQVAE(**settings, norm="group")
    assert {n: v.shape for n, v in today.state_dict().items()} == {n: v.shape for n, v in keras.state_dict().items()}
    assert parameter_counts(today) == parameter_counts(keras)
    assert parameter_counts(group).trainable == parameter_counts(group).keras == parameter_counts(today).trainable
    assert dict(group.named_parameters()).keys() == dict(today.named_parameters()).keys()


def test_affine_scales_and_shifts_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    layer, features = normalized(3, "affine"), torch.randn(4, 3, 5, 6) * 7 + 2
    assert isinstance(layer, Affine)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    expected = features * layer.weight[:, None, None] / math.sqrt(1 + layer.eps) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(features), expected)
    assert torch.equal(layer(features), layer.eval()(features))
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert not layer.running_mean.any()
    assert layer.running_var.eq(1).all()


@pytest.mark.parametrize(("norm", "alike"), [("batch", False), ("affine", True), ("group", True)])
def test_only_batch_norm_couples_images(norm: Any, alike: bool) -> None:
    one, images = net(norm=norm, attention="none"), torch.rand(4, 3, 32, 32)

    def features(batch: Tensor) -> Tensor:
        result: Tensor = one.base(batch)
        return result

    assert torch.allclose(features(images)[:1], features(images[:1]), atol=1e-4) == alike


@pytest.mark.parametrize("norm", ["affine", "group"])
def test_training_and_evaluation_agree_without_batch_statistics(norm: Any) -> None:
    one, images = net(norm=norm, init="keras"), torch.rand(2, 3, 32, 32)
    trained = one.base(images)
    torch.testing.assert_close(one.eval().base(images), trained)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "jax"}, "init must be 'torch' or 'keras', got 'jax'"),
        ({"norm": "none"}, "norm must be 'batch', 'affine' or 'group', got 'none'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        net(**settings)
    with pytest.raises(ValueError, match="init must be"):
        PatchDiscriminator(4, init="jax")  # type: ignore[arg-type]

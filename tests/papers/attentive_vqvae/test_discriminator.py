"""The patch discriminator: parameter count, logits and normalization."""

from typing import Literal

import pytest
import torch
from torch import nn

from attnae.papers.attentive_vqvae import PatchDiscriminator
from attnae.papers.attentive_vqvae.net import parameter_counts


def test_number_of_parameters() -> None:
    assert parameter_counts(PatchDiscriminator()) == (411_075, 412_101)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_one_logit_per_patch_of_eight_pixels(norm: Literal["batch", "group", "none"]) -> None:
    torch.manual_seed(0)
    logits = PatchDiscriminator(12, norm)(torch.rand(2, 3, 40, 24))
    assert logits.shape == (2, 1, 5, 3)
    assert logits.min() < 0 < logits.max() or norm == "none"


def test_layers() -> None:
    layers = PatchDiscriminator().layers
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [128, 128, 128, 64, 64, 1]
    assert [layer.stride[0] for layer in layers if isinstance(layer, nn.Conv2d)] == [2, 2, 2, 1, 1, 1]
    assert [layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)] == [0.1] * 5
    assert isinstance(layers[-1], nn.BatchNorm2d)


@pytest.mark.parametrize(("norm", "alike"), [("batch", False), ("group", True), ("none", True)])
def test_only_batch_norm_couples_images(norm: Literal["batch", "group", "none"], alike: bool) -> None:
    torch.manual_seed(0)
    discriminator, images = PatchDiscriminator(16, norm), torch.rand(4, 3, 32, 32)
    assert torch.allclose(discriminator(images)[:1], discriminator(images[:1]), atol=1e-5) == alike


def test_group_norm_keeps_an_images_mean_logit() -> None:
    torch.manual_seed(0)
    means = PatchDiscriminator(16, "group")(torch.rand(4, 3, 32, 32) * torch.linspace(0.1, 1, 4).view(4, 1, 1, 1)).mean(
        (1, 2, 3)
    )
    assert means.std() > 1e-4


def test_bad_settings() -> None:
    for width in (0, -2, 7):
        with pytest.raises(ValueError, match=f"width must be positive and even, got {width}"):
            PatchDiscriminator(width)
    with pytest.raises(ValueError, match="norm must be 'batch', 'affine', 'group' or 'none', got 'layer'"):
        PatchDiscriminator(norm="layer")  # type: ignore[arg-type]

"""Codebook rules: k-means initialization and expiry, finite scalar quantization, and training with each rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from attnae.metrics.codebook import CodebookUse
from attnae.papers.attentive_vqvae import AttentiveVQVAE
from attnae.papers.attentive_vqvae.fsq import FiniteScalarQuantizer, grid
from attnae.papers.attentive_vqvae.kmeans import kmeans
from attnae.papers.attentive_vqvae.net import parameter_counts
from attnae.papers.attentive_vqvae.quantizer import Quantizer

RULES = ["ema", "gradient", "ema_kmeans", "fsq"]


def clustered(images: int = 8, clusters: int = 16, dim: int = 6, seed: int = 0) -> Tensor:
    """Latents (images, dim, 8, 8) in tight clusters far from zero."""
    random = torch.Generator().manual_seed(seed)
    centers = torch.randn(clusters, dim, generator=random) * 3 + 5
    chosen = torch.randint(clusters, (images, 8, 8), generator=random)
    return (centers[chosen] + 0.05 * torch.randn(images, 8, 8, dim, generator=random)).permute(0, 3, 1, 2)


def rows(latents: Tensor) -> Tensor:
    return latents.permute(0, 2, 3, 1).flatten(0, 2)


def error(module: nn.Module, latents: Tensor) -> float:
    return float((module.eval()(latents).latents - latents).square().mean())


def active(codes: Tensor) -> int:
    return int(codes.unique().numel())


# -- k-means ------------------------------------------------------------------------------------------------------


def test_kmeans_matches_scipy() -> None:
    points = rows(clustered(clusters=40))
    means, counts = kmeans(points, 16)
    theirs, _ = kmeans2(points.double().numpy(), 16, iter=10, minit="++", rng=0)

    def spread(centers: np.ndarray) -> float:
        return float(((points.double().numpy()[:, None] - centers) ** 2).sum(2).min(1).mean())

    assert spread(means.double().numpy()) < 1.2 * spread(theirs)
    assert int(counts.sum()) == len(points)


def test_kmeans_finds_well_separated_clusters() -> None:
    points = rows(clustered(clusters=16))
    means, counts = kmeans(points, 16)
    assert float(torch.cdist(points, means).amin(1).max()) < 0.5
    assert (counts > 0).all()


def test_kmeans_of_fewer_points_than_clusters() -> None:
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]])
    means, counts = kmeans(points, 5)
    assert means.isfinite().all()
    assert float(torch.cdist(points, means).amin(1).max()) < 1e-6
    assert int(counts.sum()) == 3


def test_codebook_from_kmeans_beats_a_random_one_on_clusters() -> None:
    """All latents share the nearest of the random codes around zero; k-means avoids this collapse."""
    latents = clustered()
    started, random = (Quantizer(16, 6, rule) for rule in ("ema_kmeans", "ema"))  # type: ignore[arg-type]
    for step in range(5):
        for module in (started, random):
            module.train()(clustered(seed=0) + 0.01 * step)
    assert active(started.eval()(latents).codes) == 16
    assert active(random.eval()(latents).codes) < 8
    assert error(started, latents) < 0.1 * error(random, latents)


def test_kmeans_runs_once_and_on_the_first_training_batch() -> None:
    module = Quantizer(16, 6, "ema_kmeans", decay=0.999)
    before = module.codebook.clone()
    module.eval()(clustered())
    module.train()(clustered(), learn=False)
    assert torch.equal(module.codebook, before)
    module(clustered())
    first = module.codebook.clone()
    assert not torch.equal(first, before)
    torch.testing.assert_close(float(module.counts.sum()), 8 * 64.0)  # as many as the batch has latents
    module(clustered(seed=0) + 0.1)
    assert float((module.codebook - first).abs().max()) < 0.01  # moving averages only
    resumed = Quantizer(16, 6, "ema_kmeans", decay=0.999)
    resumed.load_state_dict(module.state_dict())
    found = resumed(clustered(seed=0) + 0.1)
    assert active(found.codes) == 16
    assert float((resumed.codebook - module.codebook).abs().max()) < 0.01


def test_expiry_revives_codes() -> None:
    """The data switches to the other half of the clusters; unused codes are replaced."""
    module, kept = Quantizer(16, 6, "ema_kmeans", decay=0.5), Quantizer(16, 6, "ema_kmeans", decay=0.5, revive=0)
    assert (module.revive, kept.revive) == (0.1, 0)
    near, far = clustered(), clustered(seed=1) + 50
    for one in (module, kept):
        torch.manual_seed(0)
        one.train()(near)
        for _ in range(40):
            one(far)
    assert active(module.eval()(far).codes) > 2 * active(kept.eval()(far).codes)


def test_state_dict_of_other_rules_is_unchanged() -> None:
    assert set(Quantizer(16, 6).state_dict()) == {"counts", "codebook", "sums"}
    assert set(Quantizer(16, 6, "gradient").state_dict()) == {"counts", "codebook"}


# -- finite scalar quantization -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [4, 8, 16, 32, 64, 128, 256, 512])
def test_grid_has_as_many_points_as_codes(codes: int) -> None:
    assert math.prod(grid(codes)) == codes
    assert grid(128) == (8, 4, 4)


@pytest.mark.parametrize("codes", [8, 16, 128])
def test_indices_are_bijective(codes: int) -> None:
    """Indices and grid points correspond one to one."""
    torch.manual_seed(0)
    module = FiniteScalarQuantizer(codes, 5).double()
    indices = torch.arange(codes).view(1, 1, codes)
    points = indices[..., None] // module.strides % module.levels - module.levels // 2
    assert len({tuple(point) for point in points.flatten(0, 2).tolist()}) == codes
    assert torch.equal((module.digits(points.double()) * module.strides).sum(-1), indices)
    assert module.look_up(indices).permute(0, 2, 3, 1).flatten(0, 2).unique(dim=0).shape[0] == codes


def test_all_codes_are_reached_and_looked_up() -> None:
    torch.manual_seed(0)
    module = FiniteScalarQuantizer(128, 6).eval()
    found = module(torch.randn(64, 6, 16, 16) * 3)
    assert found.codes.unique().tolist() == list(range(128))
    torch.testing.assert_close(module.look_up(found.codes), found.latents)
    assert torch.equal(module.assign(torch.ones(1, 6, 2, 2)), module(torch.ones(1, 6, 2, 2)).codes)


def test_agrees_with_vector_quantize_pytorch() -> None:
    from vector_quantize_pytorch import FSQ

    torch.manual_seed(0)
    ours, theirs = FiniteScalarQuantizer(128, 6), FSQ([8, 4, 4], dim=6)
    theirs.project_in.load_state_dict(ours.project_in.state_dict())
    theirs.project_out.load_state_dict(ours.project_out.state_dict())
    latents = torch.randn(4, 6, 8, 8) * 5
    back, codes = theirs(latents)
    found = ours.eval()(latents)
    assert torch.equal(found.codes, codes.long())
    torch.testing.assert_close(found.latents, back, atol=1e-5, rtol=1e-5)


def test_gradient_passes_straight_through_the_rounding() -> None:
    torch.manual_seed(0)
    module, latents = FiniteScalarQuantizer(128, 6).double(), torch.randn(2, 6, 3, 3, dtype=torch.float64)
    direction = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    rounded, smooth = (latents.clone().requires_grad_() for _ in range(2))
    (module(rounded).latents * direction).sum().backward()
    back = module.project_out(module.bounded(smooth) / (module.levels // 2)).permute(0, 3, 1, 2)
    (back * direction).sum().backward()
    torch.testing.assert_close(rounded.grad, smooth.grad)
    assert rounded.grad is not None
    assert rounded.grad.abs().min() > 0


def test_usage_is_counted_only_in_training() -> None:
    module = FiniteScalarQuantizer(16, 6, decay=0.5)
    found = module(clustered())
    expected = 0.5 + 0.5 * found.codes.flatten().bincount(minlength=16)
    torch.testing.assert_close(module.counts, expected)
    module(clustered(), learn=False)
    module.eval()(clustered())
    torch.testing.assert_close(module.counts, expected)
    assert module(torch.zeros(0, 6, 2, 2)).codes.shape == (0, 2, 2)


def test_autocast_does_not_affect_the_grid() -> None:
    torch.manual_seed(0)
    module, latents = FiniteScalarQuantizer(128, 6).eval(), (clustered() - 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(latents)
    assert torch.equal(found.codes, module(latents.float()).codes)
    assert found.latents.dtype == found.loss.dtype == torch.float32


@pytest.mark.parametrize("codes", [2, 3, 100, 0])
def test_bad_numbers_of_codes(codes: int) -> None:
    with pytest.raises(ValueError, match=f"power of two of at least 4 codes, got {codes}"):
        FiniteScalarQuantizer(codes, 4)


# -- in the network -----------------------------------------------------------------------------------------------


def trained(rule: Any, **settings: Any) -> tuple[AttentiveVQVAE, Tensor]:
    torch.manual_seed(0)
    net, images = (
        AttentiveVQVAE(2, "none", width=8, latent=12, codes=16, codebook=rule, **settings),
        torch.rand(4, 3, 32, 32),
    )
    for _ in range(2):
        output = net.forward_with_codes(images)
        ((output.reconstruction - images).square().mean() + output.loss).backward()
    return net, images


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_the_same_interface(rule: str) -> None:
    net, images = trained(rule)
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
    net.eval()
    codes = net.encode(images)
    torch.testing.assert_close(net.decode(codes), net(images), atol=1e-4, rtol=1e-4)
    for level, found in zip(net.quantizers, codes, strict=True):
        assert level.size == 16
        assert level.counts.shape == (16,)
        use = CodebookUse(16)
        use.update(found)
        assert 1 <= use.compute().active_codes <= 16
    copy = AttentiveVQVAE(2, "none", width=8, latent=12, codes=16, codebook=rule)  # type: ignore[arg-type]
    copy.load_state_dict(net.state_dict())
    assert torch.equal(copy.eval()(images), net(images))


def test_size_of_the_network_by_rule() -> None:
    counts = {}
    for rule in RULES:
        with torch.device("meta"):
            counts[rule] = parameter_counts(AttentiveVQVAE(1, "pixel", codebook=rule)).keras  # type: ignore[arg-type]
    assert counts["ema"] == counts["gradient"] == counts["ema_kmeans"] == 7_541_379
    assert counts["ema"] - counts["fsq"] == 128 * 256 - (256 * 3 + 3 + 3 * 256 + 256)  # projections, no codebook


def test_settings_unknown_to_a_rule() -> None:
    with pytest.raises(ValueError, match="'fsq' has no codes to revive"):
        AttentiveVQVAE(codebook="fsq", revive=0.1)
    with pytest.raises(ValueError, match="codebook must be 'ema', 'gradient', 'ema_kmeans' or 'fsq', got 'lfq'"):
        AttentiveVQVAE(codebook="lfq")  # type: ignore[arg-type]

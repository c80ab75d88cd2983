"""The quantizer against vector-quantize-pytorch, against NumPy, and on two processes."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnae.papers.attentive_vqvae.quantizer import Quantizer

CODES, DIM = 16, 6


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: the networks are too small for two, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quantizer(**settings: Any) -> Quantizer:
    """With codes as large as the latents, most of them in use."""
    torch.manual_seed(0)
    module = Quantizer(CODES, DIM, **settings)
    with torch.no_grad():
        module.codebook.normal_()
        if settings.get("codebook") != "gradient":
            module.sums.copy_(module.codebook)
    return module


def latents_of(images: int, seed: int = 1) -> Tensor:
    return torch.randn(images, DIM, 4, 5, generator=torch.Generator().manual_seed(seed))


def nearest(latents: Tensor, codebook: Tensor) -> Tensor:
    """By differences in double precision: nothing to lose."""
    rows = latents.permute(0, 2, 3, 1)[..., None, :].double()
    return (rows - codebook.double()).square().sum(-1).argmin(-1)


# -- assignment and gradients -------------------------------------------------------------------------------------


def test_nearest_code_and_its_vector() -> None:
    module, latents = quantizer(), latents_of(3)
    found = module.eval()(latents)
    assert torch.equal(found.codes, nearest(latents, module.codebook))
    assert torch.equal(found.latents, module.codebook[found.codes].permute(0, 3, 1, 2))
    assert torch.equal(found.latents, module.look_up(found.codes))
    assert found.codes.unique().numel() > CODES // 2


def test_distances_are_accurate_with_a_common_offset() -> None:
    """Attention as in the paper adds hundreds of times the mean pixel to every latent."""
    module = quantizer()
    module.codebook.add_(3000)
    latents = latents_of(30) + 3000
    assert torch.equal(module.assign(latents), nearest(latents, module.codebook))


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_gradient_passes_straight_through(codebook: Literal["ema", "gradient"]) -> None:
    module, latents = quantizer(codebook=codebook, commitment=0), latents_of(2).requires_grad_()
    found = module(latents)
    found.latents.retain_grad()
    (found.latents * latents_of(2, seed=2)).square().sum().backward()
    assert latents.grad is not None
    assert found.latents.grad is not None
    assert latents.grad.ne(0).all()
    assert torch.equal(latents.grad, found.latents.grad)
    assert module.codebook.grad is None


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_losses(codebook: Literal["ema", "gradient"]) -> None:
    module, latents = quantizer(codebook=codebook, commitment=0.25), latents_of(2).requires_grad_()
    before = module.codebook.detach().clone()
    found = module(latents)
    difference = latents.detach() - before[found.codes].permute(0, 3, 1, 2)
    error = difference.square().mean()
    torch.testing.assert_close(found.loss, error * (0.25 if codebook == "ema" else 1.25))
    found.loss.backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, 0.25 * 2 * difference / latents.numel())
    if codebook == "gradient":
        expected = torch.zeros(CODES, DIM)
        expected.index_add_(
            0, found.codes.flatten(), -2 * difference.permute(0, 2, 3, 1).flatten(0, 2) / latents.numel()
        )
        torch.testing.assert_close(module.codebook.grad, expected)
        assert torch.equal(module.codebook, before)


def test_latents_keep_their_memory_format() -> None:
    module = quantizer()
    assert module(latents_of(2)).latents.is_contiguous()
    last = latents_of(2).contiguous(memory_format=torch.channels_last)
    assert module(last).latents.is_contiguous(memory_format=torch.channels_last)


# -- learning -----------------------------------------------------------------------------------------------------


def test_moving_averages_are_those_of_the_vqvae_paper() -> None:
    module = quantizer(decay=0.9)
    codebook, counts = module.codebook.double().numpy(), np.ones(CODES)
    sums = codebook.copy()
    for step in range(4):
        latents = latents_of(3, seed=step) + step
        rows = latents.permute(0, 2, 3, 1).reshape(-1, DIM).double().numpy()
        chosen = ((rows[:, None] - codebook) ** 2).sum(2).argmin(1)
        for code in range(CODES):
            counts[code] = 0.9 * counts[code] + 0.1 * (chosen == code).sum()
            sums[code] = 0.9 * sums[code] + 0.1 * rows[chosen == code].sum(0)
        smoothed = (counts + 1e-5) / (counts.sum() + CODES * 1e-5) * counts.sum()
        codebook = sums / smoothed[:, None]
        assert module(latents).codes.flatten().tolist() == chosen.tolist()
    np.testing.assert_allclose(module.codebook, codebook, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.counts, counts, rtol=1e-5)


@pytest.mark.parametrize("revive", [0.0, 0.9])
def test_agrees_with_vector_quantize_pytorch(revive: float) -> None:
    from vector_quantize_pytorch import VectorQuantize  # here, because two processes import this file, too

    ours = quantizer(decay=0.95, revive=revive)
    theirs = VectorQuantize(
        dim=DIM,
        codebook_size=CODES,
        decay=0.95,
        commitment_weight=0.25,
        threshold_ema_dead_code=revive,
        rotation_trick=False,
        accept_image_fmap=True,
    )
    theirs._codebook.embed.copy_(ours.codebook[None])
    theirs._codebook.embed_avg.copy_(ours.codebook[None])
    for step in range(4):
        latents, alive = latents_of(4, seed=step), ours.counts >= revive
        found, (quantized, codes, loss) = ours(latents), theirs(latents)
        assert torch.equal(found.codes, codes)
        torch.testing.assert_close(found.latents, quantized, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.loss, loss)
        alive &= ours.counts > revive
        torch.testing.assert_close(ours.counts, theirs._codebook.cluster_size[0])
        torch.testing.assert_close(ours.codebook[alive], theirs.codebook[alive], atol=1e-5, rtol=1e-5)
        theirs._codebook.embed.copy_(ours.codebook[None])  # revived codes are random
        theirs._codebook.embed_avg.copy_(ours.sums[None])


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("pixels", [(4, 5), (1, 2)], ids=["many latents", "few latents"])
def test_dead_codes_become_latents(codebook: Literal["ema", "gradient"], pixels: tuple[int, int]) -> None:
    module = quantizer(codebook=codebook, revive=0.95, decay=0.9)  # counts start at 1: an unused code's falls to 0.9
    with torch.no_grad():
        module.codebook[8:] += 100
        if codebook == "ema":
            module.sums.copy_(module.codebook)
    latents = latents_of(2)[:, :, : pixels[0], : pixels[1]]
    before = module.codebook.detach().clone()
    dead = module(latents).codes.flatten().bincount(minlength=CODES) == 0
    rows = latents.permute(0, 2, 3, 1).reshape(-1, DIM)
    revived = dead & (torch.arange(CODES) < len(rows))  # as many as there are latents
    assert dead.sum() >= 8
    differences = (module.codebook.detach()[revived, None] - rows).abs().amax(2)
    assert (differences.amin(1) == 0).all()
    assert differences.argmin(1).unique().numel() == revived.sum()  # no latent twice
    assert (module.counts[revived] == 0.95).all()
    if codebook == "ema":
        torch.testing.assert_close(module.sums[revived], 0.95 * module.codebook[revived])
    torch.testing.assert_close(module.codebook.detach()[dead & ~revived], before[dead & ~revived], rtol=1e-3, atol=0)


def test_codes_are_not_replaced_by_default() -> None:
    module = quantizer()
    module.codebook[3:] += 100
    module.sums.copy_(module.codebook)
    for step in range(20):
        module(latents_of(2, seed=step))
    assert (module.codebook[3:] > 90).all()


def test_nothing_changes_in_evaluation_or_without_learning() -> None:
    module = quantizer(revive=10)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(latents_of(2), learn=False)
    module.eval()(latents_of(2))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    module.train()(latents_of(2))
    assert not any(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("revive", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.99])
def test_empty_and_tiny_batches(decay: float, revive: float) -> None:
    module = quantizer(decay=decay, revive=revive)
    before = module.codebook.clone()
    found = module(latents_of(0))
    assert found.latents.shape == (0, DIM, 4, 5)
    assert found.loss == 0
    torch.testing.assert_close(module.codebook, before, rtol=1e-4, atol=0)
    for _ in range(3):
        module(latents_of(1)[:, :, :1, :1])
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_unused_codes_stay_finite() -> None:
    module = quantizer(decay=0.5)
    for _ in range(300):
        module(latents_of(1)[:, :, :1, :1])
    assert module.counts.min() < 1e-40
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_autocast_does_not_affect_the_codebook() -> None:
    module, other, latents = quantizer(), quantizer(), latents_of(20).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(latents)
    expected = other(latents.float())
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.latents, expected.latents)
    assert found.latents.dtype == found.loss.dtype == torch.float32
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())


# -- two processes ------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port


JOINED: dict[str, dict[str, Any]] = {
    "ema": {"decay": 0.9},
    "gradient": {"codebook": "gradient"},
    "ema, revived": {"decay": 0.9, "revive": 2.0},
    "gradient, revived": {"codebook": "gradient", "decay": 0.9, "revive": 2.0},
}


def train(module: nn.Module, share: slice) -> None:
    """Three steps on this share of each batch."""
    for step in range(3):
        module(latents_of(4, seed=step)[share].requires_grad_()).loss.backward()
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.data -= parameter.grad
            parameter.grad = None


def train_on_rank(rank: int, port: int, folder: Path) -> None:
    """Trains on half of each batch. Codebooks are created before the process group, as in Lightning."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    modules = {name: quantizer(**settings) for name, settings in JOINED.items()}
    torch.manual_seed(rank)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for module in modules.values():
        train(DistributedDataParallel(module) if list(module.parameters()) else module, slice(rank, None, 2))
    torch.save({name: module.state_dict() for name, module in modules.items()}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_ranks_learn_from_the_global_batch(tmp_path: Path) -> None:
    mp.spawn(train_on_rank, (free_port(), tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, settings in JOINED.items():
        alone = quantizer(**settings)
        train(alone, slice(None))
        for key, value in alone.state_dict().items():
            assert torch.equal(first[name][key], second[name][key]), (name, key)
            assert torch.allclose(first[name][key], value, atol=1e-5) == ("revived" not in name), (name, key)


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codes": 1}, "at least 2 codes of at least 1 dimension, got 1 of 6"),
        ({"codebook": "kmeans"}, "codebook must be 'ema', 'gradient' or 'ema_kmeans', got 'kmeans'"),
        ({"decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
        ({"commitment": -1.0}, "must not be negative, got -1.0 and 0.0"),
        ({"revive": -1.0}, "must not be negative, got 0.25 and -1.0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantizer(**{"codes": CODES, "dim": DIM, **settings})

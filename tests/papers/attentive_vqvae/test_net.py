"""The Attentive VQ-VAE: published parameter counts, modules against plain references, and the public methods."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from attnae.papers.attentive_vqvae import AttentiveVQVAE
from attnae.papers.attentive_vqvae.blocks import Down, Id, PixelAttention, Up
from attnae.papers.attentive_vqvae.net import parameter_counts

H, AH, A, AH3 = (2, "none"), (2, "pixel"), (1, "pixel"), (3, "pixel")
BASE, DECODER, CODEBOOK, ATTENTIVE1, ATTENTIVE2 = 2_702_336, 2_816_131, 32_768, 1_990_144, 3_026_816
SMALL: dict[str, Any] = {"width": 8, "latent": 12, "codes": 16}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: the networks are too small for two, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(levels: int = 2, attention: Any = "normalized", **settings: Any) -> AttentiveVQVAE:
    torch.manual_seed(0)
    return AttentiveVQVAE(levels, attention, **{**SMALL, **settings})


def scattered(net: AttentiveVQVAE, images: Tensor) -> AttentiveVQVAE:
    """The same network in evaluation mode, with codes that are latents of these images: many of them are in use."""

    def take(quantizer: nn.Module, inputs: tuple[Any, ...]) -> None:
        rows = inputs[0].permute(0, 2, 3, 1).flatten(0, 2)
        quantizer.get_buffer("codebook").copy_(rows[torch.linspace(0, len(rows) - 1, 16).long()])

    hooks = [quantizer.register_forward_pre_hook(take) for quantizer in net.eval().quantizers]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return net


# -- the published model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "keras", "trainable"),
    [
        (H, 12_439_555, 12_421_635),
        (AH, 12_505_603, 12_487_683),
        (A, 7_541_379, 7_529_603),
        (AH3, 18_506_499, None),
    ],
    ids=["H", "AH", "A", "AH with three levels"],
)
@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_number_of_parameters(variant: Any, keras: int, trainable: int | None, codebook: Any) -> None:
    with torch.device("meta"):
        counts = parameter_counts(AttentiveVQVAE(*variant, codebook=codebook))
    assert counts.keras == keras
    assert trainable in (counts.trainable, None)


@pytest.mark.parametrize(
    ("variant", "arens"),
    [(H, [1_957_120, 2_993_792]), (AH, [ATTENTIVE1, ATTENTIVE2]), (A, [ATTENTIVE1])],
    ids=["H", "AH", "A"],
)
def test_number_of_parameters_of_each_part(variant: Any, arens: list[int]) -> None:
    with torch.device("meta"):
        net = AttentiveVQVAE(*variant)

    def counts(parts: nn.ModuleList) -> list[int]:
        return [parameter_counts(part).keras for part in parts]

    assert parameter_counts(net.base).keras == BASE
    assert counts(net.arens) == arens
    assert counts(net.quantizers) == [CODEBOOK] * len(arens)
    assert counts(net.resizes) == [1_773_312] * (len(arens) - 1)
    assert counts(net.combines) == [131_328] * (len(arens) - 1)
    assert parameter_counts(net.decoder).keras == DECODER


@pytest.mark.parametrize(("variant", "gmac"), [(H, 106.1), (AH, 106.7), (A, 101.2)], ids=["H", "AH", "A"])
def test_operations_at_256_pixels(variant: Any, gmac: float) -> None:
    """The table leaves out the quantizers' distances, 0.04 GMAC."""
    with FakeTensorMode(), FlopCounterMode(display=False) as counter, torch.no_grad():
        AttentiveVQVAE(*variant).eval()(torch.rand(1, 3, 256, 256))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.11)


# -- forward, encode, decode --------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["none", "pixel", "normalized"])
@pytest.mark.parametrize(("levels", "size"), [(1, (8, 24)), (2, (32, 16)), (3, (64, 32))])
def test_shapes(levels: int, size: tuple[int, int], attention: Any) -> None:
    net = small(levels, attention)
    assert net.stride == (8, 16, 32)[levels - 1]
    output = net.forward_with_codes(torch.rand(2, 3, *size))
    assert output.reconstruction.shape == (2, 3, *size)
    assert output.loss.shape == ()
    assert output.loss > 0
    assert [codes.shape for codes in output.codes] == [
        (2, size[0] // side, size[1] // side) for side in (8, 16, 32)[:levels]
    ]
    assert all(codes.dtype == torch.int64 for codes in output.codes)
    assert all(codes.min() >= 0 and codes.max() < 16 for codes in output.codes)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_codes_determine_the_reconstruction(levels: int) -> None:
    images = torch.rand(4, 3, 32, 64)
    net = scattered(small(levels), images)
    output = net.forward_with_codes(images)
    codes = net.encode(images)
    assert all(torch.equal(found, expected) for found, expected in zip(codes, output.codes, strict=True))
    assert codes[0].unique().numel() > 4
    assert torch.equal(net(images), output.reconstruction)
    torch.testing.assert_close(net.decode(codes), output.reconstruction)
    torch.testing.assert_close(net.decode(codes[0]), output.reconstruction)


def test_lower_level_depends_on_the_level_above() -> None:
    images = torch.rand(4, 3, 32, 32)
    net = scattered(small(3), images)
    before = net.encode(images)
    net.get_buffer("quantizers.2.codebook").mul_(-3)
    after = net.encode(images)
    assert not torch.equal(before[1], after[1])
    net.get_buffer("quantizers.1.codebook").mul_(-3)
    assert not torch.equal(after[0], net.encode(images)[0])


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_training_reaches_every_parameter(codebook: Any) -> None:
    net = small(3, codebook=codebook)
    images = torch.rand(2, 3, 64, 64)
    output = net.forward_with_codes(images)
    ((output.reconstruction - images).square().mean() + output.loss).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_codebooks_learn_in_training_mode_from_forward_only() -> None:
    images = torch.rand(2, 3, 32, 32)
    for net, call, learns in (
        (small(), "forward", True),
        (small(), "encode", False),
        (small().eval(), "forward", False),
        (small(revive=1e6).eval(), "forward_with_codes", False),
    ):
        before = {name: value.clone() for name, value in net.state_dict().items()}
        getattr(net, call)(images)
        changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
        assert bool([name for name in changed if "quantizers" in name]) == learns
        assert net.training or not changed


def test_state_dict_restores_the_codebooks() -> None:
    images = torch.rand(2, 3, 32, 32)
    net, other = small(revive=0.5), small(revive=0.5)
    net(images)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(images), other.eval()(images))
    assert not any(parameter.shape == (16, 12) for parameter in net.quantizers.parameters())


def test_half_precision_keeps_codes_and_attention_exact() -> None:
    images = torch.rand(2, 3, 32, 32)
    net = small(2, "pixel")
    with torch.autocast("cpu", torch.bfloat16):
        output = net.forward_with_codes(images)
        attended = net.arens[0](net.base(images))
    (output.reconstruction.float().mean() + output.loss).backward()
    assert output.reconstruction.isfinite().all()
    assert attended.dtype == output.loss.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in net.quantizers.state_dict().values())
    assert all(value.isfinite().all() for value in net.state_dict().values())
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())


# -- parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("block", "size"), [(Id, (6, 8)), (Down, (3, 4)), (Up, (12, 16))])
def test_blocks(block: Any, size: tuple[int, int]) -> None:
    module = block(4, "batch")
    assert module(torch.rand(2, 4, 6, 8)).shape == (2, 4, *size)
    for sequence in module.children():
        kinds = [type(layer) for layer in sequence]
        assert [kind.__name__ for kind in kinds if "Conv" not in kind.__name__] == ["BatchNorm2d", "LeakyReLU"] * (
            len(kinds) // 3
        )
        assert all(layer.negative_slope == 0.1 for layer in sequence if isinstance(layer, nn.LeakyReLU))


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("kind", ["pixel", "normalized"])
def test_attention_is_the_papers_sum(kind: Literal["pixel", "normalized"], cross: bool) -> None:
    torch.manual_seed(0)
    attention = PixelAttention(3, 4, kind).double()
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64)
    y = torch.randn(2, 3, 1, 4, dtype=torch.float64) if cross else x
    queries, values = attention.g1(x), attention.g2(y)
    expected = queries.clone()
    pixels = y.shape[2] * y.shape[3]
    for image in range(2):
        for i in range(6):
            for j in range(pixels):
                query, value = queries[image, :, i // 3, i % 3], values[image].flatten(1)[:, j]
                weight = torch.sigmoid(query @ value) / (pixels if kind == "normalized" else 1)
                expected[image, :, i // 3, i % 3] += weight * value
    torch.testing.assert_close(attention(x, y) if cross else attention(x), expected)


def test_gradient_of_attention() -> None:
    torch.manual_seed(0)
    attention = PixelAttention(2, 3).double()
    x, y = (torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(attention, (x, y))


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 0}, "levels must be 1, 2 or 3, got 0"),
        ({"levels": 4}, "levels must be 1, 2 or 3, got 4"),
        ({"attention": "softmax"}, "attention must be .* got 'softmax'"),
        ({"width": 0}, "width and latent must be positive, got 0 and 256"),
        ({"latent": -1}, "width and latent must be positive, got 128 and -1"),
        ({"codes": 1}, "at least 2 codes"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        AttentiveVQVAE(**settings)


def test_bad_images() -> None:
    net = small(2)
    for method in (net.forward, net.forward_with_codes, net.encode):
        with pytest.raises(ValueError, match=r"images are 32x40; .* multiples of 16"):
            method(torch.rand(1, 3, 32, 40))
        with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\), got \(1, 1, 32, 32\)"):
            method(torch.rand(1, 1, 32, 32))


def test_bad_codes() -> None:
    net = small(1).eval()
    for code in (-1, 16):
        with pytest.raises(ValueError, match=r"codes must be in \[0, 16\), got " + str(min(code, 0))):
            net.decode(torch.tensor([[[0, code]]]))
    for codes in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(1, 2, 2)):
        with pytest.raises(ValueError, match=r"codes must be integers \(B, h, w\), got"):
            net.decode(codes)


def test_fixed_statistics_stay_fixed_across_devices() -> None:
    """``trainer.sync_batchnorm`` converts every BatchNorm; the affine layers are none."""
    net = AttentiveVQVAE(1, width=4, latent=4, norm="affine")
    names = set(net.state_dict())
    assert names == set(AttentiveVQVAE(1, width=4, latent=4, norm="batch").state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in converted.modules())

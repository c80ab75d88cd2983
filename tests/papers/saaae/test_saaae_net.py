"""VAE and SAAAE against closed forms and an independent implementation of the published formula."""

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from attnae.bench import catalog
from attnae.data import Batch
from attnae.papers.saaae import SAAAE, VAE, SAAAETask
from attnae.papers.saaae.folded import folded_importance
from attnae.papers.saaae.net import Gate, Posterior, SelfAttentionGate
from attnae.papers.saaae.task import objective

SMALL: dict[str, Any] = {"image_size": 16, "latent_dim": 12, "channels": (4, 6, 8, 10)}

PARAMETERS = {
    "vae": 8_666_755,
    "saaae": 77_364_995,
    "saaae_constant": 8_666_755,
    "saaae_random": 8_666_755,
    "vae_ard": 8_666_755,
    "vae_wide_conv": 77_380_125,
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images_of(count: int, seed: int = 0, size: int = 16) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def built(variant: str, profile: str = "short") -> nn.Module:
    """The network that a config names, without memory for its weights."""
    spec = catalog.load("saaae_vs_vae").configuration(variant, profile)["model"]["init_args"]["net"]
    module, _, name = spec["class_path"].rpartition(".")
    with torch.device("meta"):
        net: nn.Module = getattr(import_module(module), name)(**spec.get("init_args", {}))
    return net


def trainable(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


# -- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "count"), PARAMETERS.items())
def test_parameter_count(variant: str, count: int) -> None:
    net = built(variant)
    assert trainable(net) == count
    assert sum(p.numel() for p in net.parameters()) == count


def test_wide_vae_has_the_parameters_of_saaae_within_one_percent() -> None:
    wide = built("vae_wide")
    assert type(wide) is VAE
    assert abs(trainable(wide) / PARAMETERS["saaae"] - 1) < 0.01


@pytest.mark.parametrize("profile", ["small", "small_fresh"])
@pytest.mark.parametrize("variant", ["vae_wide", "vae_wide_conv"])
def test_small_profiles_keep_the_wide_ones_as_large_as_saaae(variant: str, profile: str) -> None:
    wide, saaae = built(variant, profile), built("saaae", profile)
    assert isinstance(wide, VAE)
    assert wide.image_size == saaae.image_size == 32
    assert wide.noise == saaae.noise == ("frozen" if profile == "small" else "fresh")
    assert abs(trainable(wide) / trainable(saaae) - 1) < 0.002


@pytest.mark.parametrize(("size", "width", "ratio"), [(32, 1.337, 1.73), (64, 3.473, 8.93)])
def test_widened_convolutions_reach_the_parameters_of_saaae(size: int, width: float, ratio: float) -> None:
    with torch.device("meta"):
        plain, wide, saaae = VAE(size), VAE(size, width=width), SAAAE(size)
    assert trainable(saaae) / trainable(plain) == pytest.approx(ratio, abs=0.005)
    assert trainable(wide) == pytest.approx(trainable(saaae), rel=0.002)
    assert len(list(wide.modules())) == len(list(plain.modules()))  # no deeper: the same layers, wider


@pytest.mark.parametrize("net", [VAE, SAAAE])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_output_has_the_shape_and_range_of_the_input(net: type[VAE], size: int) -> None:
    images = images_of(2, size=size)
    output, posterior = net(**SMALL | {"image_size": size})(images)
    assert output.shape == images.shape
    assert output.abs().max() <= 1
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 12)


@pytest.mark.parametrize("size", [-16, 0, 8, 15, 20, 65])
@pytest.mark.parametrize("net", [VAE, SAAAE])
def test_image_size_must_be_a_multiple_of_16(net: type[VAE], size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 16.*{size}"):
        net(image_size=size)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latent_dim": 0},
        {"latent_dim": -1},
        {"channels": (4, 0, 8, 10)},
        {"hidden_dim": -1},
        {"width": 0.1},
        {"width": -1},
    ],
)
def test_widths_must_be_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        VAE(**SMALL | wrong)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_gate_value_must_be_a_factor(value: float) -> None:
    with pytest.raises(ValueError, match="gate_value"):
        SAAAE(**SMALL, gate="constant", gate_value=value)


@pytest.mark.parametrize("lr", [0.0, -1e-3])
def test_learning_rate_must_be_positive(lr: float) -> None:
    with pytest.raises(ValueError, match="lr"):
        SAAAETask(VAE(**SMALL), lr=lr)


# -- posterior --------------------------------------------------------------------------------------------------

moments = st.lists(
    st.tuples(st.floats(-6, 6, width=32), st.floats(-8, 5, width=32)),  # mean, log variance
    min_size=1,
    max_size=9,
)


@given(moments)
@settings(deadline=None)
def test_kl_matches_torch(values: list[tuple[float, float]]) -> None:
    mean, log_variance = torch.tensor(values, dtype=torch.float64).T[:, None]
    ours = Posterior(mean, log_variance, Gate(torch.ones(1, 1))).kl_per_latent()
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    theirs = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=1e-9, atol=1e-12)


def test_latents_are_mean_plus_std_times_noise_times_gate() -> None:
    posterior = Posterior(
        torch.tensor([[1.0, -2.0, 0.5]]),
        torch.tensor([[1.0, 4.0, 0.25]]).log(),
        Gate(torch.tensor([[1.0, 0.5, 0.0]])),
    )
    latents = posterior.latents(torch.tensor([[3.0, 3.0, 3.0]]))
    torch.testing.assert_close(latents, torch.tensor([[4.0, 1.0, 0.5]]))


def test_closed_gate_gives_exactly_the_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_variance, noise = torch.randn(3, 7, 12, generator=generator).mul(3).unbind()
    closed = Posterior(mean, log_variance, Gate(torch.zeros(7, 12)))
    assert torch.equal(closed.latents(noise), mean)
    assert not torch.equal(closed._replace(gate=Gate(torch.ones(1, 1))).latents(noise), mean)


def test_a_net_whose_gate_is_closed_reconstructs_the_mean() -> None:
    net = SAAAE(**SMALL, gate="constant", gate_value=0.0)
    images = images_of(3)
    output, posterior = net(images)
    assert torch.equal(output, net.decode(posterior.mean))
    assert torch.equal(output, net(images)[0])


# -- a prior that is learned -------------------------------------------------------------------------------------


def test_kl_from_a_learned_prior_matches_torch() -> None:
    mean, log_variance = torch.randn(2, 5, 12, dtype=torch.float64).unbind()
    variance = torch.linspace(0.1, 4, 12, dtype=torch.float64)[None]
    ours = Posterior(mean, log_variance, Gate(torch.ones(1, 1)), variance).kl_per_latent()
    normal, prior = (
        torch.distributions.Normal(mean, (log_variance / 2).exp()),
        torch.distributions.Normal(0, variance.sqrt()),
    )
    torch.testing.assert_close(ours, torch.distributions.kl_divergence(normal, prior), rtol=1e-9, atol=1e-12)
    plain = Posterior(mean, log_variance, Gate(torch.ones(1, 1)))
    torch.testing.assert_close(plain._replace(prior_variance=torch.ones(1, 12)).kl_per_latent(), plain.kl_per_latent())


@pytest.mark.parametrize("variance", [None, 0.25])
def test_gated_kl_matches_torch(variance: float | None) -> None:
    """KL of N(mean, (gate * std)^2), the distribution of the decoder's input."""
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator)
    gate = torch.rand(5, 7, dtype=torch.float64, generator=generator).clamp_min(0.01)
    prior = None if variance is None else torch.full((1, 7), variance, dtype=torch.float64)
    posterior = Posterior(mean, log_variance, Gate(gate), prior)
    seen = torch.distributions.Normal(mean, gate * (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(seen, torch.distributions.Normal(0.0, (variance or 1.0) ** 0.5))
    torch.testing.assert_close(posterior.kl_gated_per_latent(), expected)
    wide_open = posterior._replace(gate=Gate(torch.ones(1, 1, dtype=torch.float64)))
    torch.testing.assert_close(wide_open.kl_gated_per_latent(), posterior.kl_per_latent(), rtol=0, atol=0)


def test_gated_kl_is_finite_where_a_latent_has_no_noise() -> None:
    posterior = Posterior(torch.zeros(1, 2), torch.zeros(1, 2), Gate(torch.tensor([[0.0, 1e-6]])))
    closed, smallest = posterior.kl_gated_per_latent()[0].tolist()
    assert closed == smallest == pytest.approx(6 * np.log(10) - 0.5, rel=1e-5)


def test_the_prior_moves_to_the_second_moment_of_the_latents_in_training_only() -> None:
    net, images = VAE(**SMALL, prior="relevance"), images_of(20)
    nn.init.normal_(net.mean.bias, std=3)
    with torch.no_grad():
        for step in (1, 2, 3):
            posterior = net.encode(images)
            moment = posterior.mean.square() + posterior.log_variance.exp()
            expected = (moment.sum(0) + 2) / 22  # Gamma(1, 1): two more images, whose latents are N(0, 1)
            torch.testing.assert_close(net.prior_variance, (expected + 0.9**step * (1 - expected))[None])
    assert posterior.prior_variance is net.prior_variance
    # The variance at which the summed KL is smallest, up to those two images.
    kl = [posterior._replace(prior_variance=v * expected[None]).kl_per_latent().sum() for v in (0.7, 1.0, 1.4)]
    assert kl[1] < min(kl[0], kl[2])
    before = net.prior_variance.clone()
    net.eval().encode(images)
    assert torch.equal(net.prior_variance, before)
    other = VAE(**SMALL, prior="relevance")
    other.load_state_dict(net.state_dict())  # travels with the weights
    assert torch.equal(other.prior_variance, before)
    assert VAE(**SMALL).state_dict().keys() == net.state_dict().keys() - {"prior_variance"}


def test_inference_latents_are_standard_normal_under_the_prior() -> None:
    task, images = SAAAETask(VAE(**SMALL, prior="relevance")).eval(), (images_of(3) + 1) / 2
    with torch.no_grad():
        task.net.prior_variance.copy_(torch.linspace(0.1, 4, 12))
        latents = task.to_latents(images)
        torch.testing.assert_close(latents, task.net.encode(2 * images - 1).mean / task.net.prior_variance.sqrt())
        restored = (task.net.decode(task.net.encode(2 * images - 1).mean) + 1) / 2
        torch.testing.assert_close(task.restore(images), restored)


def test_prior_must_be_known() -> None:
    with pytest.raises(ValueError, match="prior must be"):
        VAE(**SMALL, prior="flat")  # type: ignore[arg-type]


# -- noise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [VAE, SAAAE])
def test_frozen_noise_is_the_same_at_every_call_and_in_every_network(net: type[VAE]) -> None:
    frozen, mean = net(**SMALL, noise="frozen"), torch.zeros(5, 12)
    first = frozen.sample_noise(mean)
    torch.manual_seed(7)
    assert torch.equal(frozen.sample_noise(mean), first)
    assert torch.equal(net(**SMALL, noise="frozen").sample_noise(mean), first)
    assert torch.equal(frozen(images_of(5))[0], frozen(images_of(5))[0])
    # Released: torch.manual_seed(42), then randn_like.
    assert torch.equal(first, torch.randn(5, 12, generator=torch.Generator().manual_seed(42)))
    assert first.std() > 0.5  # noise, not a constant


def test_frozen_noise_does_not_affect_the_global_generator() -> None:
    frozen, images = SAAAE(**SMALL, noise="frozen"), images_of(5)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    frozen(images)
    assert torch.equal(torch.rand(4), expected)


def test_frozen_noise_depends_on_the_place_in_the_batch_only() -> None:
    frozen = VAE(**SMALL | {"latent_dim": 128}, noise="frozen")
    whole = frozen.sample_noise(torch.zeros(256, 128))
    assert torch.equal(frozen.sample_noise(torch.zeros(10, 128)), whole[:10])
    assert not torch.equal(whole[0], whole[1])


def test_fresh_noise_differs_and_follows_the_global_seed() -> None:
    net, mean = VAE(**SMALL), torch.zeros(5, 12)
    torch.manual_seed(3)
    first, second = net.sample_noise(mean), net.sample_noise(mean)
    torch.manual_seed(3)
    assert not torch.equal(first, second)
    assert torch.equal(net.sample_noise(mean), first)
    assert not torch.equal(net(images_of(5))[0], net(images_of(5))[0])


# -- gate -------------------------------------------------------------------------------------------------------


def test_vae_gate_is_one() -> None:
    gate = VAE(**SMALL).gate(images_of(3))
    assert gate.scale.expand(3, 12).eq(1).all()
    assert gate.importance is None


@pytest.mark.parametrize("count", [1, 2, 9])
def test_gate_per_batch_spans_zero_to_one_over_the_batch(count: int) -> None:
    gate = SelfAttentionGate(16, 12, "batch")(images_of(count))
    assert gate.scale.shape == (count, 12)
    assert gate.scale.min() == 0
    assert gate.scale.max() == 1
    if count > 1:  # one range for all: not every image can reach both ends
        assert not gate.scale.amin(1).eq(0).all()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_gate_per_image_spans_zero_to_one_in_each(count: int) -> None:
    gate = SelfAttentionGate(16, 12, "image")(images_of(count))
    assert gate.scale.amin(1).eq(0).all()
    assert gate.scale.amax(1).eq(1).all()


@pytest.mark.parametrize("normalize", ["batch", "image"])
def test_the_most_important_latent_gets_no_noise(normalize: Any) -> None:
    scale, importance = SelfAttentionGate(16, 12, normalize)(images_of(4))
    assert importance.shape == (4, 12)
    over = importance.flatten().argmax()
    assert scale.flatten()[over] == 0
    order = importance[0].argsort()
    assert (scale[0][order].diff() <= 0).all()


def test_only_a_gate_per_image_is_independent_of_the_batch() -> None:
    torch.manual_seed(0)
    images, others = images_of(3), images_of(3, seed=1)
    mixed = torch.cat([images[:1], 3 * others])
    per_image, per_batch = SelfAttentionGate(16, 12, "image"), SelfAttentionGate(16, 12, "batch")
    torch.testing.assert_close(per_image(images).scale[0], per_image(mixed).scale[0])
    assert (per_batch(images).scale[0] - per_batch(mixed).scale[0]).abs().max() > 1e-3


@pytest.mark.parametrize("normalize", ["batch", "image"])
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_constant_importance_opens_the_gate(normalize: Any, level: float) -> None:
    gate = SelfAttentionGate(16, 12, normalize)
    nn.init.zeros_(gate.importance.weight)
    nn.init.constant_(gate.importance.bias, level)
    images = images_of(3).requires_grad_()
    scale = gate(images).scale
    assert scale.eq(1).all()
    (scale * torch.linspace(-2, 3, 12)).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_gate_passes_finite_gradients_to_the_attention() -> None:
    gate = SelfAttentionGate(16, 12)
    (gate(images_of(4)).scale * torch.linspace(-2, 3, 12)).sum().backward()
    grad = gate.attention.in_proj_weight.grad
    assert grad is not None
    assert grad.isfinite().all()
    assert grad.abs().max() > 0


# 12 latents: up to 12 images are projected one by one, more let the weights be folded, unless images need gradients.
@pytest.mark.parametrize("count", [1, 12, 13, 40])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("through", [True, False], ids=["to images", "to weights"])
def test_importance_and_gradients_are_those_of_the_modules_in_either_order(
    count: int, training: bool, through: bool
) -> None:
    gate = SelfAttentionGate(8, 12).double().train(training)
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=0.1)
    images = images_of(count, size=8).double().requires_grad_(through)
    seen: list[Tensor] = [*([images] if through else []), *gate.parameters()]
    planes = images.flatten(2)
    expected = F.silu(gate.importance(gate.attention(planes, planes, planes)[0].flatten(1)))
    importance = gate(images.contiguous(memory_format=torch.channels_last)).importance
    torch.testing.assert_close(importance, expected, rtol=1e-11, atol=1e-12)
    direction = torch.randn(expected.shape, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(made, seen, direction) for made in (importance, expected))
    for own, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-10, atol=1e-12 * float(reference.abs().max()))


@pytest.mark.parametrize("similar", [False, True], ids=["colorful", "nearly gray"])
def test_folding_under_autocast_is_no_coarser_than_the_modules(similar: bool) -> None:
    """Against float64; in nearly gray images the color planes differ by less than bfloat16 resolves."""
    torch.manual_seed(0)
    gate = SelfAttentionGate(16, 12)
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=0.1)
    images = images_of(64, size=16)
    if similar:
        images = images[:, :1] + 0.002 * images
    direction = torch.randn(64, 12)
    exact = copy.deepcopy(gate).double()

    def outcome(net: SelfAttentionGate, folded: bool) -> list[Tensor]:
        pixels = images.to(next(net.parameters()))
        if folded:
            linear = folded_importance(pixels.flatten(2), net.attention, net.importance)
        else:
            linear = net.importance(net.attend(pixels).flatten(1))
        return [linear.detach(), *torch.autograd.grad(linear, list(net.parameters()), direction.to(linear))]

    reference = outcome(exact, False)
    with torch.autocast("cpu", torch.bfloat16):
        ours, modules = outcome(gate, True), outcome(gate, False)
    names = ["importance", *dict(gate.named_parameters())]
    for name, own, theirs, expected in zip(names, ours, modules, reference, strict=True):
        assert own.dtype == theirs.dtype, name
        errors = [float((made.double() - expected).norm() / expected.norm()) for made in (own, theirs)]
        assert errors[0] < 1.5 * errors[1] + 2e-3, (name, errors)
    # As a whole the gate takes the folded path under bfloat16.
    with torch.autocast("cpu", torch.bfloat16), FlopCounterMode(display=False) as counter:
        gate(images)
    assert counter.get_total_flops() < 64 * 12 * 2 * 256**2


def test_folding_saves_operations_for_large_batches() -> None:
    with FakeTensorMode():
        gate, planes = SelfAttentionGate(64, 128), torch.rand(256, 3, 64, 64)

        def training_gflop(importance: Callable[[Tensor], Tensor]) -> float:
            with FlopCounterMode(display=False) as counter:
                importance(planes).sum().backward()
            return counter.get_total_flops() / 1e9

        modules = training_gflop(lambda images: gate.importance(gate.attend(images).flatten(1)))
        ours = training_gflop(lambda images: gate(images).scale)
    # Products of a row of 4,096 numbers with a 4,096 x 4,096 matrix, per image: 12 forward and 15 backward (images need no
    # gradient); 5 and 4 besides 2 x 384 and 4 x 384 once a batch. The rest is below 2%.
    assert modules == pytest.approx(27 * 256 * 2 * 4096**2 / 1e9, rel=0.02)
    assert ours == pytest.approx((9 * 256 + 6 * 384) * 2 * 4096**2 / 1e9, rel=0.02)


def test_an_exported_gate_takes_any_number_of_images() -> None:
    gate = SelfAttentionGate(16, 12).eval()
    exported = torch.export.export(gate, (images_of(2),), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for count in (1, 5, 30):
        torch.testing.assert_close(exported(images_of(count)).scale, gate(images_of(count)).scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 1.0])
def test_constant_gate(value: float) -> None:
    net = SAAAE(**SMALL, gate="constant", gate_value=value)
    gate = net.encode(images_of(3)).gate
    assert gate.scale.expand(3, 12).eq(value).all()
    assert gate.importance is None
    assert trainable(net) == trainable(VAE(**SMALL))


def test_constant_gate_is_one_half_by_default() -> None:
    assert SAAAE(**SMALL, gate="constant").gate(images_of(1)).scale.eq(0.5).all()


def test_random_gate_is_fixed_and_equal_between_instances() -> None:
    torch.manual_seed(1)
    one = SAAAE(**SMALL | {"latent_dim": 128}, gate="random")
    torch.manual_seed(2)
    two = SAAAE(**SMALL | {"latent_dim": 128}, gate="random")
    scale = one.gate(images_of(3)).scale
    assert torch.equal(scale, two.gate(images_of(3, seed=5)).scale)
    assert scale.shape == (1, 128)
    assert scale.min() >= 0
    assert scale.max() <= 1
    assert abs(scale.mean() - 0.5) < 0.1  # uniform: standard error 0.026
    assert abs(scale.var() - 1 / 12) < 0.03
    assert trainable(one) == trainable(VAE(**SMALL | {"latent_dim": 128}))
    assert torch.equal(one.state_dict()["fixed_gate"], scale)  # travels with the weights


# -- the published formula, a second time -----------------------------------------------------------------------


def published(weights: dict[str, Tensor], images: Tensor, noise: Tensor, normalize: str) -> tuple[Tensor, Tensor]:
    """Reconstruction and gate of SAAAE from its weights alone, in float64."""
    w, x = {name: value.double() for name, value in weights.items()}, images.double()
    batch = len(images)

    features = x
    for layer in (0, 2, 4, 6):
        features = F.conv2d(features, w[f"encoder.{layer}.weight"], w[f"encoder.{layer}.bias"], 2, 1).clamp_min(0)
    features = features.reshape(batch, -1)
    mean = features @ w["mean.weight"].T + w["mean.bias"]
    std = torch.exp((features @ w["log_variance.weight"].T + w["log_variance.bias"]) / 2)

    tokens = x.reshape(batch, 3, -1)
    qkv = tokens @ w["attention_gate.attention.in_proj_weight"].T + w["attention_gate.attention.in_proj_bias"]
    query, key, value = qkv.split(tokens.shape[-1], -1)
    scores = torch.exp(query @ key.transpose(1, 2) / tokens.shape[-1] ** 0.5)
    attended = scores / scores.sum(-1, keepdim=True) @ value
    attended = attended @ w["attention_gate.attention.out_proj.weight"].T + w["attention_gate.attention.out_proj.bias"]
    linear = attended.reshape(batch, -1) @ w["attention_gate.importance.weight"].T + w["attention_gate.importance.bias"]
    importance = linear / (1 + torch.exp(-linear))
    if normalize == "batch":
        a = (importance - importance.min()) / (importance.max() - importance.min())
    else:
        a = torch.stack([(row - row.min()) / (row.max() - row.min()) for row in importance])

    z = mean + std * noise.double() * (1 - a)
    decoded = (z @ w["decoder.0.weight"].T + w["decoder.0.bias"]).reshape(
        batch, -1, x.shape[-1] // 16, x.shape[-1] // 16
    )
    for layer in (2, 4, 6, 8):
        decoded = F.conv_transpose2d(decoded, w[f"decoder.{layer}.weight"], w[f"decoder.{layer}.bias"], 2, 1)
        decoded = decoded.tanh() if layer == 8 else decoded.clamp_min(0)
    return decoded, 1 - a


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize", ["batch", "image"])
@pytest.mark.parametrize("size", [16, 32])
def test_saaae_is_the_published_formula(normalize: Any, size: int, training: bool) -> None:
    torch.manual_seed(5)
    net = SAAAE(**SMALL | {"image_size": size}, normalize=normalize, noise="frozen").train(training)
    nn.init.normal_(net.attention_gate.attention.in_proj_bias)  # zero at first: a mistake there would not show
    nn.init.normal_(net.attention_gate.attention.out_proj.bias)
    for parameter in (net.log_variance.bias, net.mean.bias):
        nn.init.normal_(parameter)
    images, noise = images_of(6, size=size), net.sample_noise(torch.zeros(6, 12))
    with torch.no_grad():
        output, posterior = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    expected, gate = published(net.state_dict(), images, noise, normalize)
    torch.testing.assert_close(posterior.gate.scale.double(), gate, rtol=0, atol=1e-4)
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=1e-5)
    without_noise, _ = published(net.state_dict(), images, torch.zeros_like(noise), normalize)
    assert (output - without_noise).abs().max() > 1e-3  # the comparison above would notice wrong noise


# -- objective --------------------------------------------------------------------------------------------------


def test_objective_terms_are_sums_per_image() -> None:
    target = torch.zeros(2, 3, 16, 16)
    images = torch.stack([torch.full((3, 16, 16), 0.5), torch.full((3, 16, 16), -1.0)])
    mean, variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, torch.e]])
    error, kl = objective(images, target, Posterior(mean, variance.log(), Gate(torch.ones(1, 1))))
    torch.testing.assert_close(error, torch.tensor([0.25 * 768, 768.0]))
    torch.testing.assert_close(kl, torch.tensor([0.5, (torch.e - 2) / 2]))


def test_selective_kl_counts_important_latents_only() -> None:
    mean, importance = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.3, -0.2, 0.0, 1e-6]])
    posterior = Posterior(mean, torch.zeros(1, 4), Gate(torch.ones(1, 4), importance))
    images = torch.zeros(1, 3, 16, 16)
    torch.testing.assert_close(objective(images, images, posterior)[1], torch.tensor([0.5 * (1 + 4 + 9 + 16)]))
    torch.testing.assert_close(objective(images, images, posterior, selective=True)[1], torch.tensor([0.5 * (1 + 16)]))
    without = posterior._replace(gate=Gate(torch.ones(1, 1)))
    torch.testing.assert_close(objective(images, images, without, selective=True)[1], torch.tensor([15.0]))


# -- evaluation -------------------------------------------------------------------------------------------------


def batch_of(count: int, first: int = 0) -> Batch:
    images = (images_of(count) + 1) / 2
    return Batch(images, images * 0.9, None, torch.arange(first, first + count))


def test_heldout_images_decode_the_mean_and_a_sample_seeded_by_the_index() -> None:
    task, batch = SAAAETask(VAE(**SMALL)).eval(), batch_of(4, first=10)
    with torch.no_grad():
        torch.manual_seed(1)
        first = task.predictions(batch, "heldout")
        torch.manual_seed(2)
        alone = Batch(batch.target[2:3], batch.input[2:3], None, batch.index[2:3])
        second = task.predictions(alone, "heldout")
        posterior = task.net.encode(2 * batch.input - 1)
        of_mean = (task.net.decode(posterior.mean) + 1) / 2
    torch.testing.assert_close(first["heldout"].images, of_mean)
    assert (first["heldout_sampled"].images - of_mean).abs().max() > 1e-3
    for name in ("heldout", "heldout_sampled"):  # neither order nor batch nor global seed matters
        torch.testing.assert_close(second[name].images[0], first[name].images[2], rtol=0, atol=1e-5)


def test_active_latents_are_those_whose_mean_moves_over_the_held_out_images() -> None:
    for prior, scale in (("normal", 1.0), ("relevance", 5.0)):
        task = SAAAETask(VAE(**SMALL, prior=prior)).eval()
        with torch.no_grad():
            task.net.mean.weight.normal_().mul_(
                scale * 10.0 ** torch.linspace(3, -4, 12)[:, None]
            )  # from loud to silent
            task.net.mean.weight[[2, 5, 7]] = 0  # never move, whatever their bias
            task.net.mean.bias.fill_(30.0)
            if prior == "relevance":
                task.net.prior_variance.fill_(25.0)
            task.on_test_start()
            for first in (0, 4):
                task.predictions(batch_of(4, first), "heldout")
            means = task.net.encode(2 * batch_of(4).input - 1).mean / scale
            assert task.test_metrics() == {"heldout/active_units": float((means.var(0, correction=0) > 0.01).sum())}
            assert 0 < task.test_metrics()["heldout/active_units"] <= 9
            task.on_test_start()
            assert np.isnan(task.test_metrics()["heldout/active_units"])


def test_training_images_are_sampled_with_the_frozen_noise_of_the_training() -> None:
    task, batch = SAAAETask(SAAAE(**SMALL, noise="frozen")), batch_of(4)
    with torch.no_grad():
        expected = (task.net(2 * batch.input - 1)[0] + 1) / 2
        torch.testing.assert_close(task.predictions(batch, "train_set")["train_set"].images, expected)


def test_logged_objective_is_the_mean_of_the_training_over_20_48(monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = SAAAETask(VAE(**SMALL, noise="frozen")), batch_of(4)
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", lambda values, **options: logged.update(values))
    with torch.no_grad():
        task.training_step(batch, 0)
        prediction = task.predictions(batch, "train_set")["train_set"]
    sse = np.square((prediction.images - batch.target).numpy()).sum((1, 2, 3))
    kl = prediction.per_image_metrics["kl"].numpy()
    np.testing.assert_allclose(logged["train_set/kl_mse"], (4 * sse + kl).mean() / 20.48, rtol=1e-5)
    np.testing.assert_allclose(logged["train_set/kl_mse_gated"], logged["train_set/kl_mse"], rtol=1e-5)  # no gate
    assert "kl_mse" not in prediction.per_image_metrics  # an evaluation must not stand in for the training's own number
    assert prediction.per_image_metrics["gate_mean"].eq(1).all()


ROUNDED_GATE = 0.01


@pytest.mark.parametrize("net", [VAE, SAAAE])
def test_bfloat16_gives_float32_measures_near_those_of_float32(net: type[VAE]) -> None:
    task, batch = SAAAETask(net(**SMALL, noise="frozen")).eval(), batch_of(16)
    with torch.no_grad():
        posterior = task.net.encode(2 * batch.input - 1)
        exact = task.predictions(batch, "heldout_sampled")["heldout_sampled"]
        with torch.autocast("cpu", torch.bfloat16):
            rounded_posterior = task.net.encode(2 * batch.input - 1)
            rounded = task.predictions(batch, "heldout_sampled")["heldout_sampled"]
    assert rounded.images.dtype == torch.float32
    torch.testing.assert_close(rounded.images, exact.images, rtol=0, atol=0.02)
    for name, values in exact.per_image_metrics.items():
        measured = rounded.per_image_metrics[name]
        assert measured.dtype == torch.float32
        if name != "kl_gated":
            torch.testing.assert_close(measured, values, rtol=0.05, atol=0.02)
    # Near a gate of 0, -log(gate) turns rounding into nats: a gate of 0.0005 may become 0, which is clamped. So the gated
    # KL is compared with its range over gates that differ by at most ROUNDED_GATE, more than the rounding of any gate.
    gate, measured = posterior.gate.scale, rounded.per_image_metrics["kl_gated"]
    assert (rounded_posterior.gate.scale - gate).abs().max() <= ROUNDED_GATE
    least, most = (
        posterior._replace(gate=Gate((gate + shift).clamp(0, 1))).kl_gated_per_latent().sum(1)
        for shift in (ROUNDED_GATE, -ROUNDED_GATE)
    )
    assert (measured >= 0.95 * least - 0.02).all()
    assert (measured <= 1.05 * most + 0.02).all()

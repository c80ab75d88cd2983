"""The MoE denoiser against a plain reference of the released algorithm, and its modules."""

import importlib.util
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from attnae.papers.moe_denoiser import MoEDenoiser, load_balance_loss
from attnae.papers.moe_denoiser.attention import ExpertAttention, kth_largest, top_k_attention
from attnae.papers.moe_denoiser.net import released_names

SMALL: dict[str, Any] = {"image_size": 16, "width": 48, "heads": 3, "depth": 1, "router_hidden": 8, "feedforward": 40}


def reference_class() -> Any:
    path = Path(__file__).parents[3] / "experiments" / "speed" / "released_moe.py"
    spec = importlib.util.spec_from_file_location("released_moe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReleasedMoEDenoiser


Released = reference_class()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: the networks are too small for two, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images_of(count: int, height: int = 32, width: int | None = None) -> Tensor:
    return torch.rand(count, 3, height, width or height, generator=torch.Generator().manual_seed(0))


def pair(**config: Any) -> tuple[nn.Module, MoEDenoiser]:
    """The reference and our model with the same weights."""
    torch.manual_seed(0)
    reference, ours = Released(**config), MoEDenoiser(**config)
    released = reference.state_dict()
    for name, value in released_names(ours.state_dict()).items():
        value.copy_(released[name])
    return reference, ours


# -- the published model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 599_689),
        ({"budgets": [None]}, 285_571),
        ({"router": 2}, 582_787),
        ({"router": "uniform"}, 582_787),
        ({"budgets": [None], "width": 192, "heads": 6, "feedforward": 352}, 600_323),
    ],
)
def test_number_of_parameters(config: dict[str, Any], expected: int) -> None:
    assert sum(parameter.numel() for parameter in MoEDenoiser(**config).parameters()) == expected


@pytest.mark.parametrize(
    "config",
    [
        {},  # 64 tokens: k = 32 is sparse, 64 and 128 are full attention
        {"image_size": 48, "depth": 1},  # 144 tokens: all three are sparse
        {**SMALL, "budgets": (1, 5)},
        {**SMALL, "budgets": (16, 2, 9, 3), "patch_size": 2, "depth": 2},
    ],
    ids=["published", "48 pixels", "two experts", "four experts"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
def test_outputs_and_gradients_are_those_of_the_reference(
    config: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    reference, ours = pair(**config)
    reference, ours = reference.to(dtype), ours.to(dtype)
    images = images_of(2, config.get("image_size", 32)).to(dtype)
    clean, results = images.flip(0), []
    for net in (reference, ours):
        output = net(images)
        (output - clean).square().mean().backward()
        results.append(output.detach())
    torch.testing.assert_close(results[1], results[0], atol=tolerance, rtol=0)
    found = released_names({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    assert found.keys() == dict(reference.named_parameters()).keys()
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        assert (found[name] - parameter.grad).abs().max() <= tolerance, name


def test_channels_last_weights_change_nothing() -> None:
    reference, ours = pair()
    images = images_of(2)
    ours = ours.to(memory_format=torch.channels_last)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours(last), reference(images), atol=1e-5, rtol=0)


def test_projections_start_as_separate_layers_do() -> None:
    """torch's default: uniform within 1 / sqrt(inputs), here 128 for every expert."""
    torch.manual_seed(0)
    attention = ExpertAttention(128, 4, (32, 64, 128), 64, "learned")
    for layer in (attention.query, attention.key, attention.value, attention.out):
        for values in (layer.weight, layer.bias):
            assert 0.98 / math.sqrt(128) < values.abs().max() <= 1 / math.sqrt(128)
        assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 128), rel=0.02)


# -- variants -----------------------------------------------------------------------------------------------------


def test_one_expert_without_budget_is_standard_attention() -> None:
    torch.manual_seed(0)
    ours, standard = ExpertAttention(24, 3, [None], 8, "learned"), nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        standard.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        standard.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        standard.out_proj.load_state_dict(ours.out.state_dict())
    tokens = torch.randn(2, 7, 24)
    found, routing = ours(tokens)
    assert routing is None
    torch.testing.assert_close(found, standard(tokens, tokens, tokens)[0], atol=1e-5, rtol=0)


def test_uniform_router_equals_a_learned_one_with_equal_weights() -> None:
    reference, ours = pair(**SMALL, budgets=(2, 5, 16))
    uniform = MoEDenoiser(**SMALL, budgets=(2, 5, 16), router="uniform")
    uniform.load_state_dict({name: value for name, value in ours.state_dict().items() if ".router." not in name})
    with torch.no_grad():
        for parameter in reference.get_submodule("blocks.0.attn.router").parameters():
            parameter.zero_()
    images = images_of(3, 16)
    torch.testing.assert_close(uniform(images), reference(images), atol=1e-5, rtol=0)


def test_single_expert_is_the_selected_one() -> None:
    """A router that is certain of expert 1 gives what ``router=1`` gives, and the others' weights do not matter."""
    reference, ours = pair(**SMALL, budgets=(2, 5, 16))
    single = MoEDenoiser(**SMALL, budgets=(2, 5, 16), router=1)
    single.load_state_dict({name: value for name, value in ours.state_dict().items() if ".router." not in name})
    with torch.no_grad():
        for parameter in reference.get_submodule("blocks.0.attn.router").parameters():
            parameter.zero_()
        reference.get_parameter("blocks.0.attn.router.routing_net.2.bias")[1] = 1e4
    images = images_of(3, 16)
    torch.testing.assert_close(single(images), reference(images), atol=1e-5, rtol=0)
    single(images).square().sum().backward()
    gradient = single.get_parameter("blocks.0.attn.query.weight").grad
    assert gradient is not None  # distributed training wants a gradient for every parameter, zero for idle experts
    assert gradient.unflatten(0, (3, 48)).abs().sum((1, 2)).gt(0).tolist() == [False, True, False]


def test_single_expert_is_dense_attention_and_a_merge_layer() -> None:
    """A 32x32 image has 64 tokens: k = 128 is full attention, and only the merge layer differs from ``dense``."""
    torch.manual_seed(0)
    single, dense = MoEDenoiser(router=2), MoEDenoiser(budgets=[None])
    weights, rows = single.state_dict(), slice(2 * 128, 3 * 128)  # of the third expert
    for name, value in dense.state_dict().items():
        expert = any(f".attn.{layer}." in name for layer in ("query", "key", "value", "out"))
        value.copy_(weights[name][rows] if expert else weights[name])
    for number, block in enumerate(dense.blocks):
        merge = nn.Linear(128, 128)
        merge.load_state_dict({kind: weights[f"blocks.{number}.attn.merge_proj.{kind}"] for kind in ("weight", "bias")})
        block.attn.merge_proj = merge  # type: ignore[union-attr]
    images = images_of(4)
    torch.testing.assert_close(dense(images), single(images), atol=1e-6, rtol=0)
    for net in (dense, single):
        (net(images) - 0.5).square().sum().backward()
    gradients = {name: weight.grad for name, weight in single.named_parameters()}
    for name, weight in dense.named_parameters():
        expert = any(f".attn.{layer}." in name for layer in ("query", "key", "value", "out"))
        gradient = gradients[name]
        assert gradient is not None
        torch.testing.assert_close(weight.grad, gradient[rows] if expert else gradient, atol=1e-4, rtol=1e-4)


def test_routing_is_returned_where_it_is_learned() -> None:
    images = images_of(2)
    output, routing = MoEDenoiser().forward_with_routing(images)
    assert output.shape == images.shape
    assert [probabilities.shape for probabilities in routing] == [(2, 64, 3), (2, 64, 3)]
    for probabilities in routing:
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 64))
    unrouted: list[dict[str, Any]] = [{"router": "uniform"}, {"router": 0}, {"budgets": [None]}]
    for variant in unrouted:
        assert MoEDenoiser(**variant).forward_with_routing(images)[1] == []


def test_clamping_in_training_is_an_option() -> None:
    images = images_of(4)
    torch.manual_seed(0)
    always, evaluation = MoEDenoiser(), MoEDenoiser(clamp="eval")
    evaluation.load_state_dict(always.state_dict())
    assert evaluation(images).min() < 0
    assert torch.equal(evaluation(images).clamp(0, 1), always(images))
    assert torch.equal(evaluation.eval()(images), always.eval()(images))


# -- top-k attention ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 20),
    budgets=st.lists(st.one_of(st.none(), st.integers(1, 24)), min_size=1, max_size=3),
    heads=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_each_query_attends_to_its_k_best_keys(tokens: int, budgets: list[int | None], heads: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 2, len(budgets) * heads, tokens, 4, generator=generator, dtype=torch.float64)
    values = torch.eye(tokens, dtype=torch.float64).expand(*query.shape[:2], -1, -1)  # the output is the weights
    weights = top_k_attention(query, key, values, budgets)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    for group, scores, k in zip(weights.split(heads, 1), (query @ key.mT / 2).split(heads, 1), budgets, strict=True):
        kept = min(k or tokens, tokens)
        top, index = scores.topk(kept, -1)
        assert torch.equal(group.ne(0).sum(-1), torch.full_like(index[..., 0], kept))
        torch.testing.assert_close(group.gather(-1, index), top.softmax(-1))


def test_gradient_of_top_k_attention() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 4, 6, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda q, k, v: top_k_attention(q, k, v, (2, 6)), inputs)


def test_ties_at_the_kth_place_are_all_kept() -> None:
    query, values = torch.zeros(1, 1, 5, 4), torch.eye(5)[None, None]
    assert torch.equal(top_k_attention(query, query, values, [2]), torch.full((1, 1, 5, 5), 0.2))


def test_half_precision_still_keeps_exactly_k() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 8, 4, 64, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        weights = top_k_attention(query, key, torch.eye(64).bfloat16().expand(8, 4, -1, -1), [32])
    assert (weights.ne(0).sum(-1) == 32).all()


def test_nan_is_not_masked() -> None:
    query = torch.randn(1, 1, 8, 4)
    query[0, 0, 3] = math.nan
    assert top_k_attention(query, torch.randn(1, 1, 8, 4), torch.randn(1, 1, 8, 4), [2])[0, 0, 3].isnan().all()


def test_kth_largest_matches_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(3, 4, 33)
    before = scores.clone()
    vectorized = kth_largest(scores, 7)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(vectorized, kth_largest(scores, 7))
    assert torch.equal(vectorized, scores.sort(-1, descending=True).values[..., 6:7])
    assert torch.equal(scores, before)


def test_export_computes_the_same() -> None:
    torch.manual_seed(0)
    net, images = MoEDenoiser(**SMALL, budgets=(2, 5)).eval(), images_of(2, 16)
    exported = torch.export.export(net, (images,), strict=False).module()
    torch.testing.assert_close(exported(images.flip(0)), net(images.flip(0)))


# -- other sizes --------------------------------------------------------------------------------------------------


def test_positions_are_interpolated() -> None:
    net = MoEDenoiser(**SMALL)  # a grid of 4 x 4
    assert torch.equal(net.positions(4, 4), net.pos_embed)
    with torch.no_grad():
        net.pos_embed.copy_(torch.arange(4.0).repeat_interleave(4)[None, :, None])  # the row's number
    larger = net.positions(8, 6).unflatten(1, (8, 6))  # (1, 8, 6, width)
    torch.testing.assert_close(larger, larger[:, :, :1, :1].expand_as(larger))
    torch.testing.assert_close(larger[0, 3:5, 0, 0], torch.tensor([1.25, 1.75]), atol=0.1, rtol=0)
    assert larger[0, :, 0, 0].diff().gt(0).all()


@pytest.mark.parametrize(("height", "width"), [(32, 48), (64, 64), (4, 8)])
def test_other_image_sizes(height: int, width: int) -> None:
    images = images_of(1, height, width)
    assert MoEDenoiser()(images).shape == images.shape


# -- released weights ---------------------------------------------------------------------------------------------


def test_released_weights_reproduce_the_released_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    reference = Released()
    torch.save(reference.state_dict(), tmp_path / "released.pth")
    ours = MoEDenoiser.from_released_weights(tmp_path / "released.pth")
    assert not ours.training
    images = images_of(3)
    torch.testing.assert_close(ours(images), reference(images), atol=1e-5, rtol=0)


class Payload:
    """Executes code when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def changed(**values: Tensor | None) -> dict[str, Tensor]:
    """A released state dict with some entries replaced, added, or (``None``) left out."""
    state = Released().state_dict() | {name.replace("__", "."): value for name, value in values.items()}
    return {name: value for name, value in state.items() if value is not None}


QUERY = "blocks__0__attn__experts__1__W_q__weight"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not a state dict"),
        ({"epoch": 3}, "not a state dict"),
        ({}, "lacks 81 weights of the released model, such as blocks.0.attn.experts.0.W_k.bias"),
        (changed(pos_embed=None), "lacks 1 weights of the released model, such as pos_embed"),
        (changed(pos_embed=torch.zeros(1, 256, 128)), r"pos_embed must be \(1, 64, 128\), got \(1, 256, 128\)"),
        (changed(head=torch.zeros(1)), "has weights unknown to the released model, such as head"),
        (changed(**{QUERY: None}), "such as blocks.0.attn.experts.1.W_q.weight"),
        (changed(**{QUERY: torch.zeros(128, 64)}), r"1.W_q.weight must be \(128, 128\), got \(128, 64\)"),
    ],
    ids=["list", "no tensors", "empty", "missing", "shape", "unknown", "expert missing", "expert shape"],
)
def test_other_weights_are_rejected(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=message) as error:
        MoEDenoiser.from_released_weights(tmp_path / "file.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["torch", "pickle", "noise", "empty", "text"])
def test_invalid_weight_files_are_rejected_and_not_executed(kind: str, tmp_path: Path) -> None:
    path, touched = tmp_path / "file.pth", tmp_path / "executed"
    if kind == "torch":
        torch.save({"pos_embed": Payload(touched)}, path)
    else:
        noise = torch.randint(256, (4000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        contents = {"pickle": pickle.dumps(Payload(touched), protocol=2), "noise": bytes(noise.tolist()), "empty": b""}
        path.write_bytes(contents.get(kind, b"<html>404 Not Found</html>\n"))
    with pytest.raises(ValueError, match="not a plain state dict") as error:
        MoEDenoiser.from_released_weights(path)
    assert "\n" not in str(error.value)
    assert not touched.exists()


# -- load balance -------------------------------------------------------------------------------------------------


def test_balance_loss_in_closed_form() -> None:
    uniform = torch.full((2, 5, 3), 1 / 3)
    assert load_balance_loss([uniform, uniform]).item() == pytest.approx(0, abs=1e-6)
    assert load_balance_loss([]).item() == 0
    skewed = torch.tensor([0.5, 0.25, 0.25]).expand(2, 5, 3)
    expected = sum(math.log((1 / 3) / p) / 3 for p in (0.5, 0.25, 0.25)) / 3
    assert load_balance_loss([skewed]).item() == pytest.approx(expected, abs=1e-6)
    assert load_balance_loss([skewed, uniform, skewed]).item() == pytest.approx(2 * expected, abs=1e-6)
    certain = torch.eye(3).repeat(4, 1)[None]  # each token is certain, all together are balanced
    assert load_balance_loss([certain]).item() == pytest.approx(0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(experts=st.integers(2, 6), seed=st.integers(0, 2**31), scale=st.floats(0, 5))
def test_balance_loss_is_never_negative_and_descends_to_balance(experts: int, seed: int, scale: float) -> None:
    logits = scale * torch.randn(2, 7, experts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits.requires_grad_()
    loss = load_balance_loss([logits.softmax(-1)])
    assert loss.item() >= -1e-12
    loss.backward()
    assert logits.grad is not None
    assert load_balance_loss([(logits - 1e-3 * logits.grad).softmax(-1)]).item() <= loss.item() + 1e-12


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_size": 30}, "image_size 30 is not divisible by patch_size 4"),
        ({"width": 100, "heads": 8}, "width 100 is not divisible by the number of heads, 8"),
        ({"depth": 0}, "must be positive"),
        ({"budgets": ()}, "at least one expert"),
        ({"budgets": (32, 0)}, "each with k >= 1"),
        ({"router": 3}, "router must be 'learned', 'uniform' or the index of one of 3 experts, got 3"),
        ({"router": "random"}, "router must be"),
        ({"clamp": "never"}, "clamp must be"),
    ],
)
def test_bad_settings(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoEDenoiser(**config)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 30, 32), (1, 3, 32, 33)])
def test_bad_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        MoEDenoiser()(torch.rand(shape))

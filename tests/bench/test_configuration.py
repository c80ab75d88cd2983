"""Merging of configurations, and the output of ``attnae-bench config``."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnae.bench import catalog
from attnae.bench.app import main
from attnae.bench.catalog.configuration import merge, nested
from attnae.files import dump_yaml, parse_yaml

KEYS = st.sampled_from(["a", "b", "c", "init_args"])
VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=6) | st.lists(
    st.integers(0, 3), max_size=2
)  # fmt: skip
TREES = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
CONFIGURATIONS = st.dictionaries(KEYS, TREES, max_size=3)
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


def leaves(value: Any, way: str = "") -> dict[str, Any]:
    """Dotted keys and values of all leaves; an empty mapping is a leaf."""
    if not isinstance(value, dict) or not value:
        return {way: value}
    return {key: leaf for name, inner in value.items() for key, leaf in leaves(inner, f"{way}.{name}").items()}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CONFIGURATIONS, CONFIGURATIONS)
def test_later_layer_wins_and_inputs_are_unchanged(one: dict[str, Any], other: dict[str, Any]) -> None:
    before = copy.deepcopy((one, other))
    merged = merge(one, other)
    assert (one, other) == before
    found = leaves(merged)
    for key, value in leaves(other).items():
        if value != {}:
            assert found[key] == value
    assert merge(merged, other) == merged
    assert merge({}, one) == merge(one) == one


def test_class_path_discards_inherited_arguments() -> None:
    base = {"net": {"class_path": "A", "init_args": {"width": 3}}, "lr": 1}
    assert merge(base, {"net": {"class_path": "B"}}) == {"net": {"class_path": "B"}, "lr": 1}
    assert merge(base, {"net": {"class_path": "A"}}) == {"net": {"class_path": "A"}, "lr": 1}
    assert merge(base, {"net": {"init_args": {"depth": 2}}})["net"]["init_args"] == {"width": 3, "depth": 2}


def test_null_is_kept() -> None:
    assert merge({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merge({"a": None}, {"a": {"b": None}}) == {"a": {"b": None}}
    assert merge({"a": {"b": 1}}, {"a": {"b": None}}) == {"a": {"b": None}}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(PATHS, VALUES, max_size=4))
def test_dotted_keys_in_any_order(overrides: dict[str, Any]) -> None:
    keys = list(overrides)
    if not any(one != other and one.startswith(f"{other}.") for one in keys for other in keys):
        backwards = {key: overrides[key] for key in reversed(keys)}
        assert nested(overrides) == nested(backwards)
    for key in keys[-1:]:
        value: Any = nested(overrides)
        for part in key.split("."):
            value = value[part]
        assert value == overrides[key]


def test_class_and_arguments_in_any_order() -> None:
    base = {"net": {"class_path": "A", "init_args": {"width": 3}}}
    for order in (("net.class_path", "net.init_args.depth"), ("net.init_args.depth", "net.class_path")):
        overrides = nested({key: {"net.class_path": "B", "net.init_args.depth": 2}[key] for key in order})
        assert merge(base, overrides) == {"net": {"class_path": "B", "init_args": {"depth": 2}}}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_yaml_round_trip(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("text", ["1e-4", "1E5", "-2e+3", "1_0e2", "1.e5"])
def test_scientific_notation_without_decimal_point(text: str) -> None:
    """``attnae fit`` reads them as numbers; YAML 1.1 reads them as strings."""
    assert parse_yaml(text) == float(text)
    assert parse_yaml(dump_yaml(text)) == text


# -- attnae-bench config -------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["config", *arguments]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", catalog.names())
def test_config_prints_run_configuration(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = catalog.load(name)
    for variant in benchmark.variants:
        for profile in benchmark.profiles:
            shown = printed(capsys, name, "--variant", variant, "--profile", profile)
            assert shown == benchmark.configuration(variant, profile)


def test_merge_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Values by hand, from base, benchmark, profile, variant, profile x variant and override."""
    shown = printed(capsys, "saaae_vs_vae", "--variant", "vae", "--profile", "paper", "--set", "trainer.max_epochs=3")
    vae = {"class_path": "attnae.papers.saaae.VAE", "init_args": {"noise": "frozen"}}
    assert shown["model"] == {"class_path": "attnae.papers.saaae.SAAAETask", "init_args": {"net": vae}}
    assert shown["trainer"] == {"max_epochs": 3, "check_val_every_n_epoch": 20}
    shown = printed(capsys, "moe_robustness", "--variant", "variable_linear")
    assert shown["model"]["init_args"]["weight_decay"] == 1e-5
    assert shown["data"]["init_args"]["corruption"]["init_args"] == {"sigma": [0.1, 0.3]}


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["saae_vs_vae", "--variant", "vae"], "Did you mean saaae_vs_vae?"),
        (["saaae_vs_vae", "--variant", "vea"], "Did you mean vae?"),
        (["saaae_vs_vae", "--variant", "vae", "--profile", "qick"], "Did you mean quick?"),
        (["saaae_vs_vae", "--variant", "vae", "--set", "a"], "expected key=value"),
        (["saaae_vs_vae", "--variant", "vae", "--set", "a-b=1"], "expected key=value"),
        (["saaae_vs_vae", "--variant", "vae", "--set", "a=[1"], "the value is not valid YAML"),
        (["saaae_vs_vae"], "--variant"),
        (["nowhere.yaml", "--variant", "vae"], "nowhere.yaml"),
    ],
)
def test_config_rejects_invalid_arguments(
    arguments: list[str], culprit: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["config", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert culprit in line

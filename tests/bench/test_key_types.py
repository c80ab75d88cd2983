"""Checks of keys and values by the runner, compared with the parser of ``attnae fit``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnae.bench import catalog, keys
from attnae.bench.keys import catalog as key_catalog
from attnae.bench.keys import values
from attnae.errors import UserError
from attnae.files import dump_yaml

VARIANTS = [("saaae_vs_vae", "vae"), ("saaae_vs_vae", "saaae"), ("moe_denoising", "moe"), ("attentive_vqvae", "ah")]


def configuration(benchmark: str, variant: str) -> dict[str, Any]:
    return catalog.load(benchmark).configuration(variant, "quick")


def takes(benchmark: str, variant: str, key: str, value: str) -> bool:
    """Whether ``attnae fit`` accepts a key and value."""
    from attnae.training.keys import parser_of

    stated = dump_yaml(catalog.load(benchmark).configuration(variant, "quick"))
    try:
        parser_of("fit").parse_args(["-c", stated, f"--{key}={value}"])
    except UserError:
        return False
    return True


def refuses(benchmark: str, variant: str, key: str, value: str) -> str:
    try:
        keys.check_overrides({key: value}, {variant: configuration(benchmark, variant)})
    except UserError as error:
        return str(error)
    return ""


def settable() -> list[tuple[str, str, str]]:
    found = {}
    for benchmark, variant in VARIANTS:
        for key in key_catalog.known(configuration(benchmark, variant)):
            if key not in keys.CANNOT_WORK and key not in keys.OPTIONS:
                found.setdefault(key, (benchmark, variant, key))
    return sorted(found.values())


scalars = st.one_of(
    st.sampled_from(["true", "false", "null", "True", "yes", "abc", "3", "-1", "0", "0.5", "1e-4", "1e3", ".inf", "nan", "3.0",
                     "1_000", "0x10", "''", '"3"', "warn", "learned", "auto", "constant", "12:30:15", "2024-01-01", "~", "-"]),
    st.integers(-5, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(str),
    st.text("abcdef .-_:/+1e", max_size=6),
)  # fmt: skip
lists = st.lists(scalars.filter(lambda s: s.strip() and not set(s) & set(":,'\"")), max_size=5).map(
    lambda parts: f"[{', '.join(parts)}]"
)
mappings = st.dictionaries(st.sampled_from(["days", "hours", "a"]), st.integers(0, 5), max_size=2).map(json.dumps)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(settable()), st.one_of(scalars, lists, mappings))
def test_checks_agree_with_parser(place: tuple[str, str, str], value: str) -> None:
    """The runner accepts everything that training accepts, and plain types are decided identically.

    Two exceptions. The parser accepts 0 epochs and batches. It lets null pass at the first level of a class, regardless of its
    type, and the class then fails.
    """
    benchmark, variant, key = place
    said, real = refuses(benchmark, variant, key, value), takes(benchmark, variant, key, value)
    nothing = values.loaded(value) is None and key.count("init_args") == 1
    nothing = nothing or said.endswith(
        "must be greater than 0."
    )  # the parser accepts numbers that train or test nothing
    assert nothing or not (said and real), f"--{key}={value} is taken, but the runner says: {said}"
    argument = key_catalog.known(configuration(benchmark, variant))[key]
    if not nothing and "." not in argument.type.replace("...", ""):  # classes outside the suite are checked by the run
        assert bool(said) == (not real), f"--{key}={value} is refused by training only"


@pytest.mark.parametrize(
    ("benchmark", "variant", "key", "value"),
    [
        ("saaae_vs_vae", "vae", "data.init_args.corruption", "attnae.data.PixelMask"),
        ("saaae_vs_vae", "vae", "data.init_args.corruption.class_path", "attnae.data.masks.CenterMask"),
        ("saaae_vs_vae", "vae", "data.init_args.corruption", "{class_path: attnae.data.PixelMask, init_args: {ratio: 0.1}}"),
        ("saaae_vs_vae", "vae", "model.init_args.net.init_args", "{hidden_dim: 3}"),
        ("saaae_vs_vae", "vae", "model.init_args.net", "attnae.papers.saaae.SAAAE"),
        ("attentive_vqvae", "ah", "model.init_args.discriminator", "null"),
        ("attentive_vqvae", "ah", "model.init_args.discriminator.init_args.width", "64"),
        ("moe_denoising", "moe", "data.init_args.corruption.init_args.sigma", "[0.1, 0.3]"),
        ("moe_denoising", "moe", "model.init_args.net.init_args.budgets", "[8, 16]"),
        ("moe_denoising", "moe", "trainer.callbacks+", "Timer"),
        ("moe_denoising", "moe", "trainer.callbacks+", "{class_path: lightning.pytorch.callbacks.Timer}"),
        ("moe_denoising", "moe", "trainer.logger", "TensorBoardLogger"),
        ("moe_denoising", "moe", "trainer", "{limit_val_batches: 3}"),
        ("moe_denoising", "moe", "data.init_args.root", "2024"),
    ],
)  # fmt: skip
def test_valid_classes_are_accepted(benchmark: str, variant: str, key: str, value: str) -> None:
    said = refuses(benchmark, variant, key, value)
    real = (
        takes(benchmark, variant, key, value) if key != "trainer.logger" else True
    )  # requires save_dir, which the runner adds
    assert (said, real) == ("", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.init_args.corruption", "attnae.data.PixelMsk"),
        ("data.init_args.corruption", "attnae.papers.saaae.VAE"),
        ("data.init_args.corruption", "{class_path: attnae.data.PixelMask, init_args: {share: 0.1}}"),
        ("model.init_args.net", "attnae.data.PixelMask"),
        ("model.init_args.net.init_args", "{hidden: 3}"),
        ("model.init_args.net.init_args.gate", "constant"),
        ("trainer.max_epochs+", "3"),
        ("trainer.max_epochs.x", "3"),
        ("trainer", "{limit_val_batchs: 3}"),
        ("data.init_args.root", "[]"),
        ("data.init_args.root", "{a: 1}"),
    ],
)
def test_wrong_classes_and_types_are_rejected(key: str, value: str) -> None:
    assert refuses("saaae_vs_vae", "vae", key, value)
    assert not takes("saaae_vs_vae", "vae", key, value)

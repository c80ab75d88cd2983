"""Keys of ``--set``: validation before start, listing and shell completion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bash import completed
from hypothesis import given
from hypothesis import strategies as st
from response import responds_quickly

from attnae import cli
from attnae.bench import catalog, keys
from attnae.bench.app import main
from attnae.bench.keys import catalog as key_catalog
from attnae.bench.request import parsed
from attnae.errors import UserError

RUN = ["run", "saaae_vs_vae", "--dry-run", "--set"]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one-line error message of a rejected command."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err.strip().removeprefix("attnae-bench: error: ")


# -- unknown keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("mask_ratio", "data.init_args.corruption.init_args.ratio? Only ColorNoiseMask and PixelMask have it."),
        ("trainer.max_epoch", "trainer.max_epochs?"),
        ("epochs", "trainer.max_epochs?"),
        ("batchsize", "data.init_args.batch_size?"),
        ("data.batch_size", "data.init_args.batch_size?"),
        ("lr", "model.init_args.lr?"),
        ("data.init_args.corruption.init_args.fil", "data.init_args.corruption.init_args.fill?"),
        ("seed", "seed_everything? Use --seeds."),
    ],
)
def test_unknown_keys_suggest_closest_key(key: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *RUN, f"{key}=1") == f"Unknown key {key}. Did you mean {meant}"


def test_unknown_key_without_similar_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        refusal(capsys, *RUN, "xyzzy=1")
        == "Unknown key xyzzy. List all keys with `attnae-bench show BENCHMARK --keys`."
    )


def test_key_missing_in_some_variants_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    key = "model.init_args.net.init_args.gate"
    said = refusal(capsys, *RUN, f"{key}=constant", "--variants", "vae,saaae,vae_wide")
    assert said == f"--set {key}: vae, vae_wide have no such key. Exclude them with --variants saaae."
    assert main([*RUN, f"{key}=constant", "--variants", "saaae"]) == 0


def test_key_is_checked_against_overridden_class(capsys: pytest.CaptureFixture[str]) -> None:
    place = "data.init_args.corruption"
    assert main([*RUN, f"{place}.class_path=attnae.data.PixelMask", "--set", f"{place}.init_args.ratio=0.5"]) == 0
    capsys.readouterr()
    said = refusal(capsys, *RUN, f"{place}.class_path=attnae.data.PixelMask", "--set", f"{place}.init_args.patches=3")
    assert said.startswith(f"Unknown key {place}.init_args.patches.")


def test_groups_are_checked_key_by_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *RUN, "trainer={max_epoch: 3}").startswith("Unknown key trainer.max_epoch.")
    assert refusal(capsys, *RUN, "trainer={devices: 2}") == "--set trainer.devices: use --devices."
    assert refusal(capsys, *RUN, "trainer=3").startswith(
        "--set trainer: trainer is a group of keys. Set one of them, such as trainer."
    )


def test_append_to_callbacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "trainer.callbacks+=EarlyStopping"]) == 0
    assert "--set trainer.callbacks+=EarlyStopping" in capsys.readouterr().out
    assert "cannot append; trainer.max_epochs is not a list" in refusal(capsys, *RUN, "trainer.max_epochs+=3")


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("trainer.max_epochs=abc", "int or null"),
        ("trainer.max_epochs=1.5", "int or null"),
        ("data.init_args.batch_size=null", "int"),
        ("data.init_args.source=oficial", "auto, official, folder, array, zip, parquet, hub or embedded"),
        ("trainer.sync_batchnorm=maybe", "true or false"),
        ("model.init_args.lr=fast", "float"),
        ("model.init_args.net.init_args.channels=[1,2,3]", "[int, int, int, int]"),
        ("trainer.limit_val_batches=[1]", "int, float or null"),
        ("model.init_args.net=attnae.data.PixelMask", "a VAE, got attnae.data.PixelMask"),
    ],
)
def test_values_of_wrong_type(setting: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *RUN, setting) == f"--set {setting}: expected {expected}."


parts = st.sampled_from(["trainer", "data", "model", "init_args", "class_path", "net", "corruption", "max_epochs", "callbacks",
                         "logger", "ratio", "checkpoint", "dict_kwargs", "", "plugins", "+"])  # fmt: skip
SPECS = (
    *(
        "attnae.data.PixelMask",
        "{class_path: attnae.papers.saaae.VAE}",
        "{init_args: 3}",
        "[]",
        "{}",
        "{class_path: 3}",
    ),
    *("{init_args: {net: {init_args: {channels: x}}}}", "{class_path: [1], init_args: {a: 1}}", "[1,\n2]", "&a [*a]"),
)
texts = st.one_of(st.text(max_size=8), st.sampled_from(SPECS))


@given(
    st.lists(parts, min_size=1, max_size=6).map(".".join),
    texts,
    st.lists(parts, min_size=1, max_size=4).map(".".join),
    texts,
)
def test_any_setting_is_accepted_or_rejected_in_one_line(key: str, value: str, other: str, second: str) -> None:
    """Combined with any existing configuration."""
    benchmark = catalog.load("saaae_vs_vae")
    settings, said = {key: value, other: second}, ""
    try:
        known = {key: parsed(text, text) for key, text in settings.items()}
        keys.check_overrides(settings, {one: benchmark.configuration(one, "quick", known) for one in ("vae", "saaae")})
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.names())
def test_shipped_configurations_are_accepted(name: str) -> None:
    benchmark = catalog.load(name)
    for profile in benchmark.profiles:
        for variant in benchmark.variants:
            keys.check_configuration(benchmark.configuration(variant, profile), f"{name}.yaml")


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"trainer": {"max_epoch": 3}}, "unknown key trainer.max_epoch. Did you mean trainer.max_epochs?"),
        ({"trainer": {"max_epochs": "many"}}, "trainer.max_epochs: many: expected int or null."),
        ({"trainer": {"max_steps": 3}}, "trainer.max_steps: runs are measured in epochs; use trainer.max_epochs."),
        (
            {"data": {"class_path": "attnae.data.STL10DataModule", "init_args": {"batchsize": 3}}},
            "unknown key data.init_args.batchsize. Did you mean data.init_args.batch_size?",
        ),
        ({"modle": {}}, "unknown key modle. Did you mean model?"),
    ],
)
def test_invalid_configurations(configuration: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        keys.check_configuration(configuration, "my.yaml")
    assert str(error.value) == f"my.yaml: {message}"


# -- the Trainer ---------------------------------------------------------------------------------------------------

WORKS = {
    **dict.fromkeys(
        ("benchmark", "detect_anomaly", "deterministic", "enable_autolog_hparams", "enable_model_summary"), "true"
    ),
    **dict.fromkeys(("enable_progress_bar", "inference_mode", "logger", "sync_batchnorm"), "true"),
    **dict.fromkeys(("limit_predict_batches", "limit_test_batches", "limit_train_batches", "limit_val_batches"), "2"),
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps", "max_epochs"), "2"),
    **dict.fromkeys(("num_sanity_val_steps", "val_check_interval", "gradient_clip_val"), "2"),
    "accelerator": "cpu",
    "callbacks": "null",
    "gradient_clip_algorithm": "norm",
    "model_registry": "null",
    "strategy": "auto",
}
REFUSED = {
    "barebones": "require",
    "default_root_dir": "--out",
    "devices": "--devices",
    "enable_checkpointing": "checkpoint",
    "fast_dev_run": "data.init_args.train_images=",
    "max_steps": "trainer.max_epochs",
    "max_time": "--timeout",
    "min_epochs": "trainer.max_epochs",
    "min_steps": "trainer.max_epochs",
    "num_nodes": "--nodes",
    "overfit_batches": "data.init_args.train_images",
    "plugins": "--precision",
    "precision": "--precision",
    "profiler": "times",
    "reload_dataloaders_every_n_epochs": "memory",
    "use_distributed_sampler": "already distributes batches across devices",
}


def test_every_trainer_argument_is_allowed_or_rejected() -> None:
    names = {key.removeprefix("trainer.") for key in key_catalog.catalog()[0] if key.startswith("trainer.")}
    assert names == set(WORKS) | set(REFUSED)
    assert not WORKS.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_rejected_trainer_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, *RUN, f"trainer.{name}=1")
    assert said.startswith(f"--set trainer.{name}: ")
    assert REFUSED[name] in said


@pytest.mark.parametrize("name", WORKS)
def test_allowed_trainer_arguments(name: str) -> None:
    assert main([*RUN, f"trainer.{name}={WORKS[name]}"]) == 0


# -- show --keys ---------------------------------------------------------------------------------------------------


def test_show_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "saaae_vs_vae", "--keys"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    listed = [line for line in out.splitlines() if not line.startswith(" ")]
    assert listed == sorted(listed)
    assert {"trainer.max_epochs", "perceptual", "model.init_args.net.init_args.gate"} <= set(listed)
    assert not {"trainer.devices", "trainer.fast_dev_run"} & set(listed)
    assert main(["show", "saaae_vs_vae", "--keys", "hidden"]) == 0
    assert " ".join(capsys.readouterr().out.split()) == (
        "model.init_args.net.init_args.hidden_dim int; default 0. Width of an additional fully connected layer on each side "
        "of the latents; 0 for none, as in the paper. Variants: vae, vae_wide, vae_wide_conv, vae_ard."
    )
    assert "No key of saaae_vs_vae contains 'xyzzy'" in refusal(capsys, "show", "saaae_vs_vae", "--keys", "xyzzy")


@pytest.mark.parametrize("name", catalog.names())
def test_every_listed_key_can_be_set(name: str) -> None:
    from attnae.bench.keys.completion import configurable

    benchmark = catalog.load(name)
    for key, (argument, variants) in configurable(benchmark).items():
        if not argument.required and not isinstance(argument.default, dict | list):
            keys.check_overrides(
                {key: argument.default}, {one: benchmark.configuration(one, "quick") for one in variants}
            )


# -- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [[*RUN, "mask_ratio=0.5"], [*RUN, "trainer.max_epochs=abc"], ["show", "moe_denoising", "--keys"]],
    ids=" ".join,
)
def test_commands_respond_quickly(arguments: list[str], tmp_path: Path) -> None:
    done = responds_quickly(arguments, tmp_path)
    assert done.returncode == (0 if "show" in arguments else 2)


# -- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_of_names_and_keys(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert completed(script, "attnae-bench", "run", "sa") == ["saaae_vs_vae"]
    assert completed(script, "attnae-bench", "show", "moe_d") == ["moe_denoising"]
    assert completed(script, "attnae-bench", "run", "saaae_vs_vae", "--profile", "") == list(
        dict.fromkeys(profile for name in catalog.names() for profile in catalog.load(name).profiles)
    )
    assert {"vae", "saaae", "moe"} <= set(completed(script, "attnae-bench", "run", "saaae_vs_vae", "--variants", ""))
    offered = completed(script, "attnae-bench", "run", "saaae_vs_vae", "--set", "tra")
    assert "trainer.max_epochs=" in offered
    assert "trainer.devices=" not in offered
    assert all(one.startswith("trainer.") for one in offered)
    monkeypatch.setattr("sys.argv", ["attnae", "--print-completion", "bash"])
    assert cli.main() == 0
    offered = completed(capsys.readouterr().out, "attnae", "fit", "--model.init_args.net.init_args.ga")
    assert offered == ["--model.init_args.net.init_args.gate", "--model.init_args.net.init_args.gate_value"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_for_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert all(word in script for word in ("saaae_vs_vae", "trainer.max_epochs="))

"""Planning: parsing of requests, error messages, labels, hashes and printed commands."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnae.bench import catalog, labels, plan, precision
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.plan import Plan
from attnae.bench.reporting.cells import settings_of
from attnae.bench.request import Request
from attnae.errors import UserError
from attnae.files import read_yaml
from attnae.paths import relative
from attnae.result import NAME, Result

ALL_PLANS = [
    (name, profile, variant)
    for name in catalog.names()
    for benchmark in [catalog.load(name)]
    for profile in benchmark.profiles
    for variant in benchmark.variants
]

SAAAE_VS_VAE = catalog.load("saaae_vs_vae")


@pytest.fixture
def benchmark() -> Benchmark:
    return SAAAE_VS_VAE


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/natural64`` in a new working folder."""
    monkeypatch.chdir(tmp_path)
    return dataset(tmp_path / "data" / "natural64")


def dataset(root: Path) -> Path:
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        Image.new("RGB", (16, 16), "black" if split == "train" else "white").save(root / split / "a.png")
    return root


def make(*arguments: Any, **options: Any) -> Plan:
    return plan.make(Request(*arguments, **options))


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        make(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def hashes(made: Plan) -> list[str]:
    return [run.id.config8 for run in made.runs]


# -- seeds and variants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", [1]),
        ("3", [1, 2, 3]),
        ("7,", [7]),
        ("5,3,9", [5, 3, 9]),
        ("0,", [0]),
        (" 1 , 2 ", [1, 2]),
        ("4294967295,", [2**32 - 1]),
    ],
)
def test_seeds(benchmark: Benchmark, text: str, seeds: list[int]) -> None:
    made = make(benchmark, variants="vae", seeds=text)
    assert [run.id.seed for run in made.runs] == seeds


@pytest.mark.parametrize("text", ["0", "-1", "", ",", "a", "1,a", "1.5", "1,1", "-1,2", "4294967296,", "1;2", "1 2"])
def test_invalid_seeds(benchmark: Benchmark, text: str) -> None:
    assert f"--seeds {text!r}" in refused(benchmark, seeds=text)


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6, unique=True))
def test_any_list_of_seeds(seeds: list[int]) -> None:
    made = make(SAAAE_VS_VAE, variants="vae", seeds=",".join(map(str, seeds)) + ",")
    assert [run.id.seed for run in made.runs] == seeds


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        (None, ["vae", "saaae"]),
        ("saaae", ["saaae"]),
        ("saaae,vae", ["saaae", "vae"]),
        (" vae , saaae,", ["vae", "saaae"]),
        ("vae,vae", ["vae"]),
        (
            "all",
            ["vae", "saaae", "vae_wide", "vae_wide_conv", "saaae_constant", "saaae_random", "vae_ard", "biharmonic"],
        ),
    ],
)
def test_variants(benchmark: Benchmark, text: str | None, variants: list[str]) -> None:
    assert [run.id.variant for run in make(benchmark, variants=text).runs] == variants


def test_every_variant_runs_with_every_seed(benchmark: Benchmark) -> None:
    made = make(benchmark, variants="vae,saaae", seeds="2")
    assert [run.name for run in made.runs] == ["vae/seed1", "saaae/seed1", "vae/seed2", "saaae/seed2"]
    assert len({run.folder for run in made.runs}) == 4


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_variants(benchmark: Benchmark, text: str) -> None:
    assert "selects no variants" in refused(benchmark, variants=text)


# -- unknown names ----------------------------------------------------------------------------------------------


def test_threads_are_those_of_the_profile() -> None:
    small, large = (plan.make(Request(catalog.load("attentive_vqvae"), name, dry=True)) for name in ("quick", "paper"))
    assert (small.threads, large.threads) == (1, None)


def test_unknown_benchmark_suggests_closest() -> None:
    with pytest.raises(UserError, match=r"Unknown benchmark 'saae_vs_vae'\. Did you mean saaae_vs_vae"):
        catalog.load("saae_vs_vae")


@pytest.mark.parametrize("name", ["../benchmarks/saaae_vs_vae", "", "saaae_vs_vae.yaml", "/etc/passwd"])
def test_path_is_not_a_benchmark_name(name: str) -> None:
    with pytest.raises(UserError, match="Unknown benchmark"):
        catalog.load(name)


def test_unknown_variant_suggests_closest(benchmark: Benchmark) -> None:
    message = refused(benchmark, variants="vae,saae")
    assert "Unknown variant 'saae'. Did you mean saaae?" in message
    assert "biharmonic" in message


def test_unknown_profile_suggests_closest(benchmark: Benchmark) -> None:
    message = refused(benchmark, "papers")
    assert "Unknown profile 'papers'. Did you mean paper?" in message
    assert ", ".join(benchmark.profiles) in message


def test_no_suggestion_without_similar_name(benchmark: Benchmark) -> None:
    message = refused(benchmark, variants="zebra")
    assert "Did you mean" not in message
    assert "Available: vae, saaae" in message


# -- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["trainer.max_epochs", "=3", "", "a b=3", "1a=3", "--trainer.max_epochs=3", "a-b=3"])
def test_malformed_settings(benchmark: Benchmark, text: str) -> None:
    assert f"--set {text!r}: expected key=value" in refused(benchmark, overrides=[text])


@pytest.mark.parametrize("value", ["[1", "{", "'", "a: b: c", "!!python/object:os.system {}"])
def test_invalid_yaml_value(benchmark: Benchmark, value: str) -> None:
    assert "the value is not valid YAML" in refused(benchmark, overrides=[f"model.init_args.lr={value}"])


@pytest.mark.parametrize(
    "setting",
    [
        "trainer=3",
        "data=3",
        "data.init_args=none",
        "trainer.max_epochs=many",
        "trainer.max_epochs=",
        "trainer.max_epochs=[3]",
        "data.init_args.root=[a]",
        "data.init_args.root={a: b}",
    ],
)
def test_arbitrary_settings_plan_or_fail_in_one_line(benchmark: Benchmark, setting: str) -> None:
    message = ""
    try:
        make(benchmark, overrides=[setting])
    except UserError as error:
        message = str(error)
    assert "\n" not in message


def test_settings_are_passed_to_commands(benchmark: Benchmark) -> None:
    (run,) = make(
        benchmark,
        variants="vae",
        overrides=["trainer.max_epochs=7", "trainer.model_registry=x=y", "model.init_args.lr=1e-4"],
    ).runs
    assert run.epochs == 7
    assert run.stated["trainer"]["max_epochs"] == 7
    assert run.stated["trainer"]["model_registry"] == "x=y"
    assert run.stated["model"]["init_args"]["lr"] == 1e-4
    config = shlex.split(run.commands[0])
    assert {"trainer.max_epochs=7", "trainer.model_registry=x=y", "model.init_args.lr=0.0001"} <= set(config)


def test_last_setting_wins(benchmark: Benchmark) -> None:
    (run,) = make(benchmark, variants="vae", overrides=["trainer.max_epochs=7", "trainer.max_epochs=2"]).runs
    assert run.epochs == 2
    assert "max_epochs=7" not in " ".join(run.commands)


def test_profiles_set_the_epochs(benchmark: Benchmark, images: Path) -> None:
    epochs = {
        profile: make(benchmark, profile, "vae", data_root=images).runs[0].epochs for profile in benchmark.profiles
    }
    assert epochs["short"] == 20
    assert epochs["paper"] == 3000
    assert 1 <= epochs["quick"] <= 10


def test_published_noise_only_in_the_profiles_that_say_so(benchmark: Benchmark, images: Path) -> None:
    def net(profile: str) -> Any:
        return make(benchmark, profile, "vae", data_root=images).runs[0].stated["model"]["init_args"]["net"]

    frozen = {"paper", "epoch100", "small"}
    assert {name for name in benchmark.profiles if net(name).get("init_args", {}).get("noise") == "frozen"} == frozen


def test_untrained_variants_are_only_tested(benchmark: Benchmark) -> None:
    (run,) = make(benchmark, variants="biharmonic").runs
    assert run.fit == ()
    assert run.epochs == 0
    assert [shlex.split(command)[:2] for command in run.commands] == [["attnae-bench", "config"], ["attnae", "test"]]


# -- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "overrides", "label", "settings"),
    [
        ("short", ["trainer.max_epochs=3"], "short-natural64-3ep", []),
        ("short", [], "short-natural64", []),
        ("quick", [], "quick-natural64", []),
        ("paper", ["model.init_args.lr=1e-4"], "paper-natural64-lr=0.0001", ["lr=0.0001"]),
        (
            "short",
            ["data.init_args.batch_size=64", "trainer.max_epochs=3"],
            "short-natural64-3ep-data.batch_size=64",
            ["data.batch_size=64"],
        ),
        ("short", ["data.init_args.download=false"], "short-natural64", []),
        (
            "short",
            ["model.init_args.net.init_args.noise=frozen"],
            "short-natural64-net.noise=frozen",
            ["net.noise=frozen"],
        ),
    ],
)
def test_label_contains_profile_data_and_schedule(
    benchmark: Benchmark, images: Path, profile: str, overrides: list[str], label: str, settings: list[str]
) -> None:
    made = make(benchmark, profile, data_root=images, overrides=overrides)
    assert made.label == label
    assert settings_of(Result(**made.runs[0].id.stated(), label="mine")) == settings


def test_label_with_list_value_is_unique(benchmark: Benchmark, images: Path) -> None:
    """Brackets and commas are not allowed in folder names, and different values may look the same without them."""
    found = {make(benchmark, "short", data_root=images, overrides=[f"trainer.model_registry={value}"]).label
              for value in ("[1, 2/3]", "[1, 2, 3]", "_1_2_3_", "[1;2;3]")}  # fmt: skip
    assert len(found) == 4
    assert all(
        re.fullmatch(r"short-natural64-trainer.model_registry=_1[_;23]+(-[0-9a-f]{8})?", label) for label in found
    )


def test_keys_with_same_last_word_have_different_labels() -> None:
    benchmark = catalog.load("attentive_vqvae")
    keys = [f"model.init_args.{part}.init_args.width=12" for part in ("net", "discriminator")]
    told = [make(benchmark, overrides=list(chosen)).label for chosen in (keys[:1], keys[1:], keys)]
    assert told == ["quick-net.width=12", "quick-discriminator.width=12", "quick-discriminator.width=12-net.width=12"]


words = st.from_regex(r"[a-z_]{1,6}", fullmatch=True)
keys = st.lists(words, min_size=1, max_size=3).map(lambda parts: ".init_args.".join(["model", *parts]))
values = st.one_of(
    st.integers(-99, 99), st.floats(-9, 9), st.booleans(), st.none(), st.text(max_size=8), st.lists(st.integers(0, 9))
)


@given(one=st.dictionaries(keys, values, max_size=3), other=st.dictionaries(keys, values, max_size=3))
def test_labels_are_unique_and_valid_folder_names(one: Any, other: Any) -> None:
    told = [labels.default("short", "", overrides, "fp32", 1, 1) for overrides in (one, other)]
    assert all(NAME.fullmatch(label) and len(label.encode()) <= 200 for label in told)
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (told[0] == told[1]) == same


LONG = {
    "model.init_args.lr": 0.001, "model.init_args.net.init_args.latent_dim": 64, "data.init_args.batch_size": 128,
    "data.init_args.eval_batch_size": 64, "data.init_args.train_images": 1000, "data.init_args.test_images": 500,
    "data.init_args.corruption.init_args.patches": 8, "trainer.gradient_clip_val": 0.5, "trainer.log_every_n_steps": 7,
    "trainer.accumulate_grad_batches": 2, "trainer.check_val_every_n_epoch": 3,
}  # fmt: skip


def test_long_label_is_shortened(benchmark: Benchmark, images: Path) -> None:
    settings = [f"{key}={value}" for key, value in LONG.items()]
    made = [make(benchmark, "short", data_root=images, overrides=chosen).label for chosen in (settings, settings[:-1])]
    assert len(set(made)) == 2
    assert all(len(label.encode()) <= 120 and re.search(r"-[0-9a-f]{8}$", label) for label in made)


@pytest.mark.parametrize("name", ["a=b", "x=y-z", "run-3ep", "p-q=1", "my pets=1"])
def test_folder_name_is_not_mistaken_for_setting(benchmark: Benchmark, images: Path, name: str) -> None:
    folder = images.rename(images.with_name(name))
    made = make(benchmark, "short", data_root=folder, overrides=["model.init_args.lr=0.1"])
    assert settings_of(Result(**made.runs[0].id.stated())) == ["lr=0.1"]
    assert re.search(r"-[0-9a-f]{8}$", made.label)


def test_label_omits_data_of_profile(benchmark: Benchmark, images: Path) -> None:
    assert make(benchmark).label == "quick"
    for name in ("train_X.bin", "test_X.bin"):
        path = Path("data/stl10/stl10_binary", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert make(benchmark, "short", decode=False).label == "short"
    assert make(benchmark, "short", overrides=["data.init_args.source=embedded"]).label == "short-photos"


def test_order_of_settings_does_not_matter(benchmark: Benchmark) -> None:
    settings = ["trainer.max_epochs=3", "data.init_args.batch_size=64"]
    one, other = (make(benchmark, overrides=order) for order in (settings, settings[::-1]))
    assert one.label == other.label
    assert hashes(one) == hashes(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(["trainer={max_epochs: 3}"], ["trainer.max_epochs=3"]),
     (["trainer={logger: TensorBoardLogger, max_epochs: 3}"], ["trainer.max_epochs=3"]),
     (["trainer.logger+=TensorBoardLogger"], []),
     (["trainer.callbacks+=Timer", "trainer.callbacks+=DeviceStatsMonitor"],
      ["trainer.callbacks+=[Timer, DeviceStatsMonitor]"]),
     (["data.init_args.corruption={class_path: attnae.data.GaussianNoise}", "data.init_args.corruption.init_args.sigma=0.3"],
      ["data.init_args.corruption.init_args.sigma=0.3", "data.init_args.corruption={class_path: attnae.data.GaussianNoise}"])],
)  # fmt: skip
def test_equal_settings_have_one_label_and_hash(one: list[str], other: list[str]) -> None:
    made = [make(catalog.load("moe_denoising"), overrides=settings) for settings in (one, other)]
    assert made[0].label == made[1].label
    assert hashes(made[0]) == hashes(made[1])
    assert made[0].runs[0].stated == made[1].runs[0].stated


def test_custom_label(benchmark: Benchmark) -> None:
    made = make(benchmark, label="mine-1.0")
    assert made.label == "mine-1.0"
    assert made.runs[0].folder.as_posix().startswith("runs/saaae_vs_vae/mine-1.0/vae/seed1-")


@pytest.mark.parametrize("label", ["", "..", ".hidden", "a/b", "a b", "-x", "a\nb", "../../up", "x\n"])
def test_invalid_label(benchmark: Benchmark, label: str) -> None:
    assert "is not a valid folder name" in refused(benchmark, label=label)


# -- hash -------------------------------------------------------------------------------------------------------


def test_same_request_has_same_hash(benchmark: Benchmark, images: Path) -> None:
    assert hashes(make(benchmark, data_root=images)) == hashes(make(benchmark, data_root=images))


def test_hash_depends_on_seed_but_not_on_selected_variants(benchmark: Benchmark) -> None:
    made = make(benchmark, variants="all", seeds="3")
    by_variant = {r.id.variant: {o.id.config8 for o in made.runs if o.id.variant == r.id.variant} for r in made.runs}
    assert all(len(digests) == 1 for digests in by_variant.values())
    assert len(set.union(*by_variant.values())) == len(by_variant)
    assert all(re.fullmatch(r"[0-9a-f]{8}", run.id.config8) for run in made.runs)


@pytest.mark.parametrize(
    "setting",
    ["trainer.max_epochs=6", "model.init_args.lr=1e-4", "data.init_args.batch_size=32", "trainer.sync_batchnorm=true"],
)
def test_hash_changes_with_setting(benchmark: Benchmark, setting: str) -> None:
    assert not set(hashes(make(benchmark))) & set(hashes(make(benchmark, overrides=[setting])))


def test_hash_changes_with_profile(benchmark: Benchmark, images: Path) -> None:
    digests = [make(benchmark, p, "vae", data_root=images).runs[0].id.config8 for p in benchmark.profiles]
    assert len(set(digests)) == len(digests)


def test_different_data_changes_only_data_hash(benchmark: Benchmark, images: Path) -> None:
    before = make(benchmark, data_root=images)
    Image.new("RGB", (16, 16)).save(images / "train" / "b.png")
    after = make(benchmark, data_root=images)
    assert hashes(before) == hashes(after)
    assert not {run.id.data8 for run in before.runs} & {run.id.data8 for run in after.runs}
    assert not {run.folder for run in before.runs} & {run.folder for run in after.runs}


def test_moved_data_is_the_same_run(benchmark: Benchmark, images: Path) -> None:
    before = [run.id for run in make(benchmark, data_root=images, label="mine").runs]
    images.rename(images.with_name("elsewhere"))
    assert [run.id for run in make(benchmark, data_root=images.with_name("elsewhere"), label="mine").runs] == before


def test_package_version_does_not_change_hash(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [run.folder for run in make(benchmark).runs]
    monkeypatch.setattr("attnae._version.__version__", "99.0")
    assert [run.folder for run in make(benchmark).runs] == before


@pytest.mark.parametrize(("key", "value"), [("trainer.callbacks", "[attnae.training.record.Record]")])
def test_settings_without_effect_on_results_are_not_in_identity(benchmark: Benchmark, key: str, value: str) -> None:
    run = make(benchmark, variants="vae", overrides=[f"{key}={value}"]).runs[0]
    assert run.id.configuration["trainer"]["callbacks"] == []
    assert run.stated["trainer"]["callbacks"] == ["attnae.training.record.Record"]


def test_append_to_list(benchmark: Benchmark) -> None:
    moe = catalog.load("moe_denoising")
    before = make(moe, variants="moe").runs[0].stated["trainer"].get("callbacks", [])
    after = make(moe, variants="moe", overrides=["trainer.callbacks+=lightning.pytorch.callbacks.Timer"]).runs[0]
    assert after.stated["trainer"]["callbacks"] == [*before, "lightning.pytorch.callbacks.Timer"]


# -- precision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "trainer"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_precision(benchmark: Benchmark, wanted: str, trainer: str) -> None:
    made = make(benchmark, variants="vae", precision=wanted)
    (run,) = made.runs
    assert run.id.precision == wanted
    assert run.stated["trainer"]["precision"] == trainer
    assert ("bf16" in made.label) == (wanted == "bf16")
    assert (trainer in run.commands[1]) == (wanted == "bf16")


@pytest.mark.parametrize(
    ("capabilities", "flags", "expected"),
    [
        ([9.0, 8.0], set(), "bf16"),
        ([7.5], {"avx512_bf16"}, "fp32"),
        ([], {"avx512_bf16"}, "bf16"),
        ([], {"amx_bf16"}, "bf16"),
        ([], {"avx2"}, "fp32"),
    ],
)
def test_precision_by_capability(
    capabilities: list[float], flags: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.resources, "visible_gpus", lambda: [str(n) for n in range(len(capabilities))])
    monkeypatch.setattr(precision, "_capabilities", lambda gpus: capabilities)
    monkeypatch.setattr(precision, "_flags", lambda: flags)
    assert precision.resolved("auto") == expected
    assert precision.resolved("auto", "cpu") == ("bf16" if flags & precision.FLAGS else "fp32")
    assert precision.resolved("fp32") == "fp32"


def test_precision_is_only_set_by_its_option(benchmark: Benchmark) -> None:
    assert "use --precision" in refused(benchmark, overrides=["trainer.precision=bf16-mixed"])


def test_label_does_not_change_hash(benchmark: Benchmark) -> None:
    assert hashes(make(benchmark)) == hashes(make(benchmark, label="mine"))


def test_additional_test_metrics_do_not_change_hash(benchmark: Benchmark) -> None:
    """Metrics can be added later without training again."""
    usual, more = make(benchmark), make(benchmark, overrides=["perceptual=true"])
    assert hashes(usual) == hashes(more)
    assert [run.folder for run in usual.runs] == [run.folder for run in more.runs]
    assert [run.stated for run in usual.runs] == [run.stated for run in more.runs]
    assert all("--perceptual=true" in run.test for run in more.runs)


def test_retest_uses_current_data_location(benchmark: Benchmark, images: Path) -> None:
    (run,) = make(benchmark, variants="vae", data_root=images).runs
    again = plan.as_retest(run)
    assert again.stated["data"]["init_args"]["root"] == relative(images)
    assert (again.test, again.folder, again.id) == (run.test, run.folder, run.id)


# -- commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["--data-root", "--set"])
def test_commands_contain_no_absolute_paths(benchmark: Benchmark, images: Path, tmp_path: Path, by: str) -> None:
    where: dict[str, Any] = (
        {"data_root": images} if by == "--data-root" else {"overrides": [f"data.init_args.root={images}"]}
    )
    overrides = [*where.pop("overrides", []), "data.init_args.source=auto"]
    made = make(benchmark, "short", "all", overrides=overrides, out=tmp_path / "runs", **where)
    assert made.location is not None
    for run in made.runs:
        name = f"seed1-{run.id.config8}-{run.id.data8}"
        assert run.folder == Path("runs") / "saaae_vs_vae" / made.label / run.id.variant / name
        assert run.stated["data"]["init_args"]["root"] == "data/natural64"
        assert "--data.init_args.root=data/natural64" in run.commands[1]
        for command in run.commands:
            assert str(tmp_path) not in command
            assert not any(
                part.partition("=")[2].startswith("/") or part.startswith("/") for part in shlex.split(command)
            )


def test_commands_are_quoted_for_the_shell(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = dataset(tmp_path / "my data; rm -rf $HOME 'x'")
    for run in make(benchmark, data_root=root).runs:
        assert f"--data.init_args.root={relative(root)}" in shlex.split(run.commands[1])


@pytest.mark.parametrize("name", ["2024", "64", "1e3", "true", "null", "a: b", "data #1", "[x]", "~"])
def test_any_folder_name(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """``--data-root 2024`` is a folder, although YAML reads 2024 as a number."""
    monkeypatch.chdir(tmp_path)
    dataset(tmp_path / name)
    made = make(benchmark, "short", data_root=Path(name))
    assert made.location is not None
    assert (made.location.kind, made.location.name) == ("folder", name)


def test_data_root_replaces_data_of_profile(benchmark: Benchmark, images: Path) -> None:
    made = make(benchmark, "short", data_root=images)
    assert made.location is not None
    assert made.location.kind == "folder"
    assert made.runs[0].stated["data"]["init_args"]["source"] == "auto"


def test_both_commands_read_stated_configuration(benchmark: Benchmark) -> None:
    (run,) = make(benchmark, variants="vae", seeds="5,").runs
    folder = run.folder.as_posix()
    assert run.fit == ("fit", "-c", f"{folder}/stated.yaml")
    weights = ("--weights", f"{folder}/weights.safetensors")
    assert run.test == ("test", "-c", f"{folder}/stated.yaml", *weights, "--trainer.devices", "1")
    assert run.stated["seed_everything"] == 5
    assert run.stated["trainer"]["default_root_dir"] == folder


def test_path_in_home_is_shown_relative_to_home(
    benchmark: Benchmark, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    (run,) = make(benchmark, variants="vae", data_root=images, out=tmp_path / "my runs", label="x").runs
    assert "--data.init_args.root ~/data/natural64" in run.commands[1]
    assert "--trainer.default_root_dir ~/'my runs/saaae_vs_vae/x/vae/" in run.commands[1]
    assert run.folder.resolve() == tmp_path / "my runs/saaae_vs_vae/x/vae" / run.id.folder


# -- data -------------------------------------------------------------------------------------------------------


def test_missing_data_is_an_error_unless_dry(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "STL-10 not found in data/stl10" in refused(benchmark, "short")
    assert "STL-10 not found in nowhere" in refused(benchmark, data_root=Path("nowhere"))
    made = make(benchmark, "short", dry=True)
    assert made.location is None
    assert made.label == "short"
    assert made.runs[0].folder.name.endswith("-????????")
    assert "There is no folder nowhere" in refused(benchmark, data_root=Path("nowhere"), dry=True)


# -- shipped benchmark files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "profile", "variant"), ALL_PLANS)
def test_every_variant_of_every_profile_plans(name: str, profile: str, variant: str) -> None:
    benchmark = catalog.load(name)
    (run,) = make(benchmark, profile, variant, dry=True).runs
    assert bool(run.fit) == benchmark.variants[variant].trains
    assert bool(run.epochs) == benchmark.variants[variant].trains


@pytest.mark.parametrize("content", ["- a\n- b\n", "", "3", "a: [1", "a: !!python/object/apply:os.getcwd []", "\t"])
def test_file_without_mapping(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)

"""From a request to runs: what is parsed, what is refused with a helpful line, and what the commands say."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnae.bench import catalog, plan
from attnae.bench.benchmark import Benchmark
from attnae.bench.plan import Plan
from attnae.bench.reporting.cells import settings_of
from attnae.errors import UserError
from attnae.files import read_yaml
from attnae.result import Result

ALL_PLANS = [
    (name, profile, variant)
    for name in catalog.names()
    for benchmark in [catalog.load(name)]
    for profile in benchmark.profiles
    for variant in benchmark.variants
]


@pytest.fixture
def benchmark() -> Benchmark:
    return catalog.load("saaae_vs_vae")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/natural64`` below the working folder, which is a new one."""
    monkeypatch.chdir(tmp_path)
    return dataset(tmp_path / "data" / "natural64")


def dataset(root: Path) -> Path:
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(root / split / "a.png")
    return root


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan.make(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def hashes(made: Plan) -> list[str]:
    return [run.config_hash for run in made.runs]


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
    made = plan.make(benchmark, variants="vae", seeds=text)
    assert [run.seed for run in made.runs] == seeds


@pytest.mark.parametrize("text", ["0", "-1", "", ",", "a", "1,a", "1.5", "1,1", "-1,2", "4294967296,", "1;2", "1 2"])
def test_seeds_that_are_none(benchmark: Benchmark, text: str) -> None:
    assert f"--seeds {text!r}" in refused(benchmark, seeds=text)


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6, unique=True))
def test_any_list_of_seeds(seeds: list[int]) -> None:
    made = plan.make(catalog.load("saaae_vs_vae"), variants="vae", seeds=",".join(map(str, seeds)) + ",")
    assert [run.seed for run in made.runs] == seeds


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        (None, ["vae", "saaae"]),
        ("saaae", ["saaae"]),
        ("saaae,vae", ["saaae", "vae"]),
        (" vae , saaae,", ["vae", "saaae"]),
        ("vae,vae", ["vae"]),
        ("all", ["vae", "saaae", "vae_wide", "saaae_constant", "saaae_random", "vae_ard", "biharmonic"]),
    ],
)
def test_variants(benchmark: Benchmark, text: str | None, variants: list[str]) -> None:
    assert [run.variant for run in plan.make(benchmark, variants=text).runs] == variants


def test_every_variant_runs_with_every_seed(benchmark: Benchmark) -> None:
    made = plan.make(benchmark, variants="vae,saaae", seeds="2")
    assert [run.name for run in made.runs] == ["vae/seed1", "saaae/seed1", "vae/seed2", "saaae/seed2"]
    assert len({run.folder for run in made.runs}) == 4


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_variants(benchmark: Benchmark, text: str) -> None:
    assert "selects no variants" in refused(benchmark, variants=text)


# -- unknown names ----------------------------------------------------------------------------------------------


def test_an_unknown_benchmark_suggests_the_closest() -> None:
    with pytest.raises(UserError, match=r"Unknown benchmark 'saae_vs_vae'\. Did you mean saaae_vs_vae"):
        catalog.load("saae_vs_vae")


@pytest.mark.parametrize("name", ["../benchmarks/saaae_vs_vae", "", "saaae_vs_vae.yaml", "/etc/passwd"])
def test_a_path_is_no_benchmark(name: str) -> None:
    with pytest.raises(UserError, match="Unknown benchmark"):
        catalog.load(name)


def test_an_unknown_variant_suggests_the_closest(benchmark: Benchmark) -> None:
    message = refused(benchmark, variants="vae,saae")
    assert "Unknown variant 'saae'. Did you mean saaae?" in message
    assert "biharmonic" in message


def test_an_unknown_profile_suggests_the_closest(benchmark: Benchmark) -> None:
    message = refused(benchmark, "papers")
    assert "Unknown profile 'papers'. Did you mean paper?" in message
    assert "quick, short, paper" in message


def test_nothing_close_is_no_suggestion(benchmark: Benchmark) -> None:
    message = refused(benchmark, variants="zebra")
    assert "Did you mean" not in message
    assert "Available: vae, saaae" in message


# -- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["trainer.max_epochs", "=3", "", "a b=3", "1a=3", "--trainer.max_epochs=3", "a-b=3"])
def test_settings_that_are_none(benchmark: Benchmark, text: str) -> None:
    assert f"--set {text!r}: expected key=value" in refused(benchmark, overrides=[text])


@pytest.mark.parametrize("value", ["[1", "{", "'", "a: b: c", "!!python/object:os.system {}"])
def test_a_value_that_is_no_yaml(benchmark: Benchmark, value: str) -> None:
    assert "not a YAML value" in refused(benchmark, overrides=[f"model.init_args.lr={value}"])


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
def test_nonsense_is_one_line_or_left_to_the_run(benchmark: Benchmark, setting: str) -> None:
    message = ""
    try:
        plan.make(benchmark, overrides=[setting])
    except UserError as error:
        message = str(error)
    assert "\n" not in message


def test_settings_reach_the_commands(benchmark: Benchmark) -> None:
    (run,) = plan.make(
        benchmark,
        variants="vae",
        overrides=["trainer.max_epochs=7", "checkpoint.filename=x=y", "model.init_args.lr=1e-4"],
    ).runs
    assert run.epochs == 7
    assert {"--trainer.max_epochs=7", "--checkpoint.filename=x=y", "--model.init_args.lr=1e-4"} <= set(run.fit)


def test_the_last_of_two_settings_counts(benchmark: Benchmark) -> None:
    (run,) = plan.make(benchmark, variants="vae", overrides=["trainer.max_epochs=7", "trainer.max_epochs=2"]).runs
    assert run.epochs == 2
    assert "--trainer.max_epochs=7" not in run.fit


def test_profiles_set_the_epochs(benchmark: Benchmark, images: Path) -> None:
    epochs = {
        profile: plan.make(benchmark, profile, "vae", data_root=images).runs[0].epochs for profile in benchmark.profiles
    }
    assert epochs["short"] == 20
    assert epochs["paper"] == 3000
    assert 1 <= epochs["quick"] <= 10


def test_published_noise_only_in_the_paper_profile(benchmark: Benchmark, images: Path) -> None:
    for variant in ("vae", "saaae"):
        runs = {name: plan.make(benchmark, name, variant, data_root=images).runs[0] for name in benchmark.profiles}
        nets = {name: run.configuration["model"]["init_args"]["net"] for name, run in runs.items()}
        noise = {name: net.get("init_args", {}).get("noise") for name, net in nets.items()}
        assert noise == {"quick": None, "short": None, "paper": "frozen"}


def test_what_needs_no_training_is_only_tested(benchmark: Benchmark) -> None:
    (run,) = plan.make(benchmark, variants="biharmonic").runs
    assert run.fit == ()
    assert run.epochs == 0
    assert [shlex.split(command)[:2] for command in run.commands] == [["attnae", "test"]]


# -- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "overrides", "label", "settings"),
    [
        ("short", ["trainer.max_epochs=3"], "short-natural64-3ep", []),
        ("short", [], "short-natural64", []),
        ("quick", [], "quick-natural64", []),
        ("paper", ["model.init_args.lr=1e-4"], "paper-natural64-lr=1e-4", ["lr=1e-4"]),
        (
            "short",
            ["trainer.num_sanity_val_steps=2", "data.init_args.batch_size=64", "trainer.max_epochs=3"],
            "short-natural64-batch_size=64-3ep-num_sanity_val_steps=2",
            ["batch_size=64", "num_sanity_val_steps=2"],
        ),
        ("short", ["data.init_args.download=false"], "short-natural64", []),
        (
            "short",
            ["checkpoint.filename=[1, 2/3]"],
            "short-natural64-filename=_1_2_3_",
            ["filename=_1_2_3_"],
        ),
    ],
)
def test_the_label_tells_profile_data_and_schedule(
    benchmark: Benchmark, images: Path, profile: str, overrides: list[str], label: str, settings: list[str]
) -> None:
    assert plan.make(benchmark, profile, data_root=images, overrides=overrides).label == label
    assert settings_of(Result(label=label, profile=profile, data={"name": "natural64"})) == settings


@pytest.mark.parametrize("name", ["a=b", "x=y-z", "run-3ep", "p-q=1", "my pets=1"])
def test_a_folders_name_is_no_setting(benchmark: Benchmark, images: Path, name: str) -> None:
    folder = images.rename(images.with_name(name))
    label = plan.make(benchmark, "short", data_root=folder, overrides=["model.init_args.lr=0.1"]).label
    assert settings_of(Result(label=label, profile="short", data={"name": name})) == ["lr=0.1"]


def test_the_label_of_a_profiles_own_data_is_its_name(benchmark: Benchmark, images: Path) -> None:
    assert plan.make(benchmark).label == "quick"
    for name in ("train_X.bin", "test_X.bin"):
        path = Path("data/stl10/stl10_binary", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert plan.make(benchmark, "short").label == "short"
    assert plan.make(benchmark, "short", overrides=["data.init_args.source=embedded"]).label == "short-photos"


def test_the_order_of_settings_does_not_matter(benchmark: Benchmark) -> None:
    settings = ["trainer.max_epochs=3", "data.init_args.batch_size=64"]
    one, other = (plan.make(benchmark, overrides=order) for order in (settings, settings[::-1]))
    assert one.label == other.label
    assert hashes(one) == hashes(other)


def test_a_label_of_ones_own(benchmark: Benchmark) -> None:
    made = plan.make(benchmark, label="mine-1.0")
    assert made.label == "mine-1.0"
    assert made.runs[0].folder.as_posix().startswith("runs/saaae_vs_vae/mine-1.0/vae/seed1-")


@pytest.mark.parametrize("label", ["", "..", ".hidden", "a/b", "a b", "-x", "a\nb", "../../up", "x\n"])
def test_a_label_that_cannot_name_a_folder(benchmark: Benchmark, label: str) -> None:
    assert "cannot name a folder" in refused(benchmark, label=label)


# -- hash -------------------------------------------------------------------------------------------------------


def test_the_same_request_has_the_same_hash(benchmark: Benchmark, images: Path) -> None:
    assert hashes(plan.make(benchmark, data_root=images)) == hashes(plan.make(benchmark, data_root=images))


def test_the_hash_is_the_seeds_but_not_the_variants(benchmark: Benchmark) -> None:
    made = plan.make(benchmark, variants="all", seeds="3")
    by_variant = {run.variant: {r.config_hash for r in made.runs if r.variant == run.variant} for run in made.runs}
    assert all(len(digests) == 1 for digests in by_variant.values())
    assert len(set.union(*by_variant.values())) == len(by_variant)
    assert all(re.fullmatch(r"[0-9a-f]{8}", run.config_hash) for run in made.runs)


@pytest.mark.parametrize(
    "setting",
    ["trainer.max_epochs=6", "model.init_args.lr=1e-4", "data.init_args.batch_size=32", "trainer.sync_batchnorm=true"],
)
def test_the_hash_changes_with_a_setting(benchmark: Benchmark, setting: str) -> None:
    assert not set(hashes(plan.make(benchmark))) & set(hashes(plan.make(benchmark, overrides=[setting])))


def test_the_hash_changes_with_the_profile(benchmark: Benchmark, images: Path) -> None:
    digests = [plan.make(benchmark, p, "vae", data_root=images).runs[0].config_hash for p in benchmark.profiles]
    assert len(set(digests)) == len(digests)


def test_the_hash_changes_with_the_data(benchmark: Benchmark, images: Path) -> None:
    before = hashes(plan.make(benchmark, data_root=images))
    Image.new("RGB", (16, 16)).save(images / "train" / "b.png")
    assert not set(before) & set(hashes(plan.make(benchmark, data_root=images)))


def test_the_hash_changes_with_the_package(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(plan.make(benchmark))
    monkeypatch.setattr(plan, "__version__", "99.0")
    assert not set(before) & set(hashes(plan.make(benchmark)))


def test_the_label_does_not_change_the_hash(benchmark: Benchmark) -> None:
    assert hashes(plan.make(benchmark)) == hashes(plan.make(benchmark, label="mine"))


def test_what_a_test_measures_does_not_change_the_hash(benchmark: Benchmark) -> None:
    """Measured later, it costs no training."""
    usual, more = plan.make(benchmark), plan.make(benchmark, overrides=["perceptual=true"])
    assert hashes(usual) == hashes(more)
    assert [run.folder for run in usual.runs] == [run.folder for run in more.runs]
    assert [run.fit for run in usual.runs] == [run.fit for run in more.runs]
    assert all("--perceptual=true" in run.test for run in more.runs)


def test_a_further_test_reads_the_data_where_they_are_now(benchmark: Benchmark, images: Path) -> None:
    (run,) = plan.make(benchmark, variants="vae", data_root=images).runs
    again = plan.again(run)
    assert f"--data.init_args.root={plan.relative(images)}" in again.test
    assert (again.fit, again.folder, again.config_hash) == (run.fit, run.folder, run.config_hash)


# -- commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["--data-root", "--set"])
def test_no_path_of_this_machine_is_in_a_command(benchmark: Benchmark, images: Path, tmp_path: Path, by: str) -> None:
    where: dict[str, Any] = (
        {"data_root": images} if by == "--data-root" else {"overrides": [f"data.init_args.root={images}"]}
    )
    overrides = [*where.pop("overrides", []), "data.init_args.source=auto"]
    made = plan.make(benchmark, "short", "all", overrides=overrides, out=tmp_path / "runs", **where)
    assert made.location is not None
    for run in made.runs:
        assert run.folder == Path("runs") / "saaae_vs_vae" / made.label / run.variant / f"seed1-{run.config_hash}"
        assert "--data.init_args.root=data/natural64" in (run.fit or run.test)
        for command in run.commands:
            assert str(tmp_path) not in command
            assert not any(
                part.partition("=")[2].startswith("/") or part.startswith("/") for part in shlex.split(command)
            )


def test_a_command_survives_the_shell(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = dataset(tmp_path / "my data; rm -rf $HOME 'x'")
    for run in plan.make(benchmark, data_root=root).runs:
        assert shlex.split(run.commands[0]) == ["attnae", *run.fit]


@pytest.mark.parametrize("name", ["2024", "64", "1e3", "true", "null", "a: b", "data #1", "[x]", "~"])
def test_a_folder_may_have_any_name(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """``--data-root 2024`` is a folder, whatever YAML would make of it."""
    monkeypatch.chdir(tmp_path)
    dataset(tmp_path / name)
    made = plan.make(benchmark, "short", data_root=Path(name))
    assert made.location is not None
    assert (made.location.kind, made.location.name) == ("folder", name)


def test_the_data_root_replaces_the_profiles_data(benchmark: Benchmark, images: Path) -> None:
    made = plan.make(benchmark, "short", data_root=images)
    assert made.location is not None
    assert made.location.kind == "folder"
    assert "--data.init_args.source=auto" in made.runs[0].fit


def test_test_repeats_what_fit_saved(benchmark: Benchmark) -> None:
    (run,) = plan.make(benchmark, variants="vae", seeds="5,").runs
    folder = run.folder.as_posix()
    assert run.fit[0] == "fit"
    assert run.fit[run.fit.index("--seed_everything") + 1] == "5"
    assert run.fit[run.fit.index("--trainer.default_root_dir") + 1] == folder
    expected = ("test", "-c", f"{folder}/config.yaml", "--weights", f"{folder}/weights.safetensors")
    assert run.test == (*expected, "--trainer.devices", "1")


# -- data -------------------------------------------------------------------------------------------------------


def test_missing_data_is_an_error_unless_dry(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "STL-10 not found in data/stl10" in refused(benchmark, "short")
    assert "STL-10 not found in nowhere" in refused(benchmark, data_root=Path("nowhere"))
    made = plan.make(benchmark, "short", dry=True)
    assert made.location is None
    assert made.label == "short"


# -- the benchmark files themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "profile", "variant"), ALL_PLANS)
def test_every_variant_of_every_profile_plans(name: str, profile: str, variant: str) -> None:
    benchmark = catalog.load(name)
    (run,) = plan.make(benchmark, profile, variant, dry=True).runs
    assert run.configuration == benchmark.configuration(variant, profile)
    first = run.fit or run.test
    assert [first[n + 1] for n, part in enumerate(first) if part == "-c"] == [f"{run.folder}/stated.yaml"]
    assert bool(run.fit) == benchmark.variants[variant].trains
    assert bool(run.epochs) == benchmark.variants[variant].trains


@pytest.mark.parametrize("content", ["- a\n- b\n", "", "3", "a: [1", "a: !!python/object/apply:os.getcwd []", "\t"])
def test_a_file_that_holds_no_mapping(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)

"""Benchmark files: reading, validation and error messages."""

# ruff: noqa: E501 (table with one error per line)

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnae.bench import catalog
from attnae.bench.app import main
from attnae.bench.catalog.benchmark import Benchmark
from attnae.errors import UserError
from attnae.files import dump_yaml, parse_yaml, shipped
from attnae.metrics.columns import COLUMNS
from attnae.paths import shown

NAMES = catalog.names()
RAW: dict[str, dict[str, Any]] = {
    name: parse_yaml(shipped("benchmarks", f"{name}.yaml").read_text(encoding="utf-8")) for name in NAMES
}


def small(**changes: Any) -> dict[str, Any]:
    """A minimal benchmark file; a value of ``None`` removes the key."""
    raw: dict[str, Any] = {
        "title": "Example",
        "question": "Does it help?",
        "paper": {"title": "A paper"},
        "dataset": "CIFAR-10",
        "embedded": "photos",
        "base": "configs/moe_denoiser.yaml",
        "baseline": "plain",
        "variants": {
            "plain": {"title": "plain", "about": "the baseline", "default": True},
            "wide": {"from": "plain", "title": "wide", "changes": {"model": {"init_args": {"lr": 0.1}}}},
        },
        "profiles": {"quick": {"about": "minutes", "evidence": "demonstration"}},
        "tables": [{"title": "Held-out images", "protocol": "heldout", "columns": ["mse", "psnr_mean"]}],
        "claims": [claim()],
    }
    return {key: value for key, value in {**raw, **changes}.items() if value is not None}


def claim(**changes: Any) -> dict[str, Any]:
    given = {"claim": "c", "where": "w", "left": "wide", "metric": "heldout/mse", "relation": "lower", "right": "plain"}
    return {**given, **changes}


def written(folder: Path, raw: Any, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    """The one-line error message for a file, without the file name."""
    with pytest.raises(UserError) as caught:
        catalog.read(path)
    message = str(caught.value)
    assert message.startswith(f"{shown(path)}: ")
    assert "\n" not in message
    return message.removeprefix(f"{shown(path)}: ")


# -- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_shipped_benchmarks(name: str) -> None:
    benchmark = catalog.load(name)
    assert benchmark.name == name
    assert benchmark.variants.keys() == RAW[name]["variants"].keys()
    assert next(iter(benchmark.profiles)) == "quick"
    assert benchmark.profiles["quick"].evidence == "demonstration"
    assert 1 <= sum(claim.primary for claim in benchmark.claims) <= 3
    for variant in benchmark.variants:
        for profile in benchmark.profiles:
            assert benchmark.configuration(variant, profile)["model"]["class_path"].startswith("attnae.papers.")


def test_benchmark_from_any_path(tmp_path: Path) -> None:
    benchmark = catalog.find(str(written(tmp_path, small())))
    assert benchmark.name == "mine"
    assert benchmark.variants["wide"].about == "the baseline"
    assert not benchmark.variants["wide"].default
    assert benchmark.configuration("wide", "quick")["model"]["init_args"]["lr"] == 0.1
    assert (benchmark.revision, benchmark.average) == (1, None)


@pytest.mark.parametrize("name", catalog.names())
def test_baseline_is_compared_by_default(name: str) -> None:
    benchmark = catalog.load(name)
    assert benchmark.variants[benchmark.baseline].default  # the questions of a benchmark are about differences to it


def test_base_configuration_in_same_folder(tmp_path: Path) -> None:
    written(tmp_path, {"model": {"class_path": "my.Task"}}, "base.yaml")
    benchmark = catalog.read(written(tmp_path, small(base="base.yaml")))
    assert benchmark.configuration("plain", "quick") == {"model": {"class_path": "my.Task"}}


def test_inherited_variants_equal_those_of_main_benchmark() -> None:
    main_benchmark, study = catalog.load("moe_denoising"), catalog.load("moe_ablation")
    for name in ("moe", "dense", "single_expert", "uniform_router", "dense_wide", "dncnn"):
        ours, theirs = study.variants[name], main_benchmark.variants[name]
        assert (ours.title, ours.about, ours.changes) == (theirs.title, theirs.about, theirs.changes)
    net = {"init_args": {"clamp": "always", "budgets": [None]}}
    assert study.variants["dense_clamped"].changes == {"model": {"init_args": {"net": net}}}


def test_show_accepts_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(written(tmp_path, small())), "--out", str(tmp_path)]) == 0
    assert "Does it help?" in capsys.readouterr().out
    assert main(["show", str(tmp_path / "other.yaml")]) == 2
    assert "other.yaml" in capsys.readouterr().err


def test_a_shipped_file_named_by_its_path_is_the_shipped_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shipped())
    named = catalog.find("benchmarks/moe_ablation.yaml")
    assert named == catalog.load("moe_ablation")
    assert named.file is None


# -- validation ---------------------------------------------------------------------------------------------------

TABLE = {"title": "t", "protocol": "heldout", "columns": ["mse"]}
CURVE = {"key": "val/mse", "title": "t"}
SWEEP = {"title": "t", "x": "sigma", "metric": "mse", "protocols": {0.1: "heldout_sigma_0.1"}}
RELATION = {"title": "t", "x": "heldout/dead_rows", "y": "heldout/mse"}
PROFILE = {"about": "a", "evidence": "partial"}
VARIANT = {"title": "t", "about": "a", "default": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tittle": "x"}, "unknown key 'tittle'. Did you mean title?"),
        ({"name": "x"}, "unknown key 'name'."),
        ({"title": None}, "missing key 'title'"),
        ({"baseline": None}, "missing key 'baseline'"),
        ({"variants": None}, "missing key 'variants'"),
        ({"base": None}, "missing key 'base'"),
        ({"title": 3}, "title: must be a string, got 3"),
        ({"revision": "2"}, "revision: must be a whole number, got '2'"),
        ({"revision": True}, "revision: must be a whole number, got True"),
        ({"revision": 0}, "revision: must be 1 or more"),
        ({"embedded": "photo"}, "embedded: must be one of photos, faces, got 'photo'"),
        ({"average": "all"}, "average: must be last_epochs or null, got 'all'"),
        ({"average": "last_epochs"}, "average: requires last_epochs above 0 in the configuration"),
        ({"paper": {"title": "t", "link": "x"}}, "paper: unknown key 'link'."),
        ({"base": "configs/moe_denoisr.yaml"}, "base: file not found: 'configs/moe_denoisr.yaml'. Did you mean configs/moe_denoiser.yaml?"),
        ({"baseline": "plane"}, "baseline: unknown variant 'plane'. Did you mean plain?"),
        ({"variants": {}}, "variants: must not be empty"),
        ({"variants": {"a b": VARIANT}}, "variants: the name 'a b' must consist"),
        ({"variants": {"plain": VARIANT, 3: VARIANT}}, "variants, key 3: must be a string"),
        ({"variants": {"plain": {**VARIANT, "default": "yes"}}}, "variants.plain.default: must be true or false, got 'yes'"),
        ({"variants": {"plain": {**VARIANT, "default": False}}, "claims": []}, "variants: at least one variant must have `default: true`"),
        ({"variants": {"plain": {**VARIANT, "name": "x"}}}, "variants.plain: unknown key 'name'."),
        ({"variants": {"plain": {"title": "x"}}}, "variants.plain: missing key 'about'"),
        ({"variants": {"plain": {**VARIANT, "changes": [1]}}}, "variants.plain.changes: must be a mapping, got [1]"),
        ({"variants": {"plain": {"from": "wide"}, "wide": {"from": "plain"}}}, "from: variants inherit from each other in a cycle: plain -> wide -> plain"),
        ({"variants": {"plain": {"from": "plain"}}}, "variants.plain.from: variants inherit from each other in a cycle"),
        ({"variants": {"plain": {"from": "plan"}}}, "variants.plain.from: unknown variant 'plan'. Did you mean plain?"),
        ({"variants": {"plain": {"from": "moe_denoisin/moe"}}}, "variants.plain.from: unknown benchmark 'moe_denoisin'. Did you mean moe_denoising?"),
        ({"variants": {"plain": {"from": "moe_denoising/mo"}}}, "variants.plain.from: unknown variant 'mo'. Did you mean moe?"),
        ({"variants": {"plain": {"from": "saaae_vs_vae/vae"}}}, "variants.plain.from: saaae_vs_vae has a different base configuration"),
        ({"changes": {"a": [{3: 1}]}}, "changes.a[0]: the key 3 must be a string"),
        ({"changes": {"net": {"class_path": None}}}, "changes.net.class_path: must be a class path, got None"),
        ({"profiles": {}}, "profiles: must not be empty"),
        ({"profiles": {"quick": {**PROFILE, "evidence": "some"}}}, "profiles.quick.evidence: must be one of demonstration, partial, published, got 'some'"),
        ({"profiles": {"quick": {**PROFILE, "threads": 0}}}, "profiles.quick.threads: must be 1 or more"),
        ({"profiles": {"paper": {**PROFILE, "evidence": "published"}, "quick": PROFILE}}, "profiles: must be ordered by evidence: demonstrations first, published last"),
        ({"profiles": {"quick": {**PROFILE, "variants": {"wid": {}}}}}, "profiles.quick.variants: unknown variant 'wid'. Did you mean wide?"),
        ({"tables": [TABLE, {**TABLE, "columns": ["mse", "psnr_men"]}]}, "tables[1].columns[1]: unknown metric 'psnr_men'. Did you mean psnr_mean?"),
        ({"tables": [{**TABLE, "columns": ["params_total"]}]}, "tables[0].columns[0]: unknown metric 'params_total'."),
        ({"tables": [{**TABLE, "columns": ["grad_norm"]}]}, "tables[0].columns[0]: unknown metric 'grad_norm'."),
        ({"tables": [{**TABLE, "columns": ["route_prob_0"]}]}, "tables[0].columns[0]: unknown metric 'route_prob_0'. Did you mean route_prob?"),
        ({"tables": [{**TABLE, "protocol": "held_out"}]}, "tables[0].protocol: unknown protocol 'held_out'. Did you mean heldout?"),
        ({"tables": [{**TABLE, "protocol": "published"}]}, "tables[0].protocol: unknown protocol 'published'."),
        ({"tables": [{**TABLE, "leading": -1}]}, "tables[0].leading: must not be negative"),
        ({"curves": [{**CURVE, "key": "val/mze"}]}, "curves[0].key: unknown curve 'val/mze'. Did you mean val/mse?"),
        ({"curves": [{**CURVE, "published": {"wide": {"one": 1}}}]}, "curves[0].published.wide, key one: must be a whole number, got 'one'"),
        ({"curves": [{**CURVE, "published": {"wid": {1: 1}}}]}, "curves[0].published: unknown variant 'wid'. Did you mean wide?"),
        ({"sweeps": [{**SWEEP, "metric": "msa"}]}, "sweeps[0].metric: unknown metric 'msa'. Did you mean mse?"),
        ({"sweeps": [{**SWEEP, "protocols": {0.1: "heldout_sigm_0.1"}}]}, "sweeps[0].protocols.0.1: unknown protocol 'heldout_sigm_0.1'."),
        ({"sweeps": [{**SWEEP, "published": {"wide": {0.2: 1.0}}}]}, "sweeps[0].published.wide: unknown value of sigma '0.2'. Did you mean 0.1?"),
        ({"relations": [{"title": "t", "x": "heldout/mse"}]}, "relations[0]: missing key 'y'"),
        ({"relations": [{**RELATION, "y": "heldout/mze"}]}, "relations[0].y: unknown metric 'mze'. Did you mean mse?"),
        ({"relations": [{**RELATION, "slope": "power"}]}, "relations[0].slope: 'power' requires a protocol, such as heldout/power"),
        ({"relations": [{**RELATION, "variants": ["wid"]}]}, "relations[0].variants[0]: unknown variant 'wid'. Did you mean wide?"),
        ({"relations": [{**RELATION, "per": 0}]}, "relations[0].per: must be above 0"),
        ({"figures": [{"file": "a.png", "caption": "c", "variants": ["wid"]}]}, "figures[0].variants[0]: unknown variant 'wid'. Did you mean wide?"),
        ({"published": [{"source": "s", "values": {"wid": {}}}]}, "published[0].values: unknown variant 'wid'. Did you mean wide?"),
        ({"published": [{"source": "s", "values": {"wide": {"mse": 1}}}]}, "published[0].values.wide: 'mse' requires a protocol, such as heldout/mse"),
        ({"published": [{"source": "s", "values": {"wide": {"heldout/mse": "low"}}}]}, "published[0].values.wide.heldout/mse: must be a number, got 'low'"),
        ({"claims": [claim(left="wid")]}, "claims[0].left: unknown variant 'wid'. Did you mean wide?"),
        ({"claims": [claim(right="plane")]}, "claims[0].right: unknown variant 'plane'. Did you mean plain?"),
        ({"claims": [claim(right=[])]}, "claims[0].right: must be a string or a number, got []"),
        ({"claims": [claim(metric="heldout/msi")]}, "claims[0].metric: unknown metric 'msi'. Did you mean mse?"),
        ({"claims": [claim(metric="param_total")]}, "claims[0].metric: unknown metric 'param_total'. Did you mean params_total?"),
        (
            {"claims": [claim(metric=["heldout/mse", "heldout/psnr_mean"])]},
            "claims[0].metric: must name one metric under several protocols, because their mean is compared",
        ),
        ({"claims": [claim(metric=[])]}, "claims[0].metric: must name at least one metric"),
        ({"claims": [claim(relation="better")]}, "claims[0].relation: must be one of higher, lower, equal, got 'better'"),
        ({"claims": [claim(relation="equal")]}, "claims[0].margin: must be above 0 if relation is equal"),
        ({"claims": [claim(margin=-1)]}, "claims[0].margin: must be above 0"),
        ({"claims": [claim(right="wide")]}, "claims[0].right: wide cannot be compared with itself"),
        ({"sweeps": [{"title": "t", "x": "s", "metric": "mse", "protocols": {}}]}, "sweeps[0].protocols: must not be empty"),
        ({"curves": [{"key": "train/loss", "title": "t", "digits": -1}]}, "curves[0].digits: must be from 0 to 12"),
        ({"curves": [{"key": "train/loss", "title": "t", "digits": 10**9}]}, "curves[0].digits: must be from 0 to 12"),
        ({"claims": [claim(relative_margin=1.5)]}, "claims[0].relative_margin: must be between 0 and 1, without margin"),
        ({"claims": [claim(relative_margin=0.1, margin=1)]}, "claims[0].relative_margin: must be between 0 and 1, without margin"),
        ({"claims": [claim(margin=float("nan"))]}, "claims[0].margin: must be a number, got nan"),
        ({"claims": [claim(published=[1.0])]}, "claims[0].published: must be one number or two numbers, [left, right]"),
        ({"claims": [claim(primary=True)] * 4}, "claims: 4 primary claims; at most 3 are allowed"),
        ({"claims": {}}, "claims: must be a list, got {}"),
        ({"figures": [{"file": "../../x.png", "variants": ["plain"], "caption": "c"}]}, "figures[0].file: '../../x.png' must be the name of a picture"),
        ({"figures": [{"file": "/etc/passwd", "variants": ["plain"], "caption": "c"}]}, "figures[0].file: '/etc/passwd' must be the name of a picture"),
        ({"figures": [{"file": "..", "variants": ["plain"], "caption": "c"}]}, "figures[0].file: '..' must be the name of a picture"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)  # fmt: skip
def test_invalid_files_are_rejected_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    catalog.read(written(tmp_path, small()))  # valid without the change
    assert message in refused(written(tmp_path, small(**changes)))


def test_equality_may_have_a_relative_margin(tmp_path: Path) -> None:
    file = written(tmp_path, small(claims=[claim(relation="equal", relative_margin=0.05)]))
    assert catalog.read(file).claims[0].relative_margin == 0.05


def test_invalid_file_name(tmp_path: Path) -> None:
    assert "the name 'my benchmark' must consist" in refused(written(tmp_path, small(), "my benchmark.yaml"))


def test_duplicate_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: a\ntitle: b\n")
    with pytest.raises(UserError, match=r"mine\.yaml: duplicate key 'title'"):
        catalog.read(path)


# -- mutated shipped files -----------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*COLUMNS, "heldout/mse", "vae"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values inside a nested value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places(inner, (*way, key))


def replaced(holder: Any, key: Any, draw: Callable[..., Any]) -> None:
    holder[key] = draw(ANYTHING)


def removed(holder: Any, key: Any, draw: Callable[..., Any]) -> None:
    del holder[key]


def renamed(holder: Any, key: Any, draw: Callable[..., Any]) -> None:
    value = holder[key]
    del holder[key]
    if isinstance(holder, dict):
        holder[
            draw(
                st.text(max_size=5) | st.integers() | st.sampled_from(["from", "name", "changes", "trainer", f"{key}s"])
            )
        ] = value


def moved(holder: Any, key: Any, draw: Callable[..., Any]) -> None:
    """Replaces the value with another value of the same container."""
    other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = copy.deepcopy(holder[other])


@st.composite
def mutants(draw: Callable[..., Any]) -> dict[str, Any]:
    raw = copy.deepcopy(RAW[draw(st.sampled_from(NAMES))])
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(places(raw))))
        holder: Any = raw
        for key in way:
            holder = holder[key]
        draw(st.sampled_from([replaced, removed, renamed, moved]))(holder, last, draw)
    return raw


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutants())
def test_mutated_files_are_valid_or_rejected_in_one_line(raw: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), raw)
        try:
            read: Benchmark | None = catalog.read(path)
        except UserError as error:
            read = None
            assert str(error).startswith((f"{shown(path)}: ", f"Cannot read {shown(path)}: "))  # noqa: PT017
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["show", str(path), "--out", folder, "--reports", folder])
        assert code == 0 or len(err.getvalue().splitlines()) == 1
        assert code in (0, 2)
        assert code == 2 or read is not None
        for variant in read.variants if read else ():
            for profile in read.profiles if read else ():
                assert isinstance(read and read.configuration(variant, profile), dict)


def test_a_benchmark_that_lies_among_the_runs_is_not_replaced(tmp_path: Path) -> None:
    """As with ``--out .`` beside the folder of one's own benchmark."""
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "benchmark.yaml"
    path.write_text("# a comment\n" + dump_yaml(small()), encoding="utf-8")
    before = path.read_bytes()
    read = catalog.read(path)
    assert read.name == "mine"
    catalog.keep(read, tmp_path)
    assert path.read_bytes() == before
    catalog.keep(read, tmp_path / "runs")
    assert catalog.read(tmp_path / "runs/mine/benchmark.yaml").variants == read.variants

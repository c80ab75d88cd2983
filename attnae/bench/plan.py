"""From a request to runs: which variant and seed, in which folder, by which commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from attnae._version import __version__
from attnae.bench import keys, tracking
from attnae.bench.benchmark import Benchmark
from attnae.bench.catalog import choose
from attnae.bench.run import Run
from attnae.data.location import Location, Source, locate
from attnae.errors import UserError
from attnae.files import parse_yaml
from attnae.result import NAME, label_part

MOST_SEEDS = 1000
RESERVED = {
    "seed_everything": "use --seeds, so that the report knows.",
    "trainer.default_root_dir": "use --out, so that the report finds the run.",
    "weights": "a run trains its own weights.",
    "ckpt_path": "a run goes on from its own checkpoint by itself.",
    "trainer.devices": "use --devices.",
    "trainer.num_nodes": "use --nodes.",
}

MEASURES = ("perceptual",)
"""Keys that change what a test measures and nothing of the training: no part of a run's hash."""


@dataclass(frozen=True)
class Plan:
    """All runs of a request.

    Attributes:
        benchmark: What is compared.
        profile: Name of the profile.
        label: Name of the report.
        runs: In the order of execution.
        location: The data; ``None`` in a dry run that did not find it.
        accelerator: ``trainer.accelerator`` of the runs.
        hashes: Every variant to the ``config_hash`` that it has, or would have, in this plan: what can stand in one report.
    """

    benchmark: Benchmark
    profile: str
    label: str
    runs: list[Run]
    location: Location | None
    accelerator: str
    hashes: dict[str, str]


def make(
    benchmark: Benchmark,
    profile: str | None = None,
    variants: str | None = None,
    seeds: str = "1",
    data_root: Path | None = None,
    overrides: list[str] | None = None,
    label: str | None = None,
    out: Path = Path("runs"),
    dry: bool = False,
    devices: int = 1,
    nodes: int = 1,
) -> Plan:
    """Resolves a request.

    Args:
        benchmark: What to compare.
        profile: Name of a profile; ``None`` for the first.
        variants: Names separated by commas, ``all``, or ``None`` for the benchmark's defaults.
        seeds: A number of seeds (``3`` means 1, 2, 3) or seeds separated by commas (``7,``).
        data_root: Folder of the images instead of the profile's.
        overrides: ``key=value`` in the keys of ``attnae fit``.
        label: Name of the report instead of the one that describes profile, data and schedule.
        out: Folder of all runs.
        dry: Do not insist on the data.
        devices: Devices that train one run, on each of its machines.
        nodes: Machines that train one run.

    Raises:
        UserError: A name is unknown, an override has another form, or the data is missing.
    """
    profile = choose("profile", profile or next(iter(benchmark.profiles)), benchmark.profiles)
    settings = dict(_setting(text) for text in overrides or [])
    typed = dict(settings)
    logger = {key: settings.pop(key) for key in list(settings) if f"{key}.".startswith(f"{tracking.LOGGER}.")}
    tested = {key: settings.pop(key) for key in MEASURES if key in settings}
    for key, value in tested.items():  # a training that does not get it cannot refuse it, either
        if not isinstance(_value(key, value), bool):
            raise UserError(f"--set {key}={value}: neither true nor false.")
    if data_root is not None:
        download = _value("data.init_args.download", settings.get("data.init_args.download", "false"))
        settings.setdefault("data.init_args.source", "official" if download else "auto")
    elif isinstance(root := _value("data.init_args.root", settings.get("data.init_args.root", "null")), str):
        data_root = Path(root)
    if data_root is not None:
        settings["data.init_args.root"] = _quoted(relative(data_root))
    for key, count in (("trainer.devices", devices), ("trainer.num_nodes", nodes)):
        if count > 1:
            settings[key] = str(count)
    chosen, numbers = _variants(benchmark, variants), _seeds(seeds)

    location: Location | None = None
    merged = {variant: _merge(benchmark, variant, profile, settings) for variant in benchmark.variants}
    keys.check(typed, {variant: merged[variant] for variant in chosen})
    try:
        location = _locate(benchmark, merged[chosen[0]])
    except UserError:
        if not dry:
            raise
    out = Path(relative(out))
    label = _label(profile, benchmark, location, settings) if label is None else label
    if not NAME.fullmatch(label):
        raise UserError(f"The label {label!r} cannot name a folder: use letters, digits, '-', '_', '.', '=' and '+'.")
    hashes = {variant: _hash(merged[variant], settings, location) for variant in benchmark.variants}
    runs = [
        _run(benchmark, label, profile, variant, seed, merged[variant], settings, hashes[variant], out)
        for seed in numbers
        for variant in chosen
        if benchmark.variants[variant].trains or seed == numbers[0]  # nothing in them depends on the seed
    ]
    measures = tuple(f"--{key}={value}" for key, value in tested.items())
    runs = [replace(run, test=(*run.test, *measures), logger=tracking.arguments(logger, run)) for run in runs]
    accelerator = str(_section(merged[chosen[0]], "trainer").get("accelerator", "auto"))
    return Plan(benchmark, profile, label, runs, location, accelerator, hashes)


def again(run: Run) -> Run:
    """A complete run, to be tested once more: on the data of this request, wherever that was when it was trained."""
    place = tuple(word for word in run.fit if re.match(r"--data\.init_args\.(root|source|download)=", word))
    return replace(run, test=(*run.test, *place), again=True)


def relative(path: Path) -> str:
    """A path as seen from the working folder: commands in a report must not tell one machine's folders."""
    if path.parts[:1] == ("hf:",):  # an address of the hub
        return f"hf://{'/'.join(path.parts[1:])}"
    return Path(os.path.relpath(path)).as_posix()


def _run(
    benchmark: Benchmark,
    label: str,
    profile: str,
    variant: str,
    seed: int,
    merged: dict[str, Any],
    settings: dict[str, str],
    digest: str,
    out: Path,
) -> Run:
    folder = out / benchmark.name / label / variant / f"seed{seed}-{digest}"
    files = ["-c", f"{folder.as_posix()}/stated.yaml"]
    keys = [f"--{key}={value}" for key, value in settings.items()]
    alone = ["--trainer.devices", "1"]  # every image is evaluated once
    if {"trainer.devices", "trainer.num_nodes"} & settings.keys():
        alone += ["--trainer.num_nodes", "1", "--trainer.strategy", "auto"]
    common = ["--seed_everything", str(seed), "--trainer.default_root_dir", folder.as_posix(), *keys]
    if benchmark.variants[variant].trains:
        fit = ["fit", *files, *common]
        weights = ["--weights", f"{folder.as_posix()}/weights.safetensors"]
        test = ["test", "-c", f"{folder.as_posix()}/config.yaml", *weights, *alone]
    else:
        fit, test = [], ["test", *files, *common, *alone]
    epochs = _section(merged, "trainer").get("max_epochs", 1) if fit else 0
    if not isinstance(epochs, int):
        raise UserError(f"trainer.max_epochs is {epochs!r}, not a number of epochs.")
    return Run(
        benchmark.name,
        label,
        profile,
        variant,
        seed,
        folder,
        tuple(fit),
        tuple(test),
        epochs,
        digest,
        configuration=merged,
    )


def _hash(merged: dict[str, Any], settings: dict[str, str], location: Location | None) -> str:
    place = {"root", "source", "download"}  # the fingerprint says what is there, wherever that is
    data = {key: value for key, value in _section(merged, "data", "init_args").items() if key not in place}
    identity = {
        "config": {**merged, "data": {**_section(merged, "data"), "init_args": data}},
        "overrides": {
            key: value for key, value in settings.items() if key not in {f"data.init_args.{p}" for p in place}
        },
        "data": location.fingerprint if location else None,
        "version": __version__,
    }
    return hashlib.blake2b(json.dumps(identity, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()


def _variants(benchmark: Benchmark, text: str | None) -> list[str]:
    if text == "all":
        return list(benchmark.variants)
    if text is None:
        return [variant.name for variant in benchmark.variants.values() if variant.default]
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if not wanted:
        raise UserError(f"--variants {text!r} selects no variants. Available: {', '.join(benchmark.variants)}.")
    return list(dict.fromkeys(choose("variant", name, benchmark.variants) for name in wanted))


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
        seeds = numbers if "," in text else list(range(1, min(numbers[0], MOST_SEEDS + 1) + 1))
    except (ValueError, IndexError):
        seeds = []
    if (
        len(seeds) > MOST_SEEDS
        or not seeds
        or not all(0 <= seed < 2**32 for seed in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        raise UserError(
            f"--seeds {text!r} is neither a number of seeds nor different seeds separated by commas, such as 1,2,3."
        )
    return seeds


def _setting(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"[A-Za-z_][\w.]*\+?", key):
        raise UserError(f"--set {text!r}: expected key=value with a key of `attnae fit`, such as trainer.max_epochs=3.")
    if key in RESERVED:
        raise UserError(f"--set {key}: {RESERVED[key]}")
    return key, value


def _merge(benchmark: Benchmark, variant: str, profile: str, settings: dict[str, str]) -> dict[str, Any]:
    """The run's configuration as far as files and overrides tell; defaults of the classes are not in it."""
    return benchmark.configuration(variant, profile, {key: _value(key, value) for key, value in settings.items()})


def _value(key: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {key}={text}: not a YAML value.") from error


def _quoted(text: str) -> str:
    """Text as a YAML value that means the same text: a folder may be called 2024 or null."""
    try:
        return text if parse_yaml(text) == text else json.dumps(text)
    except yaml.YAMLError:
        return json.dumps(text)


def _locate(benchmark: Benchmark, merged: dict[str, Any]) -> Location:
    data = _section(merged, "data", "init_args")
    source: Source = data.get("source", "auto")
    root = data.get("root")
    if not isinstance(root, str | None):
        raise UserError(f"data.init_args.root is {root!r}, not a folder.")
    return locate(benchmark.dataset, benchmark.embedded, root, source, bool(data.get("download")))


def _section(merged: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A nested mapping; empty where overrides have put something else there, which the run itself will refuse."""
    for key in keys:
        merged = merged.get(key, {})
        if not isinstance(merged, dict):
            return {}
    return merged


def _label(profile: str, benchmark: Benchmark, location: Location | None, settings: dict[str, str]) -> str:
    """The profile, and what of data and schedule differs from it."""
    parts = [profile]
    usual = "embedded" if benchmark.profiles[profile].evidence == "demonstration" else "official"
    if location and location.kind != usual:
        parts.append(location.name)
    for key, value in sorted(settings.items()):
        if key == "trainer.max_epochs":
            parts.append(f"{value}ep")
        elif key not in ("data.init_args.root", "data.init_args.source", "data.init_args.download"):
            parts.append(f"{key.rsplit('.', 1)[-1]}={value}")
    return "-".join(map(label_part, parts))

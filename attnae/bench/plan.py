"""From a request to runs: which variant and seed, in which folder, with which configuration."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from attnae.bench import labels, precision, tracking
from attnae.bench import request as requests
from attnae.bench.catalog import Benchmark, choose
from attnae.bench.request import PLACE, Request, Settings, relative, shown
from attnae.bench.run import Run, RunId, alone, quoted
from attnae.data.location import Location, Source, locate
from attnae.errors import UserError
from attnae.files import read_yaml, shipped
from attnae.result import NAME

FILE = "run.yaml"
"""Name of the resolved configuration in the commands that are printed."""


@dataclass(frozen=True)
class Plan:
    """All runs of a request.

    Attributes:
        request: What was asked for.
        label: Name of the report.
        runs: In the order of execution.
        location: The data; ``None`` in a dry run that did not find it.
        accelerator: ``trainer.accelerator`` of the runs.
        identities: Every variant to the identity that its first run has, or would have, in this plan.
    """

    request: Request
    label: str
    runs: list[Run]
    location: Location | None
    accelerator: str
    identities: dict[str, RunId]

    @property
    def benchmark(self) -> Benchmark:
        """What is compared."""
        return self.request.benchmark


def make(request: Request) -> Plan:
    """Resolves a request.

    Raises:
        UserError: A name is unknown, an override has another form, or the data is missing.
    """
    benchmark, profile = request.benchmark, request.profile
    choose("profile", profile, benchmark.profiles)
    settings = requests.settings(request)
    chosen, seeds = requests.variants(request), requests.seeds(request.seeds)
    merged = {
        variant: requests.plain(configuration(benchmark, variant, profile, settings.numbers | settings.place))
        for variant in benchmark.variants
    }
    location = _location(request, merged[chosen[0]], settings)
    accelerator = str(_section(merged[chosen[0]], "trainer").get("accelerator", "auto"))
    bits = precision.resolved(request.precision, accelerator)
    digests = {size: _data_digest(location, size, request.decode and not request.dry)
               for size in dict.fromkeys(map(_image_size, merged.values()))}  # fmt: skip
    identities = {
        variant: RunId(
            benchmark.name,
            getattr(benchmark, "revision", 1),
            variant,
            seeds[0],
            profile,
            settings.numbers,
            identifying(merged[variant]),
            bits,
            request.devices,
            request.nodes,
            digests[_image_size(merged[variant])],
        )
        for variant in benchmark.variants
    }
    label = request.label if request.label is not None else _label(request, location, settings, bits)
    if not NAME.fullmatch(label) or len(label.encode()) > 200:
        raise UserError(
            f"The label {label!r:.80} cannot name a folder: use at most 200 letters, digits, '-', '_', '.', '=' and '+'."
        )
    runs = [
        _run(request, settings, replace(identities[variant], seed=seed), label, merged[variant])
        for seed in seeds
        for variant in chosen
        if benchmark.variants[variant].trains or seed == seeds[0]  # nothing in them depends on the seed
    ]
    return Plan(replace(request, precision=bits), label, runs, location, accelerator, identities)


def as_retest(run: Run) -> Run:
    """A complete run, to be tested once more: on the data of this plan, wherever that was when it was trained."""
    return replace(run, retest=True)


def configuration(benchmark: Benchmark, variant: str, profile: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What files and overrides say about a run; defaults of the classes are not in it."""
    return merge_files([read_yaml(shipped(file)) for file in benchmark.configs(variant, profile)], overrides)


def merge_files(files: list[dict[str, Any]], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Configurations from general to special, then overrides, as one."""
    merged: dict[str, Any] = {}
    for file in copy.deepcopy(files):
        _update(merged, file)
    for key, value in overrides.items():
        nested: Any = value
        parts = key.removesuffix("+").split(".")
        if key.endswith("+"):
            before = _section(merged, *parts[:-1]).get(parts[-1]) or []
            nested = [
                *(before if isinstance(before, list) else [before]),
                *(value if isinstance(value, list) else [value]),
            ]
        for part in reversed(parts):
            nested = {part: nested}
        _update(merged, nested)
    return merged


def identifying(merged: dict[str, Any]) -> dict[str, Any]:
    """The stated configuration: without paths, loggers, callbacks of the suite and what only measures."""
    told = copy.deepcopy(merged)
    for key in (*PLACE, tracking.LOGGER, *requests.MEASURES, "trainer.precision", "trainer.default_root_dir"):
        *above, last = key.split(".")
        _section(told, *above).pop(last, None)
    trainer = _section(told, "trainer")
    if isinstance(callbacks := trainer.get("callbacks"), list):
        trainer["callbacks"] = [one for one in callbacks if not _of_the_suite(one)]
    return told


def _of_the_suite(callback: Any) -> bool:
    name = callback.get("class_path") if isinstance(callback, dict) else callback
    return str(name).startswith("attnae.")


def _run(request: Request, settings: Settings, one: RunId, label: str, merged: dict[str, Any]) -> Run:
    trains = request.benchmark.variants[one.variant].trains
    folder = Path(relative(request.out)) / one.benchmark / label / one.variant / one.folder
    stated = copy.deepcopy(merged)
    stated["seed_everything"] = one.seed
    trainer = stated.setdefault("trainer", {})
    if not isinstance(trainer, dict):
        raise UserError(f"trainer is {trainer!r:.60}, not a mapping of keys to values.")
    trainer |= {"default_root_dir": folder.as_posix(), "precision": precision.TRAINER[one.precision]}
    trainer |= {key: count for key, count in _machines(one).items() if count > 1}
    epochs = trainer.get("max_epochs", 1) if trains else 0
    if not isinstance(epochs, int):
        raise UserError(f"trainer.max_epochs is {epochs!r}, not a number of epochs.")
    return Run(
        one,
        label,
        folder,
        stated,
        trains,
        epochs,
        tuple(f"--{key}={_typed(value)}" for key, value in settings.measures.items()),
        tracking.arguments(settings.logger, request.wandb, one, label, folder),
        _commands(one, folder, settings, trains),
        request.keep_checkpoints,
    )


def _commands(one: RunId, folder: Path, settings: Settings, trains: bool) -> list[str]:
    """What a person would type: the configuration, the training, the test."""
    told = [f"{key}={_typed(value)}" for key, value in settings.numbers.items()]
    config = ["attnae-bench", "config", one.benchmark, "--variant", one.variant, "--profile", one.profile]
    config += [word for setting in told for word in ("--set", setting)]
    home = shown(folder)
    common = ["-c", FILE, "--seed_everything", str(one.seed), "--trainer.default_root_dir", home]
    for key, value in settings.place.items():
        text = shown(Path(value)) if key == PLACE[0] and isinstance(value, str) else value
        common += [f"--{key}", text] if str(text).startswith("~/") else [f"--{key}={_typed(text)}"]
    if one.precision != "fp32":
        common.append(f"--trainer.precision={precision.TRAINER[one.precision]}")
    fit = ["attnae", "fit", *common]
    fit += [f"--{'trainer.' + key}={count}" for key, count in _machines(one).items() if count > 1]
    weights = ["--weights", f"{home}/weights.safetensors"] if trains else []
    test = ["attnae", "test", *common, *weights, *alone(one)]
    return [f"{quoted(config)} > {FILE}", *([quoted(fit)] if trains else []), quoted(test)]


def _machines(one: RunId) -> dict[str, int]:
    return {"devices": one.devices, "num_nodes": one.nodes}


def _typed(value: Any) -> str:
    """A value as it is typed after a key: YAML that means the same, and bare text where that does."""
    if isinstance(value, str):
        try:
            return value if yaml.safe_load(value) == value else json.dumps(value, ensure_ascii=False)
        except yaml.YAMLError:
            return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _location(request: Request, merged: dict[str, Any], settings: Settings) -> Location | None:
    """Where the data is; ``None`` in a dry run where the profile's own data is not there."""
    data = _section(merged, "data", "init_args")
    source: Source = data.get("source", "auto")
    root = data.get("root")
    if not isinstance(root, str | None):
        raise UserError(f"data.init_args.root is {root!r}, not a folder.")
    if request.dry and root is not None and PLACE[0] in settings.place and not Path(root).exists():
        raise UserError(f"There is no folder {shown(Path(root))}. Point --data-root at one with images.")
    try:
        return locate(request.benchmark.dataset, request.benchmark.embedded, root, source, bool(data.get("download")))
    except UserError:
        if not request.dry:
            raise
    return None


def _image_size(merged: dict[str, Any]) -> Any:
    """Height and width of the images in pixels; ``None`` where only the class says it."""
    return _section(merged, "data", "init_args").get("image_size")


def _data_digest(location: Location | None, image_size: Any, decode: bool) -> str:
    """Digest of the decoded pixels of training and test images; empty where it is not known.

    Args:
        location: Where they are.
        image_size: Height and width in pixels.
        decode: Decode images of unknown content, which shows its progress; otherwise answer at once.
    """
    if location is None:
        return ""
    told = hashlib.blake2b(f"{location.kind}|{location.fingerprint}|{image_size}".encode(), digest_size=8).hexdigest()
    return f"{told[:8]}-{told[8:]}"


def _label(request: Request, location: Location | None, settings: Settings, bits: str) -> str:
    """The profile, and what of data and settings differs from it."""
    usual = "embedded" if request.profile == "quick" else "official"
    data = location.name if location and location.kind != usual else ""
    return labels.default(request.profile, data, settings.numbers, bits, request.devices, request.nodes)


def _section(merged: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A nested mapping; empty where overrides have put something else there, which the run itself will refuse."""
    for key in keys:
        merged = merged.get(key, {})
        if not isinstance(merged, dict):
            return {}
    return merged


def _update(base: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _update(base[key], value)
        else:
            base[key] = value

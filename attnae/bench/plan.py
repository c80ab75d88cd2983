"""Resolves a request into runs: variant, seed, folder and configuration of each."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from attnae.bench import keys, labels, own, precision, tracking
from attnae.bench import request as requests
from attnae.bench.catalog import choose
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.catalog.configuration import section
from attnae.bench.identity import Run, RunId, alone, quoted
from attnae.bench.keys import catalog as key_catalog
from attnae.bench.request import PLACE, Request, Settings
from attnae.data.content import content
from attnae.data.location import Location, Source, locate
from attnae.errors import UserError
from attnae.paths import relative, shown
from attnae.result import NAME

FILE = "run.yaml"
"""File name of the resolved configuration in the printed commands."""


@dataclass(frozen=True)
class Plan:
    """All runs of a request.

    Attributes:
        request: The request.
        label: Name of the report.
        runs: The runs in execution order.
        location: The data; ``None`` in a dry run if the data was not found.
        accelerator: ``trainer.accelerator`` of the runs.
        identities: Maps every variant to the identity of its first run, including variants that were not selected.
        notices: Messages about the images, such as how many were skipped.
        images: Training images per epoch by variant; ``None`` if unknown.
    """

    request: Request
    label: str
    runs: list[Run]
    location: Location | None
    accelerator: str
    identities: dict[str, RunId]
    notices: tuple[str, ...] = ()
    images: dict[str, int | None] = field(default_factory=dict)

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark to run."""
        return self.request.benchmark

    @property
    def threads(self) -> int | None:
        """CPU threads that a run makes good use of; ``None`` for all."""
        return self.benchmark.profiles[self.request.profile].threads if self.request.profile else None


def make(request: Request) -> Plan:
    """Resolves a request into a plan.

    Raises:
        UserError: A name is unknown, an override is malformed, or the data is missing.
    """
    benchmark = request.benchmark
    profile = choose("profile", request.profile or next(iter(benchmark.profiles)), benchmark.profiles)
    request = replace(request, profile=profile)
    settings = requests.settings(request)
    chosen, seeds = requests.variants(request), requests.seeds(request.seeds)
    merged = {
        variant: requests.plain(benchmark.configuration(variant, profile, settings.numbers | settings.place))
        for variant in benchmark.variants
    }
    for text in request.overrides:
        key, _, value = text.partition("=")
        keys.check_overrides({key: value}, {variant: merged[variant] for variant in chosen})
    for variant in chosen:
        if _place(merged[variant]) != _place(merged[chosen[0]]):
            raise UserError(
                f"{named(benchmark)}: {chosen[0]} and {variant} use different images (data.init_args.root, source or download). "
                "What is compared must have the same: set them for all variants."
            )
    location = _location(request, merged[chosen[0]], settings)
    accelerator = str(section(merged[chosen[0]], "trainer").get("accelerator", "auto"))
    bits = precision.resolved(request.precision, accelerator)
    contents = {size: content(location, size, request.decode and not request.dry) if location else None
                for size in dict.fromkeys(map(_image_size, merged.values()))}  # fmt: skip
    identities = {
        variant: RunId(
            benchmark.name,
            benchmark.revision,
            variant,
            seeds[0],
            profile,
            settings.numbers,
            identifying(merged[variant]) | own.version(benchmark.code, merged[variant]),
            bits,
            request.devices,
            request.nodes,
            found.digest if (found := contents[_image_size(merged[variant])]) else "",
        )
        for variant in benchmark.variants
    }
    label = request.label if request.label is not None else _label(request, location, settings, bits)
    if not NAME.fullmatch(label) or len(label.encode()) > 200:
        raise UserError(
            f"The label {label!r:.80} is not a valid folder name. Use at most 200 letters, digits, '-', '_', '.', '=' and '+'."
        )
    for variant in chosen:
        if benchmark.variants[variant].trains:
            _divisible(merged[variant], request.devices * request.nodes)
    runs = [
        _run(request, settings, replace(identities[variant], seed=seed), label, merged[variant])
        for seed in seeds
        for variant in chosen
        if benchmark.variants[variant].trains or seed == seeds[0]  # without training, results do not depend on the seed
    ]
    notices = tuple(dict.fromkeys(line for found in contents.values() if found for line in found.notices()))
    images = {
        variant: _training_images(one, found.train if (found := contents[_image_size(one)]) else None)
        for variant, one in merged.items()
    }
    return Plan(replace(request, precision=bits), label, runs, location, accelerator, identities, notices, images)


def _divisible(merged: dict[str, Any], devices: int) -> None:
    """Checks that the devices of a run can share its batches."""
    batch = section(merged, "data", "init_args").get("batch_size")
    if isinstance(batch, int) and batch % devices:
        raise UserError(
            f"The batch size {batch} is not divisible by {devices} devices. Choose other --devices and --nodes, or add "
            f"--set data.init_args.batch_size={devices * max(1, round(batch / devices))}."
        )


def as_retest(run: Run) -> Run:
    """A complete run to be tested again, on the data of the current plan even if the data has moved since training."""
    return replace(run, retest=True)


def identifying(merged: dict[str, Any]) -> dict[str, Any]:
    """The stated configuration without paths, loggers, callbacks of the suite and keys that only add measurements."""
    told = copy.deepcopy(merged)
    for key in (*PLACE, tracking.LOGGER, *requests.MEASURES, "trainer.precision", "trainer.default_root_dir"):
        *above, last = key.split(".")
        level: Any = told
        for part in above:
            level = level.get(part) if isinstance(level, dict) else None
        if isinstance(level, dict):
            level.pop(last, None)
    if isinstance(callbacks := section(told, "trainer").get("callbacks"), list):
        told["trainer"]["callbacks"] = [one for one in callbacks if not _of_the_suite(one)]
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
        raise UserError(f"trainer must be a mapping, got {trainer!r:.60}.")
    trainer |= {"default_root_dir": folder.as_posix(), "precision": precision.TRAINER[one.precision]}
    trainer |= {key: count for key, count in _machines(one).items() if count > 1}
    epochs = trainer.get("max_epochs", 1) if trains else 0
    if not isinstance(epochs, int):
        raise UserError(f"trainer.max_epochs must be a whole number, got {epochs!r}.")
    return Run(
        one,
        label,
        folder,
        stated,
        trains,
        epochs,
        _trusting(request.benchmark),
        tuple(f"--{key}={_typed(value)}" for key, value in settings.measures.items()),
        tracking.arguments(settings.logger, request.wandb, one, label, folder),
        _commands(request.benchmark, one, folder, settings, trains),
        request.keep_checkpoints,
    )


def code_changed(run: Run) -> bool:
    """Whether the code of the benchmark's own folder is no longer that of the run's identity."""
    wanted = run.id.configuration.get("code")
    return wanted is not None and own.digest(Path(run.trust[1])) != wanted


def named(benchmark: Benchmark) -> str:
    """How a benchmark is named on the command line: by its name, or by the path of its file."""
    return shown(benchmark.file.absolute()) if benchmark.file else benchmark.name


def _trusting(benchmark: Benchmark) -> tuple[str, ...]:
    """Arguments of ``attnae`` that make the code of the benchmark's own folder importable."""
    return ("--trust", relative(benchmark.code)) if benchmark.code else ()


def _commands(benchmark: Benchmark, one: RunId, folder: Path, settings: Settings, trains: bool) -> list[str]:
    """The commands that reproduce a run: config, fit and test."""
    told = [f"{key}={_typed(value)}" for key, value in settings.numbers.items()]
    config = ["attnae-bench", "config", named(benchmark), "--variant", one.variant, "--profile", one.profile]
    config += [word for setting in told for word in ("--set", setting)]
    home = shown(folder)
    trusting = ["--trust", shown(benchmark.code)] if benchmark.code else []
    common = [*trusting, "-c", FILE, "--seed_everything", str(one.seed), "--trainer.default_root_dir", home]
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
    """A value as typed after a key: as a bare string if YAML reads it back unchanged, else as JSON."""
    if isinstance(value, str):
        try:
            return value if yaml.safe_load(value) == value else json.dumps(value, ensure_ascii=False)
        except yaml.YAMLError:
            return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _place(merged: dict[str, Any]) -> list[Any]:
    """Where the images of a configuration are."""
    data = section(merged, "data", "init_args")
    return [data.get(key.rpartition(".")[2]) for key in PLACE]


def _location(request: Request, merged: dict[str, Any], settings: Settings) -> Location | None:
    """Location of the data; ``None`` in a dry run if the data of the profile is missing."""
    data = section(merged, "data", "init_args")
    source: Source = data.get("source", "auto")
    root = data.get("root")
    if not isinstance(root, str | None):
        raise UserError(f"data.init_args.root must be a folder, got {root!r}.")
    stated = root if PLACE[0] in settings.place and root and not root.startswith("hf://") else None
    if request.dry and stated and not Path(stated).exists():
        raise UserError(f"There is no folder {shown(Path(stated))}. Point --data-root at a folder of images.")
    try:
        return locate(request.benchmark.dataset, request.benchmark.embedded, root, source, bool(data.get("download")))
    except UserError:
        if not request.dry or (PLACE[0] in settings.place and root):
            raise
    return None


def _image_size(merged: dict[str, Any]) -> int:
    """Height and width of the images in pixels, as configured or the default of the DataModule."""
    size = section(merged, "data", "init_args").get("image_size")
    module = key_catalog.find(str(section(merged, "data").get("class_path")))
    if size is None and module:
        size = key_catalog.catalog()[1][module]["image_size"].default
    if not isinstance(size, int) or size < 1:
        raise UserError(f"data.init_args.image_size must be a positive whole number (pixels), got {size!r}.")
    return size


def _training_images(merged: dict[str, Any], available: int | None) -> int | None:
    """Training images per epoch, as configured or as many as there are."""
    wanted = section(merged, "data", "init_args").get("train_images")
    if not isinstance(wanted, int):
        return available
    return min(wanted, available) if available else wanted


def label(made: Plan, without: Sequence[str]) -> str:
    """The default label of a plan without some of its settings: what the points of a grid share.

    Args:
        made: The plan of one point.
        without: Keys of ``attnae fit``.
    """
    settings = requests.settings(made.request)
    shared = replace(settings, numbers={key: value for key, value in settings.numbers.items() if key not in without})
    location = None if set(without) & set(PLACE) else made.location
    return _label(made.request, location, shared, made.request.precision)


def _label(request: Request, location: Location | None, settings: Settings, bits: str) -> str:
    """The default label: the profile, followed by data and settings that differ from it."""
    usual = request.benchmark.profiles[request.profile].usual_images
    data = location.name if location and location.kind != usual else ""
    return labels.default(request.profile, data, settings.numbers, bits, request.devices, request.nodes)

"""Validates keys before a run starts: rejects unknown keys, wrong types and keys that a benchmark does not support.

Arguments of classes outside the suite are checked by the parser of ``attnae fit``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

from attnae.bench.keys import values
from attnae.bench.keys.catalog import Argument, catalog, class_of, every, find, is_group, under
from attnae.errors import UserError

CANNOT_WORK = {
    "trainer.fast_dev_run": "it writes no results; use data.init_args.train_images=... and trainer.max_epochs=1.",
    "trainer.max_steps": "runs are measured in epochs; use trainer.max_epochs.",
    "trainer.min_steps": "runs are measured in epochs; use trainer.max_epochs.",
    "trainer.max_time": "runs are measured in epochs; use trainer.max_epochs, or --timeout to limit the time of a run.",
    "trainer.min_epochs": "a run always trains for trainer.max_epochs epochs; use trainer.max_epochs.",
    "trainer.overfit_batches": "it evaluates on training images; use data.init_args.train_images.",
    "trainer.enable_checkpointing": "resuming and testing require checkpoints; leave it out.",
    "trainer.barebones": "it disables checkpoints and logging, which reports require; leave it out.",
    "trainer.plugins": "the suite uses its own checkpoint plugin; set the precision with --precision.",
    "trainer.use_distributed_sampler": "the suite already distributes batches across devices; leave it out.",
    "trainer.reload_dataloaders_every_n_epochs": "images are kept in memory and never reloaded; leave it out.",
    "trainer.default_root_dir": "use --out.",
    "ckpt_path": "runs resume from their own checkpoints automatically; leave it out.",
    "trust": "a setting cannot allow code to be imported; name your own benchmark file instead.",
    "weights": "a run trains its own weights; leave it out.",
    "weights_only": "runs resume from their own checkpoints automatically; leave it out.",
    "trainer.profiler": "it distorts the times in the report; profile `attnae fit` by hand.",
    "checkpoint.dirpath": "checkpoints must be in the run folder; use --out.",
    "checkpoint.monitor": "runs resume from their last epoch; use selection to choose the epoch that is evaluated.",
    "checkpoint.mode": "runs resume from their last epoch; use selection to choose the epoch that is evaluated.",
    **{
        f"checkpoint.{name}": "runs resume from the checkpoint of their last epoch; leave it out."
        for name in (
            *("filename", "save_last", "save_top_k", "save_weights_only", "auto_insert_metric_name"),
            *("every_n_train_steps", "train_time_interval", "save_on_train_epoch_end", "enable_version_counter"),
        )
    },
}
"""Keys that benchmarks do not support: the reason, and what to use instead."""

OPTIONS = {
    "seed_everything": "use --seeds.",
    "trainer.devices": "use --devices.",
    "trainer.num_nodes": "use --nodes.",
    "trainer.precision": "use --precision.",
}
"""Keys that are set by an option of ``attnae-bench run``."""

AT_LEAST_ONE = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.limit_test_batches")
"""Keys whose value must be above 0, so that there is something to train and test."""

PLACES = ("class_path", "init_args", "dict_kwargs")
ALIKE = 0.6


class Unknown(Exception):
    """Raised if a configuration does not have a key."""

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


MEANT = {"epochs": "trainer.max_epochs"}
"""Common misnomers whose closest match by spelling is a different key."""


def check_overrides(overrides: Mapping[str, Any], configurations: Mapping[str, Mapping[str, Any]]) -> None:
    """Validates ``--set`` overrides.

    Args:
        overrides: Maps keys to values, either as typed or parsed from YAML.
        configurations: Maps each variant to its merged configuration, which determines the class at each key.

    Raises:
        UserError: A key cannot be set, is unknown to a variant, or has a value of the wrong type.
    """
    for key, value in _flat(overrides, typed=True):
        if is_group(key):
            example = next(name for name in catalog()[0] if name.startswith(f"{key}."))
            raise UserError(f"--set {key}: {key} is a group of keys. Set one of them, such as {example}.")
        said = f"--set {key}={_written(value)}"
        if reason := {**CANNOT_WORK, **OPTIONS}.get(key.rstrip("+")):
            raise UserError(f"--set {key}: {reason}")
        if key in AT_LEAST_ONE and _none_at_all(key, values.loaded(value)):
            raise UserError(f"{said}: must be greater than 0.")
        lacking = {}
        for variant, configuration in configurations.items():
            try:
                _check(key, value, configuration, said, typed=True)
            except Unknown as unknown:
                lacking[variant] = unknown.key
        if len(lacking) == len(configurations) and lacking:
            variant, wrong = next(iter(lacking.items()))
            raise UserError(f"Unknown key {wrong}.{_guess(wrong, configurations[variant])}")
        if lacking:
            rest = ",".join(name for name in configurations if name not in lacking)
            has = "has" if len(lacking) == 1 else "have"
            raise UserError(
                f"--set {key}: {', '.join(lacking)} {has} no such key. Exclude them with --variants {rest}."
            )


def check_configuration(configuration: Mapping[str, Any], where: str) -> None:
    """Validates a configuration from a file.

    Args:
        configuration: Nested as in the file, including the ``class_path`` of every class whose arguments it sets.
        where: File and location, for error messages.

    Raises:
        UserError: A key is not supported in a benchmark, is unknown, or has a value of the wrong type.
    """
    for key, value in _flat(configuration):
        if reason := {**CANNOT_WORK, **OPTIONS}.get(key.rstrip("+")):
            raise UserError(f"{where}: {key}: {reason}")
        if key in AT_LEAST_ONE and _none_at_all(key, value):
            raise UserError(f"{where}: {key}: must be greater than 0.")
        try:
            _check(key, value, configuration, f"{where}: {key}: {_written(value)}")
        except Unknown as unknown:
            raise UserError(f"{where}: unknown key {unknown.key}.{_guess(unknown.key, configuration)}") from None


def _none_at_all(key: str, value: Any) -> bool:
    """Whether a number of epochs or batches is 0 or negative, or the number of epochs is null."""
    if value is None:
        return key == "trainer.max_epochs"
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= 0


def _flat(nested: Mapping[str, Any], prefix: str = "", typed: bool = False) -> Iterator[tuple[str, Any]]:
    """Flattens key groups: ``trainer: {max_epochs: 3}`` becomes ``trainer.max_epochs`` and 3."""
    for key, value in nested.items():
        whole, inside = f"{prefix}{key}", values.loaded(value) if typed else value
        if isinstance(inside, Mapping) and inside and is_group(whole):
            yield from _flat(inside, f"{whole}.")
        else:
            yield whole, value


def _check(key: str, value: Any, configuration: Mapping[str, Any], said: str, typed: bool = False) -> None:
    """Follows a key through nested classes and checks the value against the type of the argument."""
    top = catalog()[0]
    bare = key.rstrip("+")
    name = max((one for one in top if bare == one or bare.startswith(f"{one}.")), key=len, default=None)
    if name is None:
        raise Unknown(key)
    rest = bare[len(name) + 1 :].split(".") if len(bare) > len(name) else []
    _descend(top[name], key, rest, under(configuration, *name.split(".")), value, said, typed)


def _descend(argument: Argument, key: str, rest: list[str], here: Any, value: Any, said: str, typed: bool) -> None:
    """Checks the part of a key that starts at an argument.

    Args:
        argument: The argument.
        key: The full key, for error messages.
        rest: The parts of the key below the argument.
        here: Value of the argument in the merged configuration.
        value: The value to set.
        said: Key and value as written, for error messages.
        typed: Whether the value comes from a command line.
    """
    kind = values.parsed(argument.type)
    if not rest:
        if key.endswith("+"):
            return _append(kind, key, value, said, typed)
        return _value(argument, kind, key, value, here, said, typed)
    classes = [one for one in values.options(kind) if values.is_class(one)]
    if not classes:
        if any(values.head(one) in ("dict", "Any") for one in values.options(kind)):
            return None
        inside = [each for one in values.options(kind) if values.head(one) == "list" for each in values.items(one)]
        if any(values.is_class(each) for one in inside for each in values.options(one)):
            return None  # refers to the last class in a list
        raise Unknown(key)
    arguments = class_of(here, classes, argument)
    if arguments is None or isinstance(here, list):
        return None  # a class outside the suite
    if rest[0] == "class_path" and len(rest) == 1:
        return _value(argument, kind, key, value, here, said, typed)
    if rest[0] not in PLACES[1:]:
        raise Unknown(key)
    if len(rest) == 1:
        return _value(argument, kind, key, {rest[0]: values.loaded(value)}, here, said, typed)
    if rest[1] not in arguments:
        raise Unknown(key)
    return _descend(arguments[rest[1]], key, rest[2:], under(here, "init_args", rest[1]), value, said, typed)


def _append(kind: ast.expr, key: str, value: Any, said: str, typed: bool) -> None:
    """Checks the element or list of elements that ``key+`` appends."""
    inside = [each for one in values.options(kind) if values.head(one) == "list" for each in values.items(one)]
    if not inside:
        raise UserError(f"{said}: cannot append; {key.rstrip('+')} is not a list.")
    real = values.loaded(value)
    if not all(
        any(values.fits(one, each, typed) for one in inside) for each in (real if isinstance(real, list) else [real])
    ):
        raise UserError(f"{said}: expected {' or '.join(map(values.spoken, inside))}.")


def _value(argument: Argument, kind: ast.expr, key: str, value: Any, here: Any, said: str, typed: bool) -> None:
    """Checks a value against a type, including the arguments of a class."""
    if value == argument.default and type(value) is type(argument.default):
        return
    classes = [one for one in values.options(kind) if values.is_class(one)]
    real = values.loaded(value)
    spec = real if isinstance(real, Mapping) else {"class_path": real}
    if classes and isinstance(spec.get("class_path", ""), str) and not _plain_fits(kind, value, typed):
        if (path := spec.get("class_path")) and (found := find(path)):
            wanted = {values.head(one) for one in classes}
            if not wanted & set(catalog()[2][found]):
                raise UserError(f"{said}: expected {values.spoken(kind)}, got {path}.")
        elif path and path.startswith("attnae.") and not Path(path).is_file():
            wanted = {values.head(one) for one in classes}
            fitting = [name for name, kinds in catalog()[2].items() if wanted & set(kinds)]
            close = max(fitting, key=lambda name: SequenceMatcher(None, name.lower(), path.lower()).ratio(), default="")
            raise UserError(f"{said}: unknown class {path}." + (f" Did you mean {close}?" if close else ""))
        given = spec.get("init_args") or {}
        if not isinstance(given, Mapping):
            raise UserError(f"{said}: expected init_args: {{name: value}}.")
        for name, each in given.items():
            arguments = class_of(spec if path else here, classes, argument)
            if arguments is not None and name not in arguments:
                raise Unknown(f"{key}.init_args.{name}" if not key.endswith("init_args") else f"{key}.{name}")
            if arguments is not None:
                inner = None if path else under(here, "init_args", name)
                _descend(arguments[name], f"{key}.init_args.{name}", [], inner, each, f"{said}: {name}", False)
        if not isinstance(real, Mapping) or set(real) <= set(PLACES):
            return
    if not values.fits(kind, value, typed):
        raise UserError(f"{said}: expected {values.spoken(kind)}.")


def _plain_fits(kind: ast.expr, value: Any, typed: bool) -> bool:
    return any(not values.is_class(one) and values.fits(one, value, typed) for one in values.options(kind))


def _guess(key: str, configuration: Mapping[str, Any]) -> str:
    """A sentence that suggests the closest key, or how to list all keys if none is similar."""
    if key in MEANT:
        return f" Did you mean {MEANT[key]}?"
    best, meant = 0.0, ""
    owners: dict[str, bool] = {}
    words, end = _words(key), key.rpartition(".")[2]
    for candidate, _, here, owner in every(configuration):
        name = owner.rpartition(".")[2]
        have = _words(f"{candidate} {name}")
        alike = sum(max(_alike(word, one) for one in have) for word in words) / len(words)
        last = _alike(end, candidate.rpartition(".")[2])
        score = alike + last + 0.5 * _alike(key, candidate) + 0.1 * here - 0.01 * candidate.count(".")
        if candidate not in CANNOT_WORK and candidate not in (key, "") and max(alike, last) > ALIKE:
            if score > best:
                best, meant, owners = score, candidate, {}
            if candidate == meant:
                owners[name] = here
    if meant in OPTIONS:
        return f" Did you mean {meant}? {OPTIONS[meant].capitalize()[:-1]}."
    if not meant:
        return " List all keys with `attnae-bench show BENCHMARK --keys`."
    return f" Did you mean {meant}?" + (
        "" if any(owners.values()) else f" Only {' and '.join(owners)} {'has' if len(owners) == 1 else 'have'} it."
    )


def _words(text: str) -> list[str]:
    parts = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", text.replace("init_args", ""))
    return [part.lower() for part in parts] or [text.lower()]


@cache
def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _written(value: Any) -> str:
    """A value as one line of YAML."""
    return " ".join((value if isinstance(value, str) else json.dumps(value, default=str)).split())

"""Merging of nested configurations and overriding by dotted keys."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merges configurations from general to specific into a new, independent mapping.

    Mappings are merged key by key; any other value, including ``None``, replaces the previous one. A mapping with a
    ``class_path`` replaces the previous mapping entirely: a class never inherits the arguments of another class.

    >>> merge({"net": {"class_path": "SAAAE", "init_args": {"gate": "random"}}, "lr": 1}, {"net": {"class_path": "VAE"}})
    {'net': {'class_path': 'VAE'}, 'lr': 1}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            known = merged.get(key)
            if isinstance(value, Mapping) and isinstance(known, Mapping) and "class_path" not in value:
                merged[key] = merge(known, value)
            else:
                merged[key] = copy.deepcopy(value)
    return merged


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Converts dotted keys to one nested mapping; a class and its arguments can be given in any order.

    >>> nested({"model.init_args.lr": 0.1, "trainer.max_epochs": 3})
    {'model': {'init_args': {'lr': 0.1}}, 'trainer': {'max_epochs': 3}}
    """
    whole: dict[str, Any] = {}
    for key, value in overrides.items():
        parts = key.split(".")
        level = whole
        for part in parts[:-1]:
            if not isinstance(level.get(part), dict):
                level[part] = {}
            level = level[part]
        known = level.get(parts[-1])
        if isinstance(known, dict) and isinstance(value, dict):
            level[parts[-1]] = merge(known, value)
        else:
            level[parts[-1]] = copy.deepcopy(value)  # a later key can be inside it
    return whole


def changed(configuration: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Applies dotted keys to a configuration; ``key+`` appends one or more elements to a list.

    >>> changed({"trainer": {"callbacks": ["Timer"]}}, {"trainer.callbacks+": "LearningRateMonitor"})
    {'trainer': {'callbacks': ['Timer', 'LearningRateMonitor']}}
    """
    merged = merge(configuration, nested({key: value for key, value in overrides.items() if not key.endswith("+")}))
    for key, value in overrides.items():
        if key.endswith("+"):
            *above, last = key[:-1].split(".")
            known = section(merged, *above).get(last) or []
            more = value if isinstance(value, list) else [value]
            merged = merge(merged, nested({key[:-1]: [*(known if isinstance(known, list) else [known]), *more]}))
    return merged


def classes(value: Any) -> Iterator[str]:
    """Every ``class_path`` at any depth.

    >>> list(classes({"model": {"class_path": "a.Task", "init_args": {"net": {"class_path": "b.Net"}}}}))
    ['a.Task', 'b.Net']
    """
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            yield path
        for inner in value.values():
            yield from classes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from classes(inner)


def section(configuration: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A nested mapping of a configuration; empty if it is missing."""
    found: Any = configuration
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}

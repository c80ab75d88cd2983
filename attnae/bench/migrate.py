"""Converts results in a folder from format 1 to format 2: ``python -m attnae.bench.migrate DIR...``.

Missing values are never guessed. Digests of decoded pixels are kept; for arrays, format 1 hashed only three windows of
the file, and that digest becomes ``data.windows``. The configuration is rebuilt from the commands and from the files at
the recorded commit, and the result is marked ``reconstructed``. ``finished_at`` stays empty, so any other result counts
as newer. The protocol ``published`` is renamed to ``train_set``. Results that lack the required fields are left
unchanged and listed.

Remove this module after the next release.
"""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from attnae import result
from attnae.bench import store
from attnae.bench.catalog.configuration import section
from attnae.bench.plan import identifying
from attnae.bench.request import MEASURES, PLACE, parsed, plain
from attnae.bench.tracking import LOGGER
from attnae.errors import UserError
from attnae.files import PACKAGE
from attnae.paths import absolute, shown

OWN = {"seed_everything", "trainer.default_root_dir", "weights", "ckpt_path", *PLACE, *MEASURES}
"""Command-line keys that are not overrides."""

PRECISION = {"32-true": "fp32", "32": "fp32", "bf16-mixed": "bf16", "bf16": "bf16"}


def main(arguments: list[str]) -> int:
    """Converts all results in the given folders; returns 1 if any was left unchanged."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m attnae.bench.migrate DIR...", file=sys.stderr)
        return 2
    converted, problems = 0, []
    for folder in map(absolute, arguments):
        if not folder.is_dir():
            print(f"attnae-bench: error: There is no folder {shown(folder)}.", file=sys.stderr)
            return 2
        for path in map(absolute, map(str, store.records(folder))):
            try:
                converted += migrate(path)
            except UserError as error:
                problems.append(str(error))
    print(f"Converted {converted} results to format {result.VERSION}.")
    for problem in problems:
        print(f"Left unchanged: {problem}", file=sys.stderr)
    return 1 if problems else 0


def migrate(path: Path) -> bool:
    """Converts one file; returns whether it had format 1.

    Raises:
        UserError: The file cannot be read, or lacks a required field.
    """
    raw = result.load(path)
    if not isinstance(raw, dict) or raw.get("version") != 1:
        return False
    result.write(converted(raw, path), path)
    for picture in sorted((path.parent / "images").glob("published-*.png")):
        picture.replace(picture.with_name(picture.name.replace("published-", "train_set-", 1)))
    return True


def converted(raw: dict[str, Any], path: Path) -> result.Result:
    """Converts a result from format 1 to format 2.

    Args:
        raw: The parsed JSON object.
        path: The file, for error messages.

    Raises:
        UserError: A field is missing or malformed.
    """
    told = {key: value for key, value in raw.items() if key != "config_hash"}
    try:
        identity = _identity(told)
        for name in ("metrics", "curves"):
            told[name] = {_renamed(key): value for key, value in told.get(name, {}).items()}
        told["images"] = [image.replace("images/published-", "images/train_set-") for image in told.get("images", [])]
        told["data"], digest = _data(told.get("data", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{shown(path)}: malformed format 1 result: {type(error).__name__} {error}") from error
    except UserError as error:
        raise UserError(f"{shown(path)}: {error}") from error
    told |= {**identity, "data_digest": digest, "reconstructed": True, "finished_at": "", "version": result.VERSION}
    return result.parse(told, result.Result, path)


def _renamed(key: str) -> str:
    return f"train_set/{key.removeprefix('published/')}" if key.startswith("published/") else key


def _data(data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The data section, and the digest of the decoded pixels; the digest is empty for arrays."""
    digest = str(data.get("digest") or "")
    first, _, second = digest.partition("-")
    if data.get("kind") == "array" and first == second:
        return {**{key: value for key, value in data.items() if key != "digest"}, "windows": digest}, ""
    return data, digest


def _identity(raw: dict[str, Any]) -> dict[str, Any]:
    """Overrides, configuration, precision and devices, rebuilt from the first command and the files at the commit."""
    if not raw.get("commands"):
        raise UserError("no commands are recorded, so the configuration cannot be rebuilt.")
    commit = raw.get("git", {}).get("commit")
    if not commit or not re.fullmatch("[0-9a-f]{7,40}", str(commit)):  # passed to git
        raise UserError("no commit is recorded, so the configuration cannot be rebuilt.")
    files, keys = [], dict[str, str]()
    for key, value in _options(shlex.split(raw["commands"][0])[2:]):
        if key in ("c", "config"):
            files.append(value)
        else:
            keys[key] = value
    if not raw["commands"][0].startswith("attnae fit"):
        keys.pop("trainer.devices", None)  # every test command sets it
    devices, nodes = (int(keys.pop(f"trainer.{name}", "1")) for name in ("devices", "num_nodes"))
    overrides = {
        key: parsed(value, f"{key}={value}")
        for key, value in keys.items()
        if key not in OWN and not f"{key}.".startswith(f"{LOGGER}.")
    }
    bits = PRECISION.get(str(overrides.pop("trainer.precision", "32-true")))
    if bits is None:
        raise UserError("unsupported precision; expected 32-bit or bfloat16.")
    configuration = _merge_files([_file(str(commit), name) for name in files], overrides)
    return {
        "revision": 1,
        "overrides": overrides,
        "configuration": identifying(plain(configuration)),
        "precision": bits,
        "devices": devices,
        "nodes": nodes,
    }


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Parses the options of a recorded command: ``--key=value``, ``--key value``, ``-c value``."""
    rest = iter(words)
    for word in rest:
        key, sign, value = word.partition("=")
        if not sign and (value := next(rest, "")) == "":
            raise UserError(f"malformed command: {word!r:.60} has no value.")
        yield key.lstrip("-"), value


@cache
def _file(commit: str, name: str) -> dict[str, Any]:
    """Reads a configuration file at a commit of the attnae checkout."""
    command = ["git", "-C", str(PACKAGE.parent), "show", f"{commit}:{name}"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = yaml.safe_load(text)
    except (OSError, subprocess.CalledProcessError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read {name} at commit {commit[:12]} from git.") from error
    if not isinstance(found, dict):
        raise UserError(f"{name} at commit {commit[:12]} is not a YAML mapping.")
    return found


def _merge_files(files: list[dict[str, Any]], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merges configurations from general to specific, then applies the overrides."""
    merged: dict[str, Any] = {}
    for file in copy.deepcopy(files):
        _update(merged, file)
    for key, value in overrides.items():
        nested: Any = value
        parts = key.removesuffix("+").split(".")
        if key.endswith("+"):
            before = section(merged, *parts[:-1]).get(parts[-1]) or []
            nested = [
                *(before if isinstance(before, list) else [before]),
                *(value if isinstance(value, list) else [value]),
            ]
        for part in reversed(parts):
            nested = {part: nested}
        _update(merged, nested)
    return merged


def _update(base: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _update(base[key], value)
        else:
            base[key] = value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

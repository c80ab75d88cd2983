"""Default report names: the profile, followed by data and settings that differ from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attnae.bench.identity import short_hash
from attnae.result import label_part

MOST_BYTES = 120
"""Maximum length of a default label: file systems allow 255 bytes per name, and a label may get a suffix."""

AMBIGUOUS = re.compile(r"=|(^|-)(\d+ep|bf16)(-|$)")
"""Parts of a data folder name that could be mistaken for a setting."""


def default(profile: str, data: str, overrides: Mapping[str, Any], precision: str, devices: int, nodes: int) -> str:
    """A label that is unique for its settings.

    Args:
        profile: Name of the profile.
        data: Short name of the data; empty for the profile's own data.
        overrides: Maps keys to values.
        precision: ``fp32``, which is omitted from the label, or ``bf16``.
        devices: Devices per machine; omitted from the label if 1.
        nodes: Machines; omitted from the label if 1.
    """
    parts = [profile, *([data] if data else []), *settings(overrides)]
    parts += [precision] if precision != "fp32" else []
    parts += [f"{name}={count}" for name, count in (("devices", devices), ("nodes", nodes)) if count > 1]
    label = "-".join(map(label_part, parts))
    exact = label == "-".join(parts) and all(map(_plain, overrides.values())) and not AMBIGUOUS.search(data)
    if exact and len(label.encode()) <= MOST_BYTES:
        return label
    start = label.encode()[: MOST_BYTES - 9].decode(errors="ignore").rstrip("-")
    return f"{start}-{short_hash([parts, dict(overrides)])}"


def settings(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as shown in titles, such as ``net.noise=frozen`` or ``3ep``; epochs come first."""
    ordered = sorted(overrides.items(), key=lambda item: (item[0] != "trainer.max_epochs", item[0]))
    return [f"{value}ep" if key == "trainer.max_epochs" else f"{short(key)}={_text(value)}" for key, value in ordered]


def short(key: str) -> str:
    """A key without ``init_args`` and without a leading ``model``; different keys stay different."""
    parts = [part for part in key.split(".") if part != "init_args"] or [key]
    return ".".join(parts[1:] if parts[0] == "model" and len(parts) > 1 else parts)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> bool:
    """Whether the text of a value in a label is unambiguous."""
    if isinstance(value, str):
        return bool(re.fullmatch(r"[A-Za-z_][\w.]*", value)) and value not in ("true", "false", "null")
    return not isinstance(value, list | dict)

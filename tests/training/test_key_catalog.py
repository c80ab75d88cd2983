"""The catalog of keys included in the package."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from attnae.training import keys


def test_the_committed_catalog_is_current() -> None:
    """Where this fails: run ``python -m attnae.training.keys`` and commit ``attnae/bench/keys/keys.json``."""
    committed, current = json.loads(keys.FILE.read_text(encoding="utf-8")), json.loads(keys.text())
    how = f"attnae/bench/keys/keys.json is out of date; run: {keys.COMMAND}"
    assert committed["classes"] == current["classes"], how
    if metadata.version("lightning") != committed["lightning"]:
        pytest.skip(f"the Trainer's keys are those of Lightning {committed['lightning']}")
    assert keys.FILE.read_text(encoding="utf-8") == keys.text(), how


def test_the_catalog_matches_signatures_and_docstrings() -> None:
    made = json.loads(keys.FILE.read_text(encoding="utf-8"))
    assert made["classes"]["attnae.data.masks.PatchMask"]["arguments"]["patches"] == {
        "type": "int",
        "default": 16,
        "help": "Number of patches per image",
    }
    assert made["classes"]["attnae.data.masks.PatchMask"]["fits"] == ["attnae.data.batch.Corruption"]
    assert made["arguments"]["trainer.max_epochs"]["type"] == "int | None"
    assert all(entry["help"] for key, entry in made["arguments"].items() if key.startswith("trainer."))

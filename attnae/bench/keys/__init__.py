"""All keys of ``attnae fit``, available without importing torch: validation, listing and shell completion."""

from attnae.bench.keys.check import CANNOT_WORK, OPTIONS, check_configuration, check_overrides

__all__ = ["CANNOT_WORK", "OPTIONS", "check_configuration", "check_overrides"]

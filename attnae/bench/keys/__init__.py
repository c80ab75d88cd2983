"""All keys of ``attnae fit``, available without importing torch: validation, listing and shell completion."""

from attnae.bench.keys.check import CANNOT_WORK, OPTIONS, check, check_configuration

__all__ = ["CANNOT_WORK", "OPTIONS", "check", "check_configuration"]

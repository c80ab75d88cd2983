"""Every key of ``attnae fit``, known without importing torch: checks of what is set, and lists for people and shells."""

from attnae.bench.keys.check import CANNOT_WORK, OPTIONS, check, check_configuration

__all__ = ["CANNOT_WORK", "OPTIONS", "check", "check_configuration"]

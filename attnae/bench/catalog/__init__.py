"""Benchmark files as typed objects, validated when a file is read."""

from attnae.bench.catalog.kept import adopt, keep
from attnae.bench.catalog.lookup import choose, find, load, names, read, register

__all__ = ["adopt", "choose", "find", "keep", "load", "names", "read", "register"]

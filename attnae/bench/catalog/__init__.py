"""Benchmark files: what is compared, as types that are validated when a file is read."""

from attnae.bench.catalog.lookup import choose, find, load, names, read

__all__ = ["choose", "find", "load", "names", "read"]

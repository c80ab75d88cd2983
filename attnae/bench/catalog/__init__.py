"""Benchmark files as typed objects, validated when a file is read."""

from attnae.bench.catalog.lookup import choose, find, load, names, read

__all__ = ["choose", "find", "load", "names", "read"]

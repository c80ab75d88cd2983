"""Benchmark files that are kept beside the runs and reports of benchmarks outside the package.

Reports need a benchmark's tables and claims when its own folder is elsewhere. A kept file is never a reason to import code.
"""

from __future__ import annotations

from pathlib import Path

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.catalog.lookup import GENERIC, names, read, register
from attnae.files import dump_yaml, write_text

FILE = f"{GENERIC}.yaml"


def keep(benchmark: Benchmark, root: Path) -> None:
    """Writes ``root/<name>/benchmark.yaml``, which refers to no other file, if the benchmark is not shipped."""
    if benchmark.file is None:
        return
    path = root / benchmark.name / FILE
    if path.exists() and path.samefile(benchmark.file):  # the user's own
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, dump_yaml(benchmark.content))


def adopt(name: str, path: Path) -> None:
    """Registers the benchmark of a result, if it is unknown and its file is kept in a folder above.

    Args:
        name: Name of the benchmark as recorded.
        path: A file or folder below the folder of the benchmark's runs or reports.

    Raises:
        UserError: The kept file is invalid.
    """
    if name in names():
        return
    for folder in path.absolute().parents:
        if folder.name == name and (folder / FILE).is_file():
            register(read(folder / FILE))
            return

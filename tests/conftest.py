"""No test touches the home folder, all of them compute on two threads, and a passed run leaves no temporary files.

All workers share one image cache: embedded faces are drawn once for each size.
"""

import gc
import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded; waiting threads would take the CPU
import torch

from attnae.bench.catalog import lookup
from attnae.metrics import columns

WORKER = "PYTEST_XDIST_WORKER" in os.environ
CACHE = "image-cache"
"""Name of the folder of decoded images, below the temporary folder of this run of the tests."""

LONGEST = ("test_training", "test_faults", "test_interruptions", "test_contributing", "test_commands", "test_devices",
           "test_jobs", "test_runner", "test_selection", "test_task", "test_site", "test_own", "test_imports")  # fmt: skip
"""Files that take more than 40 seconds, longest first."""

settings.register_profile("attnae", deadline=None)  # on a busy machine, an example may take any time
settings.load_profile("attnae")

gc.disable()  # until everything is imported


def pytest_collection_finish() -> None:
    gc.freeze()  # no test makes garbage of what was imported
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist would begin with the files of the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that no worker is left with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def surroundings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.getbasetemp()
        patch.setenv("ATTNAE_CACHE", str((base.parent if WORKER else base) / CACHE))
        yield
    # pytest removes the folders of shared fixtures after a passed run, but not those of xdist's workers.
    if WORKER and not request.session.testsfailed:
        shutil.rmtree(base, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()  # native modules complain of what is left when Python exits
    base = getattr(getattr(config, "_tmp_path_factory", None), "_basetemp", None)  # the method would create it
    if not WORKER and base is not None:  # after the workers
        shutil.rmtree(base / CACHE, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def no_benchmarks_of_other_files() -> Iterator[None]:
    """Benchmarks that a test has made known in this process are unknown to the tests of the next file."""
    yield
    lookup._others.clear()
    columns._others.clear()

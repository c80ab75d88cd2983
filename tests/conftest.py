"""No test touches the home folder, and all of them compute on two threads."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield

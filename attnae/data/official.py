"""Official files of the published datasets: checksums, readers and downloads. Does not need torch."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attnae.errors import UserError
from attnae.files import atomic

if TYPE_CHECKING:
    from attnae.data.decode import UInt8


class Official(NamedTuple):
    """A published dataset.

    Attributes:
        train: Files of the training images below the root, in order, with their MD5; an empty MD5 is not checked.
        test: Files of the held-out images, in the same form.
        read: Reads the images (N, H, W, 3) of a split, given its files and its name, ``train`` or ``test``.
        url: URL of the archive; empty if it cannot be downloaded.
        md5: MD5 of the archive.
    """

    train: dict[str, str]
    test: dict[str, str]
    read: Callable[[list[Path], str], UInt8]
    url: str = ""
    md5: str = ""


def read_stl10(paths: list[Path], split: str) -> UInt8:
    """Reads STL-10: consecutive images, each stored by channel and then by column."""
    import numpy as np

    raw = np.concatenate([np.fromfile(path, np.uint8) for path in paths])
    if not raw.size or raw.size % (3 * 96 * 96):
        raise ValueError(f"{paths[0].name} has {raw.size:,} bytes, not a multiple of the size of a 96x96 image")
    return np.ascontiguousarray(raw.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1))


def read_cifar10(paths: list[Path], split: str) -> UInt8:
    """Reads CIFAR-10: pickled batches (N, 3 * 32 * 32), each image stored by channel and then by row."""
    import numpy as np

    parts = []
    for path in paths:
        batch = _Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        rows = batch.get("data") if isinstance(batch, dict) else None
        if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
            raise ValueError(f"{path.name} is not a batch of 32x32 images")
        parts.append(rows)
    return np.ascontiguousarray(np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _Arrays(pickle.Unpickler):
    """Loads dictionaries, strings, numbers and numeric NumPy arrays; rejects everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the callable named in a pickle, if allowed."""
        import numpy as np

        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _number_type
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"it calls {module}.{name}")


def _number_type(kind: str, *flags: Any) -> Any:
    import numpy as np

    if not isinstance(kind, str) or kind[:1] not in "biuf":
        raise pickle.UnpicklingError(f"it contains an array of {kind!r}")
    return np.dtype(kind)


def _reconstruct(*_: Any) -> Any:
    """Creates an empty array, which the pickle fills."""
    import numpy as np

    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _encode(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it contains text with an unknown encoding")
    return text.encode("latin1")


OFFICIAL = {
    "STL-10": Official(
        {"stl10_binary/train_X.bin": "918c2871b30a85fa023e0c44e0bee87f"},
        {"stl10_binary/test_X.bin": "7f263ba9f9e0b06b93213547f721ac82"},
        read_stl10,
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "91f7769df0f17e558f3565bffb0c7dfb",
    ),
    "CIFAR-10": Official(
        {
            "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
            "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
            "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        {"cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e"},
        read_cifar10,
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
    ),
}
"""Datasets with known official files, by name."""


def load(dataset: str, root: Path, split: str) -> UInt8:
    """Loads the official images of a split at their original size, uint8 (N, H, W, 3), and verifies the checksums.

    Raises:
        UserError: A file is missing or damaged.
    """
    official = OFFICIAL[dataset]
    files = official.train if split == "train" else official.test
    try:
        for name, md5 in files.items():
            if md5 and _md5(root / name) != md5:
                raise ValueError(f"{name} is damaged: its MD5 differs from the official file's")
        return official.read([root / name for name in files], split)
    except OSError as error:
        raise UserError(f"{dataset} in {root}: cannot read {error.filename}: {error.strerror}.") from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{dataset} in {root}: {error}. Delete the file and download it again.") from error


def fetch(dataset: str, root: Path) -> None:
    """Downloads the official archive, verifies its checksum and extracts the required files.

    Raises:
        UserError: The dataset cannot be downloaded, the network fails, or the archive is damaged.
    """
    import urllib.request  # 40 ms that commands that fetch nothing need not wait for

    official = OFFICIAL[dataset]
    if not official.url:
        raise UserError(f"{dataset}: the official files cannot be downloaded automatically. Put them into {root}.")
    print(f"Downloading {official.url}", file=sys.stderr, flush=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetching-") as folder:
            archive = Path(folder, "archive")
            with urllib.request.urlopen(official.url, timeout=60) as stream, archive.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            if _md5(archive) != official.md5:
                raise ValueError("the archive's MD5 differs from the published one")
            wanted = {**official.train, **official.test}
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.name in wanted and (content := tar.extractfile(member)):
                        with atomic(root / member.name) as temporary, temporary.open("wb") as file:
                            shutil.copyfileobj(content, file, 1 << 20)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise UserError(
            f"Cannot download {dataset} from {official.url}: {error}. Check the network, or put the files into {root}."
        ) from error


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

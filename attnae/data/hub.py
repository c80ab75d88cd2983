"""Datasets of the Hugging Face hub: ``hf://owner/name[@revision][:split]``.

A dataset is downloaded once, unchanged, into a folder of the cache. It is then read like any other folder, so a copy that
was downloaded by other means works as well. No code from it is executed: no loading scripts, no pickles.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from attnae.data.cache_folder import SHARED, cache_folder
from attnae.errors import UserError

EXTRA = "pip install 'attnae[hub]'"
"""Command that installs the packages for Parquet and the hub."""

ADDRESS = re.compile(
    r"hf:/{1,2}(?P<owner>\w[\w.-]*)/(?P<name>\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?(?::(?P<split>\w[\w-]*))?"
)


class Address(NamedTuple):
    """Parts of ``hf://owner/name[@revision][:split]``."""

    owner: str
    name: str
    revision: str
    split: str

    @property
    def repository(self) -> str:
        """Owner and name."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        revision, split = (self.revision and f"@{self.revision}"), (self.split and f":{self.split}")
        return f"hf://{self.repository}{revision}{split}"


def is_address(root: str | Path) -> bool:
    """Whether a root is an address of the hub; path objects drop one slash."""
    return str(root).startswith("hf:/")


def parse(root: str | Path) -> Address:
    """Parses an address.

    Raises:
        UserError: It is not a valid address.
    """
    match = ADDRESS.fullmatch(str(root))
    if match is None or ".." in str(root):
        raise UserError(f"{str(root)!r} is not an address of the hub: expected hf://owner/name[@revision][:split].")
    return Address(match["owner"], match["name"], match["revision"] or "", (match["split"] or "").lower())


def fetched(address: Address) -> Path | None:
    """The folder of a completely downloaded dataset, else ``None``."""
    folder = _folder(address)
    return folder if _done(folder).is_file() and folder.is_dir() else None


def fetch(address: Address) -> Path:
    """Downloads a dataset if necessary; resumes an interrupted download.

    Raises:
        UserError: The hub cannot be reached, or has no such dataset for this user.
    """
    from filelock import FileLock

    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise UserError(
            f"{address}: downloading from the hub needs additional packages. Install them with: {EXTRA}"
        ) from error
    folder = _folder(address)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock"), mode=SHARED):
        if fetched(address):
            return folder
        try:
            snapshot_download(
                address.repository, repo_type="dataset", revision=address.revision or None, local_dir=folder
            )
        except errors.RepositoryNotFoundError as error:  # private, gated and unknown datasets give the same error
            raise UserError(
                f"The hub has no public dataset {address.repository}. Check the name. "
                "For a private or gated dataset, log in first: hf auth login."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise UserError(
                f"The dataset {address.repository} has no revision {address.revision!r}. Choose another one."
            ) from error
        except Exception as error:  # network errors have many types
            why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            revision = f" --revision {address.revision}" if address.revision else ""
            raise UserError(
                f"Cannot download {address}: {why} On a machine with network access, run: hf download --repo-type dataset "
                f"{address.repository}{revision} --local-dir {address.name}; then use --data-root {address.name}."
            ) from error
        _done(folder).touch()
    return folder


def _folder(address: Address) -> Path:
    revision = f"@{address.revision.replace('/', '+')}" if address.revision else ""
    return cache_folder() / "hub" / f"{address.owner}--{address.name}{revision}"


def _done(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.complete")

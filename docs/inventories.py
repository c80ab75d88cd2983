"""Inventories for intersphinx of the few foreign classes in signatures, written by hand: the build needs no network.

Signatures name a class by the module that defines it, which is not always the name under which it is documented.
"""

from __future__ import annotations

import zlib
from pathlib import Path

ABC = "library/collections.abc.html#collections.abc."
SITES = {
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        {
            "torch.Tensor": "tensors.html#torch.Tensor",
            "torch.device": "tensor_attributes.html#torch.device",
            "torch.dtype": "tensor_attributes.html#torch.dtype",
            "torch.nn.modules.module.Module": "generated/torch.nn.Module.html#torch.nn.Module",
            "torch.optim.optimizer.Optimizer": "optim.html#torch.optim.Optimizer",
            "torch.utils.data.dataloader.DataLoader": "data.html#torch.utils.data.DataLoader",
        },
    ),
    "lightning": (
        "https://lightning.ai/docs/pytorch/stable/",
        {
            "lightning.pytorch.core.datamodule.LightningDataModule": "data/datamodule.html",
            "lightning.pytorch.core.module.LightningModule": "common/lightning_module.html",
            "lightning.pytorch.trainer.trainer.Trainer": "common/trainer.html",
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {"numpy.ndarray": "reference/generated/numpy.ndarray.html#numpy.ndarray"},
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        {"pandas.DataFrame": "reference/api/pandas.DataFrame.html#pandas.DataFrame"},
    ),
    "python": (
        "https://docs.python.org/3/",
        {
            "argparse.Namespace": "library/argparse.html#argparse.Namespace",
            "pathlib.Path": "library/pathlib.html#pathlib.Path",
        }
        | {
            f"collections.abc.{name}": ABC + name
            for name in ("Callable", "Iterable", "Iterator", "Mapping", "Sequence")
        },
    ),
}
"""Address of each site, and the page of each class."""


def write(folder: Path) -> None:
    """Writes ``<site>.inv`` for each site, in the second version of Sphinx's format."""
    for site, (_, pages) in SITES.items():
        head = (
            f"# Sphinx inventory version 2\n# Project: {site}\n# Version: \n# The remainder is compressed using zlib.\n"
        )
        lines = "".join(f"{name} py:class 1 {page} -\n" for name, page in sorted(pages.items()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{site}.inv").write_bytes(head.encode() + zlib.compress(lines.encode()))

"""Resolves ``MODEL``: a run folder, an exported model, or the name of a shipped model. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnae.errors import UserError
from attnae.files import read_yaml, shipped
from attnae.result import Part, Result, read_part, read_result

FORMAT = 1
"""Format version of exported folders; other versions are rejected."""

WEIGHTS = "model.safetensors"
"""File that identifies an exported model."""

UNDOES = {
    "CenterMask": "mask",
    "ColorNoiseMask": "mask",
    "GaussianNoise": "noise",
    "PatchMask": "mask",
    "PixelMask": "mask",
}
"""Maps corruptions of ``attnae.data`` to what a model trained on them removes, see ``ImageTask.corruption``."""

LICENSES = {
    "STL-10": "STL-10 states no license; its images come from ImageNet, whose terms are non-commercial research and education.",
    "CIFAR-10": "CIFAR-10 states no license; its images are a subset of the 80 Million Tiny Images, collected from the web.",
    "CelebA-HQ": "CelebA and CelebA-HQ are for non-commercial research only, and show identifiable people.",
    "photos": "Photographs that ship with scikit-image: public domain or CC0, see its data folder.",
    "faces": "Portraits drawn by attnae itself, under its MIT license.",
}
"""License of each dataset, by the name of the dataset or embedded images."""


@dataclass(frozen=True)
class Stored:
    """Description of a trained model from its folder, without its weights.

    Attributes:
        folder: Folder of the model.
        config: ``model``, ``image_size`` and ``corruption``.
        origin: Record of its training; a :class:`Result` for a benchmark run.
        weights: File of its weights.
        prefix: Prefix of the names of the network's weights.
    """

    folder: Path
    config: dict[str, Any]
    origin: Part
    weights: Path
    prefix: str

    @property
    def title(self) -> str:
        """Display name: benchmark, variant and seed, else the network's class."""
        model = self.config.get("model")
        arguments = (model.get("init_args") if isinstance(model, dict) else None) or {}
        net = arguments.get("net") if isinstance(arguments, dict) else None
        path = net.get("class_path") if isinstance(net, dict) else None
        return title(self.origin, str(path).rpartition(".")[2])

    @property
    def corruption(self) -> str | None:
        """``noise``, ``mask``, or empty for an autoencoder; ``None`` where only the task can tell."""
        corruption = self.config.get("corruption")
        if not corruption:
            return ""
        path = corruption.get("class_path") if isinstance(corruption, dict) else None
        return UNDOES.get(str(path).rpartition(".")[2])


def title(origin: Part, network: str) -> str:
    """Display name of a model."""
    if isinstance(origin, Result) and origin.benchmark:
        return f"{origin.benchmark} {origin.variant} (seed {origin.seed}, {network})"
    return network


def shipped_models() -> dict[str, Path]:
    """Name and folder of every model that ships with the package."""
    folders = sorted(path.parent for path in shipped("models").glob(f"*/{WEIGHTS}"))
    return {folder.name: folder for folder in folders}


def find(model: str | Path) -> Path:
    """Folder of a model, given its name or path.

    A folder in the working directory takes precedence over a shipped model of the same name if it holds a model, that is,
    a ``config.yaml``.

    Raises:
        UserError: There is neither such a folder nor such a shipped model.
    """
    folder, models = Path(model), shipped_models()
    if str(model) in models and not (folder / "config.yaml").is_file():
        return models[str(model)]
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        names = f", or a shipped model: {', '.join(models)}" if models else ""
        raise UserError(f"{folder} {what}. Name a run folder, or a folder written by attnae export{names}.")
    return folder


def hides_shipped(model: str | Path) -> bool:
    """Whether a folder in the working directory is used although a shipped model has the same name."""
    models = shipped_models()
    return str(model) in models and find(model) != models[str(model)]


def describe(model: str | Path) -> Stored:
    """Reads the description of a model from its folder.

    Args:
        model: Folder of a run (``config.yaml``, ``weights.safetensors``) or of ``attnae export`` (``config.yaml``,
            ``model.safetensors``), or the name of a shipped model.

    Raises:
        UserError: The folder is neither, or the run is not finished.
    """
    folder = find(model)
    if (folder / WEIGHTS).is_file():
        return Stored(folder, *_exported(folder), folder / WEIGHTS, "")
    return Stored(folder, *_run(folder), folder / "weights.safetensors", "net.")


def data_license(origin: Part) -> str:
    """License of the images that a model was trained on."""
    data = origin.data
    name = str(data.get("name") if data.get("kind") == "embedded" else data.get("dataset"))
    return LICENSES.get(name, "Their license is unknown.")


def _run(folder: Path) -> tuple[dict[str, Any], Part]:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is neither a run nor an exported model: it has no config.yaml.")
    origin: Part = Part()
    if (folder / "result.json").is_file():
        origin = result = read_result(folder / "result.json")
        if result.status != "complete":
            raise UserError(f"The run {folder} has failed: {result.reason or 'no reason given'}")
    elif (folder / "fit.json").is_file():
        origin = read_part(folder / "fit.json")
    raw = read_yaml(folder / "config.yaml")
    data = raw.get("data")
    arguments = data.get("init_args") if isinstance(data, dict) else None
    if not isinstance(raw.get("model"), dict) or not isinstance(arguments, dict):
        raise UserError(f"{folder / 'config.yaml'} is not the configuration of a run: model or data is missing.")
    if not (folder / "weights.safetensors").is_file():
        if isinstance(origin, Result):
            raise UserError(f"{folder}: {origin.variant} needs no training and has no weights.")
        raise UserError(
            f"The run {folder} is not finished: it has no weights yet. Rerun the original command to resume."
        )
    config = {
        "model": _network_only(raw["model"]),
        "image_size": arguments.get("image_size"),
        "corruption": arguments.get("corruption"),
    }
    return config, origin


def _exported(folder: Path) -> tuple[dict[str, Any], Part]:
    config = read_yaml(folder / "config.yaml")
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder} has format {config.get('format')!r}, but this version of attnae reads format {FORMAT}. "
            "Export the run again."
        )
    origin = read_result(folder / "result.json") if (folder / "result.json").is_file() else Part()
    return {key: config.get(key) for key in ("model", "image_size", "corruption")}, origin


def _network_only(model: dict[str, Any]) -> dict[str, Any]:
    """Removes networks that are only used in training, such as a discriminator, from a task's configuration."""
    arguments = model.get("init_args")
    if not isinstance(arguments, dict):
        return model
    kept = {key: value for key, value in arguments.items() if key == "net" or not isinstance(value, dict)}
    return {**model, "init_args": kept}

"""Opens what was trained - the folder of a run, or an exported model - without ever executing what it holds."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnae.data.batch import Corruption
from attnae.data.masks import PatchMask
from attnae.errors import UserError
from attnae.files import read_yaml
from attnae.inference.tiles import blended
from attnae.result import Part, Result, read_part, read_result
from attnae.training import weights
from attnae.training.task import ImageTask

FORMAT = 1
"""Version of an exported folder; any other is refused."""

LARGEST = 4096
"""Images of a model with more pixels a side than this are a broken configuration."""


@dataclass(frozen=True)
class Model:
    """A trained model in evaluation mode.

    Attributes:
        task: The paper's task around the network; ``task.net`` is plain PyTorch.
        size: Height and width of the images that it was trained on, in pixels.
        corruption: What made its inputs in training.
        config: ``model``, ``image_size`` and ``corruption`` as an exported ``config.yaml`` holds them.
        origin: What is known about its training: metrics, data, versions; a :class:`Result` where a benchmark made it.
        folder: Where it was opened.
    """

    task: ImageTask
    size: int
    corruption: Corruption
    config: dict[str, Any]
    origin: Part
    folder: Path

    @property
    def title(self) -> str:
        """Name for people: benchmark, variant and seed, else the network's class."""
        origin = self.origin
        network = type(self.task.net).__name__
        if isinstance(origin, Result) and origin.benchmark:
            return f"{origin.benchmark} {origin.variant} (seed {origin.seed}, {network})"
        return network

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.task.net.parameters()).device

    @property
    def fill(self) -> float:
        """Value of hidden pixels, in [0, 1]; for models that fill in."""
        return float(getattr(self.corruption, "fill", PatchMask().fill))

    @torch.no_grad()
    def restore(self, images: Tensor) -> Tensor:
        """What the model makes of images of its own size.

        Args:
            images: (B, 3, ``size``, ``size``) in [0, 1], on any device.

        Returns:
            Images of that shape in [0, 1], on the CPU. Each depends on its own input alone, not on the batch.
        """
        return self.task.restore(images.to(self.device)).float().clamp(0, 1).cpu()

    def __call__(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the model makes of images: denoised, filled in or reconstructed.

        Args:
            images: (B, 3, H, W) in [0, 1]. Models that work in tiles take any size, the others ``size`` x ``size``.
            mask: Which pixels to hide first, bool (B, 1, H, W), for models that fill in; ``None`` if they are hidden
                already.

        Returns:
            Images (B, 3, H, W) in [0, 1] on the CPU.

        Raises:
            ValueError: The images have another shape, or the model has no use for a mask.

        Example:
            >>> model = attnae.load("exported/denoiser")  # doctest: +SKIP
            >>> model(torch.rand(2, 3, 50, 70)).shape
            torch.Size([2, 3, 50, 70])
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        if mask is not None:
            if self.task.corruption != "mask":
                raise ValueError(f"{self.title} does not fill in; a mask is for models that do")
            images = torch.where(mask, self.fill, images)
        if images.shape[2:] == (self.size, self.size):
            return self.restore(images)
        if not self.task.tiles:
            raise ValueError(f"images are {tuple(images.shape[2:])}; resize them to {self.size}x{self.size}")
        return torch.stack([self._tiled(image.cpu()) for image in images])

    def _tiled(self, image: Tensor) -> Tensor:
        """Image (3, H, W) of any size."""
        height, width = image.shape[1:]
        tile = (self.size, self.size)
        bands = blended(self.restore, lambda top, end: image[:, top:end], (height, width), tile, self.overlap)
        return torch.cat([band for _, band in bands], 1)

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring tiles share at least: a quarter of a tile.

        The MoE denoiser of 32x32 gains 0.24 dB by sharing 4 pixels instead of none, and no more by 8, 16 or 24.
        """
        return self.size // 4

    def to(self, device: str | torch.device) -> Model:
        """Moves the network to ``cpu`` or ``cuda`` and returns the model."""
        self.task.to(device)
        return self


def load(path: str | Path, device: str = "cpu") -> Model:
    """Opens a finished run or an exported model.

    Weights are read by safetensors and settings as plain YAML; only classes of attnae are ever built.

    Args:
        path: Folder of a run (``config.yaml``, ``weights.safetensors``) or of ``attnae export`` (``config.yaml``,
            ``model.safetensors``).
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.

    Raises:
        UserError: The folder is neither, is not finished, or holds what does not fit or is not to be trusted.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Name a run's folder or one that attnae export wrote.")
    if (folder / "model.safetensors").is_file():
        config, origin, file, prefix = *_exported(folder), "model.safetensors", ""
    else:
        config, origin, file, prefix = *_run(folder), "weights.safetensors", "net."
    settings = folder / "config.yaml"
    size = config.get("image_size")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise UserError(f"{settings}: image_size is {size!r}; expected a number of pixels up to {LARGEST}.")
    task = _build(config.get("model"), ImageTask, "attnae.papers", settings)
    if not any(True for _ in task.net.parameters()):
        raise UserError(f"{folder}: {type(task).__name__} needs no training and has no weights to use.")
    _load_weights(task.net, folder / file, prefix)
    corruption = _build(config["corruption"], object, "attnae.data", settings) if config.get("corruption") else None
    if corruption is not None and not callable(corruption):
        raise UserError(f"{settings}: {type(corruption).__name__} corrupts nothing.")
    model = Model(task.eval().requires_grad_(False), size, corruption or PatchMask(), config, origin, folder)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no GPU that torch can use here. Give --device cpu.")
    return model.to(device)


# -- the two kinds of folders ------------------------------------------------------------------------------------------


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
        raise UserError(f"{folder / 'config.yaml'} is no configuration of a run: model or data is missing.")
    if not (folder / "weights.safetensors").is_file():
        if isinstance(origin, Result):
            raise UserError(f"{folder}: {origin.variant} needs no training and left no weights to use.")
        raise UserError(f"The run {folder} is not finished: it has no weights yet. The command that began it goes on.")
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
            f"{folder} has format {config.get('format')!r}, this attnae reads format {FORMAT}. Export the run again."
        )
    origin = read_result(folder / "result.json") if (folder / "result.json").is_file() else Part()
    return {key: config.get(key) for key in ("model", "image_size", "corruption")}, origin


def _network_only(model: dict[str, Any]) -> dict[str, Any]:
    """A task without the further networks that only its training needs, such as a discriminator."""
    arguments = model.get("init_args")
    if not isinstance(arguments, dict):
        return model
    kept = {key: value for key, value in arguments.items() if key == "net" or not isinstance(value, dict)}
    return {**model, "init_args": kept}


# -- building what a configuration names ---------------------------------------------------------------------------


def _build(spec: Any, base: type[Any], package: str, file: Path) -> Any:
    """An object of attnae from ``{class_path: ..., init_args: {...}}``.

    Raises:
        UserError: It names anything but a class of ``package`` that derives from ``base``, or arguments that do not fit.
    """
    if not isinstance(spec, dict) or not set(spec) <= {"class_path", "init_args"}:
        raise UserError(f"{file}: expected class_path and init_args, found {str(spec)[:80]}.")
    kind = _class(spec.get("class_path"), base, package, file)
    given = spec.get("init_args") or {}
    known = inspect.signature(kind).parameters
    unknown = [key for key in given if key not in known] if isinstance(given, dict) else [given]
    if unknown:
        raise UserError(
            f"{file}: {kind.__name__} has no argument {str(unknown[0])[:80]!r}; it was made by another version of attnae."
        )
    arguments = {
        # A network may be any module of the same packages; the task says which it can use.
        key: _build(value, nn.Module, package, file) if isinstance(value, dict) else value
        for key, value in given.items()
    }
    try:
        return kind(**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, MemoryError, RuntimeError, ImportError) as error:
        line = " ".join(str(error).split())[:300]
        raise UserError(f"{file}: {kind.__name__} cannot be built: {line}") from error


def _class(path: Any, base: type[Any], package: str, file: Path) -> type[Any]:
    """The class of a dotted name; a name elsewhere is not even imported."""
    name = path if isinstance(path, str) else repr(path)
    if not re.fullmatch(re.escape(package) + r"(\.[a-z][a-z0-9_]*)*\.[A-Z]\w*", name, re.ASCII):
        raise UserError(f"{file} names {name[:80]!r}, which is no class of {package}: not loaded.")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{file} names {name[:80]}, which this version of attnae does not have.") from error
    if not isinstance(found, type) or not issubclass(found, base) or not found.__module__.startswith("attnae."):
        raise UserError(f"{file} names {name[:80]!r}, which is no {base.__name__} of attnae: not loaded.")
    return found


def _load_weights(net: nn.Module, path: Path, prefix: str) -> None:
    """Fills a network with the tensors of a file whose names begin with ``prefix``."""
    stored = weights.read(path)
    state = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    own, kind = net.state_dict(), type(net).__name__
    for name in sorted(own.keys() | state.keys()):
        if name not in state or name not in own:
            where = "lack" if name not in state else "hold"
            raise UserError(f"The weights {path} do not fit {kind}: they {where} {name[:80]!r}.")
        if state[name].shape != own[name].shape:
            ours, theirs = tuple(own[name].shape), tuple(state[name].shape)
            raise UserError(f"The weights {path} do not fit {kind}: {name} should be {ours}, is {theirs}.")
        if not state[name].isfinite().all():
            raise UserError(f"The weights {path} are broken: {name} is not finite.")
    net.load_state_dict(state)

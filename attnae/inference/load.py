"""Opens a trained model, from a run folder or an export, without executing code from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from attnae.data.batch import Corruption
from attnae.data.masks import PatchMask
from attnae.errors import UserError, out_of_memory
from attnae.inference import folders
from attnae.inference.tiles import blended
from attnae.result import Part
from attnae.training import weights
from attnae.training.task import ImageTask
from attnae.trust import trust as trust_folder
from attnae.trust import trusted

LARGEST = 4096
"""Maximum ``image_size``; larger values indicate a damaged configuration."""


@dataclass(frozen=True)
class Model:
    """A trained model in evaluation mode.

    Attributes:
        task: The paper's task around the network; ``task.net`` is plain PyTorch.
        size: Height and width of the images that it was trained on, in pixels.
        corruption: Corruption of its inputs in training.
        config: ``model``, ``image_size`` and ``corruption`` as in an exported ``config.yaml``.
        origin: Metadata of the training: metrics, data, versions; a :class:`Result` for a benchmark run.
        folder: Folder it was loaded from.
    """

    task: ImageTask
    size: int
    corruption: Corruption
    config: dict[str, Any]
    origin: Part
    folder: Path

    @property
    def title(self) -> str:
        """Benchmark, variant and seed, else the class of the network: a name for people."""
        return folders.title(self.origin, type(self.task.net).__name__)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.task.net.parameters()).device

    @property
    def fill(self) -> float:
        """Value of hidden pixels, in [0, 1]; for inpainting models."""
        return float(getattr(self.corruption, "fill", PatchMask().fill))

    @torch.no_grad()
    def restore(self, images: Tensor) -> Tensor:
        """Applies the model to images of its size.

        Args:
            images: (B, 3, ``size``, ``size``) in [0, 1], on any device.

        Returns:
            Images of that shape in [0, 1], on the CPU. Each depends only on its own input, not on the batch.

        Raises:
            UserError: See :meth:`at_size`.
        """
        return self.at_size(self.task.restore, images).float().clamp(0, 1).cpu()

    def at_size(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Applies a function of the task to images of the model's size.

        Args:
            function: Method of :attr:`task`, such as ``encode``.
            images: (B, 3, ``size``, ``size``) in [0, 1], on any device.

        Returns:
            The result, on the device of the network.

        Raises:
            UserError: The network accepts no images of ``size``, so ``config.yaml`` is not that of the weights. This shows
                here and not in :func:`load`, because trying it takes seconds for a large network.
        """
        try:
            return function(images.to(self.device, torch.float32))
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            raise UserError(
                f"{self.settings}: {type(self.task.net).__name__} does not accept images of image_size {self.size}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error

    @property
    def settings(self) -> Path:
        """File that ``size`` and ``corruption`` were read from."""
        return self.folder / "config.yaml"

    def __call__(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Denoises, inpaints or reconstructs images.

        Args:
            images: (B, 3, H, W) in [0, 1]. Models with tiling accept any size, the others ``size`` x ``size``.
            mask: Pixels to hide, bool (B, 1, H, W), for inpainting models; ``None`` if they are already hidden.

        Returns:
            Images (B, 3, H, W) in [0, 1] on the CPU.

        Raises:
            TypeError: The images or the mask are no tensor.
            ValueError: The images have another shape or are not floating-point numbers, or the model does not accept a mask.
            UserError: See :meth:`at_size`.

        Example:
            >>> model = attnae.load("exported/denoiser")  # doctest: +SKIP
            >>> model(torch.rand(2, 3, 50, 70)).shape
            torch.Size([2, 3, 50, 70])
        """
        for name, given in {"images": images, **({} if mask is None else {"mask": mask})}.items():
            if not isinstance(given, Tensor):
                raise TypeError(f"{name} must be a tensor of torch, got {type(given).__name__}")
        if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise ValueError(f"images must be floating-point numbers in [0, 1], got {images.dtype}")
        if mask is not None:
            if self.task.corruption != "mask":
                raise ValueError(f"{self.title} is not an inpainting model; leave out the mask")
            wanted = (len(images), 1, *images.shape[2:])
            if mask.dtype != torch.bool or mask.shape not in (wanted, (1, *wanted[1:])):
                raise ValueError(f"mask must be bool {wanted}, got {mask.dtype} {tuple(mask.shape)}")
            images = torch.where(mask.to(images.device), self.fill, images)
        if images.shape[2:] == (self.size, self.size):
            return self.restore(images)
        if not self.task.tiles:
            raise ValueError(f"images are {tuple(images.shape[2:])}; resize them to {self.size}x{self.size}")
        return torch.stack([self._tiled(image.cpu()) for image in images])

    def _tiled(self, image: Tensor) -> Tensor:
        """Applies the model to an image (3, H, W) of any size."""
        height, width = image.shape[1:]
        tile = (self.size, self.size)
        bands = blended(self.restore, lambda top, end: image[:, top:end], (height, width), tile, self.overlap)
        return torch.cat([band for _, band in bands], 1)

    @property
    def overlap(self) -> int:
        """Minimum overlap of neighboring tiles in pixels: a quarter of a tile.

        The MoE denoiser of 32x32 gains 0.24 dB with an overlap of 4 pixels compared with none, and no more with 8, 16 or 24.
        """
        return self.size // 4

    def to(self, device: str | torch.device) -> Model:
        """Moves the network to ``cpu`` or ``cuda`` and returns the model."""
        self.task.to(device)
        return self


def load(path: str | Path, device: str = "cpu", trust: str | Path | None = None) -> Model:
    """Opens a finished run, an exported model or a shipped model.

    Reads weights with safetensors and settings as plain YAML, and builds only classes of attnae and of ``trust``.

    Args:
        path: Folder of a run (``config.yaml``, ``weights.safetensors``) or of ``attnae export`` (``config.yaml``,
            ``model.safetensors``), or the name of a shipped model (``attnae models`` lists them). A folder of that
            name in the working directory takes precedence if it holds a model.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one; also any other device of torch, such as ``cuda:1``.
        trust: Folder with the code of a network or task of your own, or an installed package; its code is executed.

    Raises:
        UserError: The folder is neither, is not finished, or its content is invalid or not trusted; or torch has no such
            device.
    """
    if trust is not None:
        trust_folder(trust)
    stored = folders.describe(path)
    folder, config = stored.folder, stored.config
    settings = folder / "config.yaml"
    size = config.get("image_size")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise UserError(f"{settings}: image_size is {size!r}; expected a number of pixels up to {LARGEST}.")
    task = _build(config.get("model"), ImageTask, "attnae.papers", settings)
    if not any(True for _ in task.net.parameters()):
        raise UserError(f"{folder}: {type(task).__name__} needs no training and has no weights to use.")
    _load_weights(task.net, stored.weights, stored.prefix)
    corruption = _build(config["corruption"], object, "attnae.data", settings) if config.get("corruption") else None
    if corruption is not None and not callable(corruption):
        raise UserError(f"{settings}: {type(corruption).__name__} corrupts nothing.")
    model = Model(task.eval().requires_grad_(False), size, corruption or PatchMask(), config, stored.origin, folder)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch found no usable GPU. Set --device cpu.")
    try:
        return model.to(device)
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError) as error:  # assertion: torch was built without CUDA
        raise UserError(f"torch cannot use the device {str(device)!r}: {' '.join(str(error).split())[:200]}") from error


# -- building what a configuration names ---------------------------------------------------------------------------


def _build(spec: Any, base: type[Any], package: str, file: Path) -> Any:
    """Builds an object of attnae, or of a trusted package, from ``{class_path: ..., init_args: {...}}``.

    Raises:
        UserError: The class is not a subclass of ``base`` in ``package`` or a trusted one, or the arguments are invalid.
    """
    if not isinstance(spec, dict) or not set(spec) <= {"class_path", "init_args"}:
        raise UserError(f"{file}: expected class_path and init_args, found {str(spec)[:80]}.")
    kind = _class(spec.get("class_path"), base, package, file)
    given = spec.get("init_args") or {}
    known = inspect.signature(kind).parameters
    unknown = [key for key in given if key not in known] if isinstance(given, dict) else [given]
    if unknown:
        raise UserError(
            f"{file}: {kind.__name__} has no argument {str(unknown[0])[:80]!r}; it was made by another version of "
            f"{kind.__module__.partition('.')[0]}."
        )
    arguments = {
        key: _build(value, nn.Module, package, file) if isinstance(value, dict) else value
        for key, value in given.items()
    }
    for key, value in arguments.items():
        if isinstance(value, nn.Module) and not isinstance(value, wanted := _modules(kind, key)):
            names = " or ".join(one.__name__ for one in wanted)
            raise UserError(f"{file}: {key} of {kind.__name__} must be {names}, not {type(value).__name__}.")
    try:
        return kind(**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, MemoryError, RuntimeError, ImportError) as error:
        line = " ".join(str(error).split())[:300]
        raise UserError(f"{file}: {kind.__name__} cannot be built: {line}") from error


def _modules(kind: type[Any], key: str) -> tuple[type[Any], ...]:
    """Classes of modules that an argument accepts by its annotation; any module where there is none to go by."""
    try:
        hint = get_type_hints(kind.__init__).get(key)
    except (NameError, TypeError, AttributeError):  # of somebody else's code
        hint = None
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    named = [one for one in options if one is not type(None)]
    if named and all(get_origin(one) is None and isinstance(one, type) and issubclass(one, nn.Module) for one in named):
        return tuple(named)
    return (nn.Module,)


def _class(path: Any, base: type[Any], package: str, file: Path) -> type[Any]:
    """Returns the class of a dotted name. Names in other packages are not imported, unless they are trusted."""
    name = path if isinstance(path, str) else repr(path)
    own = trusted(name) and re.fullmatch(r"\w+(\.\w+)+", name)
    if not own and not re.fullmatch(re.escape(package) + r"(\.[a-z][a-z0-9_]*)*\.[A-Z]\w*", name, re.ASCII):
        told = f"{file}: {name[:80]!r} is not a class of {package} and was not loaded."
        if re.fullmatch(r"\w+(\.\w+)+", name) and not name.startswith("attnae."):
            first = name.partition(".")[0][:80]
            told += f" If it is your own or you trust its author, name the folder {first} with --trust (attnae.load: trust=)."
        raise UserError(told)
    module, _, attribute = name.rpartition(".")
    source = name.partition(".")[0]
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        version = " in this version of attnae" if source == "attnae" else f": {' '.join(str(error).split())}"
        raise UserError(f"{file}: {name[:80]} does not exist{version}.") from error
    except Exception as error:
        if not own:
            raise
        raise UserError(f"{file}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    inside = isinstance(found, type) and (own or found.__module__.startswith("attnae."))
    if not inside or not issubclass(found, base):
        raise UserError(f"{file}: {name[:80]!r} is not an attnae {base.__name__} and was not loaded.")
    return cast(type[Any], found)


def _load_weights(net: nn.Module, path: Path, prefix: str) -> None:
    """Loads the tensors of a file whose names start with ``prefix`` into a network."""
    stored = weights.read(path)
    state = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    own, kind = net.state_dict(), type(net).__name__
    for name in sorted(own.keys() | state.keys()):
        if name not in state or name not in own:
            where = "lack" if name not in state else "hold"
            raise UserError(f"The weights {path} do not fit {kind}: they {where} {name[:80]!r}.")
        if state[name].shape != own[name].shape:
            ours, theirs = tuple(own[name].shape), tuple(state[name].shape)
            raise UserError(f"The weights {path} do not fit {kind}: {name} must be {ours}, got {theirs}.")
        if not state[name].isfinite().all():
            raise UserError(f"The weights {path} are damaged: {name} is not finite.")
    net.load_state_dict(state)

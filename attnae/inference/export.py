"""``attnae export``: exports a run as a self-contained folder without pickles, independent of a checkout."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from attnae import result
from attnae._version import __version__
from attnae.bench import catalog
from attnae.errors import UserError
from attnae.files import write_text
from attnae.inference import folders
from attnae.inference.inputs import EXPORTED
from attnae.inference.load import Model, load
from attnae.metrics.columns import COLUMNS
from attnae.result import Result
from attnae.training import weights
from attnae.training.task import ImageTask

SHORT_LINE = 88
"""Characters of a line of Python in a model card; longer calls get one argument per line."""

TOLERANCE = 1e-3
"""Maximum pixel difference in [0, 1] between the exported program and the eager model."""


def export(options: argparse.Namespace) -> int:
    """Runs the command; returns 0.

    Writes all files to a temporary folder and checks them first: the export fails if the reloaded model or the exported
    program has another output.

    Raises:
        UserError: The run cannot be opened, the folder exists, or a check fails.
    """
    model = load(options.model)
    folder: Path = options.out
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            reloaded, program = write(model, Path(name), graph=not options.no_graph)
            folder.mkdir(exist_ok=True)
            for file in EXPORTED:
                (folder / file).unlink(missing_ok=True)
            for path in sorted(Path(name).iterdir()):
                shutil.move(path, folder / path.name)
    except OSError as error:
        raise UserError(
            f"Cannot write {folder}: {error.strerror or error}. Free space or choose another folder."
        ) from error
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 1e6:,.2f} MB")
    checked = f"checked on random images: loaded again, largest difference {reloaded:.1g}"
    print(checked if program is None else f"{checked}; model.pt2, {program:.1g}")
    trust = f", trust={options.trust!r}" if options.trust else ""
    print(f'Next: python -c "import attnae; print(attnae.load({str(folder)!r}{trust}).title)"')
    return 0


def write(model: Model, folder: Path, graph: bool = True) -> tuple[float, float | None]:
    """Writes and checks all files; returns the largest differences of the loaded model and of the exported program.

    Args:
        model: What to export.
        folder: Where to; it exists.
        graph: Also write ``model.pt2``; otherwise the second difference is ``None``.

    Raises:
        UserError: One of them differs from the model, or torch.export cannot follow the network.
    """
    net = model.task.net
    weights.save(net.state_dict(), folder / "model.safetensors")
    config = {"format": folders.FORMAT, "attnae": __version__, **model.config}
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    if isinstance(model.origin, Result):
        result.write(model.origin, folder / "result.json")
    example = torch.rand(3, 3, model.size, model.size, generator=torch.Generator().manual_seed(0))
    expected = model.restore(example)
    reloaded = _largest(load(folder).restore(example), expected)
    if reloaded > 0:
        raise UserError(f"The output of the exported weights differs by up to {reloaded:.2g}; nothing was exported.")
    write_text(folder / "README.md", card(model, graph))
    if not graph:
        return reloaded, None
    net.to(memory_format=torch.contiguous_format)  # torch.export warns of weights that are not
    program = _program(model, example, folder / "model.pt2")
    with torch.no_grad():
        different = max(_largest(program(example[:count]), expected[:count]) for count in (1, 2, 3))
    if not different <= TOLERANCE:
        raise UserError(f"The output of model.pt2 differs by up to {different:.2g}; nothing was exported.")
    return reloaded, different


class _Restore(nn.Module):
    """Exported module: images to clamped images."""

    def __init__(self, task: ImageTask):
        super().__init__()
        self.net = task.net
        self._task = [task]  # not a submodule: its hooks belong to Lightning

    def forward(self, images: Tensor) -> Tensor:
        return self._task[0].restore(images).float().clamp(0, 1)


def _program(model: Model, example: Tensor, path: Path) -> Any:
    """Writes the graph for any batch size, and returns it as loaded from the file."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with torch.no_grad():  # otherwise a network's no_grad becomes a node that torch 2.15 cannot save
            exported = torch.export.export(_Restore(model.task), (example,), dynamic_shapes=shapes)
        torch.export.save(exported, path)
        return torch.export.load(path).module()
    except Exception as error:  # its exceptions have no common class
        line = " ".join(str(error).split())[:200]
        raise UserError(f"torch.export failed on {type(model.task.net).__name__}: {line}") from error


def _largest(images: Tensor, others: Tensor) -> float:
    return float((images - others).abs().max())


# -- the model card ----------------------------------------------------------------------------------------------------


def card(model: Model, graph: bool = True) -> str:
    """Markdown: what the model is, its numbers beside the published ones, its data and their license, how to load it."""
    origin, net = model.origin, type(model.task.net)
    count = sum(tensor.numel() for tensor in model.task.net.parameters())
    does = {"noise": "removes noise from", "mask": "fills hidden parts of", "": "compresses and reconstructs"}
    lines = [
        f"# {model.title}",
        "",
        f"`{net.__name__}` of attnae {__version__}, {count:,} parameters: "
        f"{does[model.task.corruption]} images of {model.size}x{model.size}"
        + (", larger ones in overlapping tiles." if model.task.tiles else "; others are resized."),
        "",
    ]
    if isinstance(origin, Result):
        lines += _training(origin)
    data = origin.data
    lines += [
        "## Data",
        "",
        f"Trained on {data.get('title', 'unknown images')}, {data.get('train', 'an unknown number of')} images.",
    ]
    if data.get("kind") not in (None, "official", "embedded"):
        lines.append("The license of these images is not recorded. License of the dataset that they stand in for:")
    lines += [folders.data_license(origin), ""]
    lines += [
        "## Use",
        "",
        "```python",
        "import attnae",
        "",
        'model = attnae.load("DIR")  # this folder',
        *_call(model),
        "```",
        "",
    ]
    arguments = (model.config["model"].get("init_args") or {}).get("net") or {}
    package = str(arguments.get("class_path", net.__name__)).rpartition(".")[0]
    lines += [
        "Plain PyTorch, with the network's own conventions for its input:",
        "",
        "```python",
        "from safetensors.torch import load_file",
        f"from {package} import {net.__name__}",
        "",
        *_built(net.__name__, arguments.get("init_args") or {}),
        'net.load_state_dict(load_file("DIR/model.safetensors"))',
        "```",
        "",
    ]
    if graph:
        lines += [
            "Without attnae, `torch.export`'s graph for any number of images:",
            "",
            "```python",
            'restore = torch.export.load("DIR/model.pt2").module()',
            f"images = restore(torch.rand(1, 3, {model.size}, {model.size}))  # in [0, 1]",
            "```",
            "",
        ]
    return "\n".join(lines)


def _call(model: Model) -> list[str]:
    if model.task.corruption == "mask":
        return [f"images = model(shown, mask)  # (B, 3, {model.size}, {model.size}) in [0, 1]; mask: True where hidden"]
    return ["images = model(images)  # (B, 3, H, W) in [0, 1], any height and width"]


def _built(name: str, given: dict[str, Any]) -> list[str]:
    """Lines that build a network, as a formatter of Python would break them."""
    told = [f"{key}={json.dumps(value) if isinstance(value, str) else value!r}" for key, value in given.items()]
    line = f"net = {name}({', '.join(told)}).eval()"
    return [line] if len(line) <= SHORT_LINE else [f"net = {name}(", *(f"    {one}," for one in told), ").eval()"]


def _training(origin: Result) -> list[str]:
    """Where the model comes from, and its numbers."""
    commit = origin.git.get("commit")
    dirty = " with changes that were not committed" if origin.git.get("dirty") else ""
    lines = [
        f"Benchmark `{origin.benchmark}`, variant `{origin.variant}`, profile `{origin.profile}`, seed {origin.seed}; "
        f"weights: {origin.selection or 'last epoch'}; commit {commit or 'unknown (installed package)'}{dirty}.",
        "",
        "```",
        *origin.commands,
        "```",
        "",
        "## Numbers",
        "",
        f"Measured on {origin.data.get('title', 'unknown images')}, {origin.data.get('test', '?')} held-out images of "
        f"{origin.data.get('size', '?')}x{origin.data.get('size', '?')}. "
        + (
            "Protocol `train_set`: training images, as in the paper. "
            if any(key.startswith("train_set/") for key in origin.metrics)
            else ""
        )
        + "The published numbers are for the paper's data and schedule.",
        "",
        "| protocol | measure | this model | published |",
        "|---|---|---:|---:|",
    ]
    published: dict[str, float] = {}
    if origin.benchmark in catalog.names():
        published = catalog.load(origin.benchmark).published_of(origin.variant)
    for key in sorted(origin.metrics.keys() | published.keys()):
        protocol, _, measure = key.partition("/")
        if measure in COLUMNS:
            column = COLUMNS[measure]
            both = (origin.metrics.get(key), published.get(key))
            numbers = " | ".join("-" if number is None else f"{number:,.{column.digits}f}" for number in both)
            lines.append(f"| {protocol} | {column.heading} | {numbers} |")
    return [*lines, ""]

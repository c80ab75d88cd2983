"""How the commands that use a trained model are typed. Plain Python: help comes at once."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from attnae.errors import UserError, out_of_memory
from attnae.inference import folders, inputs
from attnae.parser import Parser, nonempty
from attnae.paths import typed
from attnae.trust import trust

NAMES = ("apply", "encode", "decode", "sample", "export", "models")

MODEL = (
    "folder of a finished run (runs/<benchmark>/<label>/<variant>/seed...) or of attnae export, or a name that attnae "
    "models lists; a folder of that name takes precedence if it holds a model"
)


def run(arguments: list[str]) -> int:
    """Runs a command; returns the exit code: 0 all fine, 1 some images could not be used.

    Args:
        arguments: The command, one of :data:`NAMES`, and what follows it.

    Raises:
        UserError: Whatever a user can mend, in one line.
    """
    top = Parser(prog="attnae")
    add_commands(top.add_subparsers(dest="command", required=True))
    options = top.parse_args(arguments)
    if "model" in options:
        if options.trust:
            trust(options.trust)
        options.found = getattr(inputs, options.command)(options)
        if folders.hides_shipped(options.model):
            print(f"{options.model}: using the folder, not the shipped model of the same name.", file=sys.stderr)
    module = import_module(f"attnae.inference.{options.module}")  # torch and Lightning take seconds to import
    main = threading.current_thread() is threading.main_thread()
    # What is finished keeps its numbers, as after Ctrl-C.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if main else None
    try:
        return int(getattr(module, options.command)(options))
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise UserError("Out of GPU memory. Give a smaller --batch-size, or --device cpu.") from error
        if out_of_memory(error):
            raise UserError("Out of memory. Give smaller or fewer images, or a smaller --batch-size.") from error
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def add_commands(commands: Any) -> None:
    """Adds the commands' parsers to argparse's ``add_subparsers``; shell completion is made from the same."""
    for add in (_add_apply, _add_encode, _add_decode, _add_sample, _add_export, _add_listing):
        add(commands)


def _add_apply(commands: Any) -> None:
    apply = _command(
        commands,
        "apply",
        "denoise, fill in or reconstruct images",
        "Applies a model to images. A denoiser takes images as they are, or with --sigma adds noise first and compares "
        "with the truth; a VAE fills in what a mask hides and leaves the other pixels as they are; a VQ-VAE reconstructs. "
        "Denoisers and VQ-VAEs take images of any size in overlapping tiles; for a VAE they are cropped to a square and "
        "resized. Writes IMAGE.png, IMAGE-compared.png and metrics.csv (PSNR and SSIM of the 8-bit images) into OUT, and "
        "warns where a result is worse than its input.",
        "attnae apply runs/moe_denoising/quick/moe/seed1-* photos/ -o denoised --sigma 0.2",
    )
    _images(apply)
    _folder(apply)
    apply.add_argument(
        "--sigma",
        type=_sigma,
        metavar="S",
        help="denoisers: add Gaussian noise of this standard deviation first, in units of the range [0, 1]",
    )
    apply.add_argument(
        "--mask",
        type=_typed,
        default="random",
        metavar="FILE",
        help="inpainting models: image file that is white where pixels are hidden; default random, as in training",
    ).complete = _FILE  # type: ignore[attr-defined]
    apply.add_argument("--seed", type=_count(0), default=1, metavar="N", help="of random masks and noise; default 1")
    apply.add_argument(
        "--json", action="store_true", help="print the numbers as JSON on stdout, and nothing else there"
    )
    _machine(apply)


def _add_encode(commands: Any) -> None:
    encode = _command(
        commands,
        "encode",
        "images to small files of code indices (VQ-VAE)",
        "Encodes images with a VQ-VAE: one entropy-coded codebook index per 8x8 pixels. Prints the bits per pixel of each "
        "file. attnae decode reconstructs the images with the same model.",
        "attnae encode runs/attentive_vqvae/quick/a/seed1-* photos/ -o coded",
    )
    _images(encode)
    _folder(encode)
    _machine(encode)


def _add_decode(commands: Any) -> None:
    decode = _command(
        commands,
        "decode",
        "files of code indices to images (VQ-VAE)",
        "Decodes files written by attnae encode to PNG images, with the model that encoded them.",
        "attnae decode runs/attentive_vqvae/quick/a/seed1-* coded/ -o decoded",
    )
    decode.add_argument(
        "files", type=_typed, nargs="+", metavar="FILES", help="*.codes: files, folders or patterns"
    ).complete = _FILE  # type: ignore[attr-defined]
    _folder(decode)
    _machine(decode)


def _add_sample(commands: Any) -> None:
    sample = _command(
        commands,
        "sample",
        "sample images from a VAE's prior, or interpolate between two images",
        "Samples latents from a VAE's prior, or interpolates linearly between the latents of two images, and writes the "
        "decoded images to one PNG.",
        "attnae sample runs/saaae_vs_vae/quick/vae/seed1-* -o sampled.png --between first.jpg last.jpg",
    )
    sample.add_argument("-o", "--out", type=_path, required=True, metavar="PNG", help="file to write")
    sample.add_argument("--count", type=_count(1, 10_000), default=8, metavar="N", help="images or steps; default 8")
    sample.add_argument("--seed", type=_count(0), default=1, metavar="N", help="of the latents; default 1")
    sample.add_argument(
        "--between",
        type=_typed,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="two images; the first and last of the row are they",
    ).complete = _FILE  # type: ignore[attr-defined]
    _device(sample)
    _overwrite(sample)


def _add_export(commands: Any) -> None:
    export = _command(
        commands,
        "export",
        "export a run as a self-contained folder",
        "Writes model.safetensors, config.yaml, a model card (README.md), result.json, and model.pt2, the graph of "
        "torch.export. Weights and graph are checked against the run's output. attnae.load('DIR') opens the folder.",
        "attnae export runs/moe_denoising/quick/moe/seed1-* exported/moe",
    )
    export.add_argument("out", type=_path, metavar="DIR", help="folder to write").complete = _FOLDER  # type: ignore[attr-defined]
    export.add_argument("--no-graph", action="store_true", help="leave out model.pt2")
    _overwrite(export)


def _add_listing(commands: Any) -> None:
    listing = commands.add_parser(
        "models",
        help="list the trained models that are shipped",
        description="Lists the trained models that travel with the package: what they do, their numbers on held-out "
        "images, their size, and the license of the images that they were trained on.",
    )
    listing.set_defaults(module="models")


# shtab's names for files and folders; copied, so only completion imports shtab
_FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
_FOLDER = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}


def _command(commands: Any, name: str, short: str, long: str, example: str) -> argparse.ArgumentParser:
    module = {"encode": "codes", "decode": "codes"}.get(name, name)
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=short, description=long, epilog=f"example: {example}"
    )
    parser.set_defaults(module=module)
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL).complete = _FOLDER  # type: ignore[attr-defined]
    parser.add_argument(
        "--trust", type=_typed, metavar="FOLDER", help="folder with the code of a model of your own; it is imported"
    ).complete = _FOLDER  # type: ignore[attr-defined]
    return parser


def _images(parser: argparse.ArgumentParser) -> None:
    images = parser.add_argument(
        "images", type=_typed, nargs="+", metavar="IMAGES", help="files, folders or patterns, of any size"
    )
    images.complete = _FILE  # type: ignore[attr-defined]


def _folder(parser: argparse.ArgumentParser) -> None:
    folder = parser.add_argument("-o", "--out", type=_path, required=True, metavar="OUT", help="folder of the results")
    folder.complete = _FOLDER  # type: ignore[attr-defined]
    _overwrite(parser)


def _overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing results")


def _machine(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    parser.add_argument(
        "--batch-size",
        type=_count(1),
        default=0,
        metavar="N",
        help="images or tiles per batch; default depends on the model's size",
    )


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto (default) uses a GPU if available"
    )


def _typed(text: str) -> str:
    return typed(nonempty(text))


def _path(text: str) -> Path:
    return Path(_typed(text))


def _count(least: int, most: int = 2**31 - 1) -> Any:
    expected = f"from {least} to {most:,}" if most < 2**31 - 1 else f"of at least {least}"

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected an integer {expected}, got {text!r}")
        return int(text)

    return number


def _sigma(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 1], got {text!r}")
    return value

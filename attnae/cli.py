"""The command ``attnae``: Lightning's command line for all tasks and DataModules, and inference with trained models."""

from __future__ import annotations

import argparse
import gc
import re
import sys
from itertools import pairwise
from pathlib import Path

from attnae.errors import UserError
from attnae.files import read_yaml, shipped
from attnae.inference import commands
from attnae.paths import typed
from attnae.streams import discard_output, run, why
from attnae.trust import trust

USAGE = """\
usage: attnae {fit,validate,test,predict} -c CONFIG [-c CONFIG ...] [--KEY VALUE ...] [--trust FOLDER]
       attnae {apply,encode,decode,sample,export} MODEL ... [--trust FOLDER]
       attnae models

Train and evaluate a model. Later files and keys override earlier ones.

  attnae-bench config saaae_vs_vae --variant vae > vae.yaml
  attnae fit -c vae.yaml --trainer.default_root_dir runs/my-vae
  attnae fit -c configs/saaae.yaml --trainer.max_epochs 4 --trainer.default_root_dir runs/my-saaae
  attnae test -c runs/my-vae/config.yaml --weights runs/my-vae/weights.safetensors

Use a trained model. MODEL is a run folder, a folder written by attnae export, or a name listed by attnae models.

  attnae models                         list shipped models with their metrics
  attnae apply MODEL photos/ -o OUT     denoise, inpaint or reconstruct images of any size
  attnae encode MODEL photos/ -o OUT    compress images to code indices (VQ-VAE); decode restores them
  attnae sample MODEL -o sampled.png    sample images from the prior (VAE)
  attnae export RUN DIR                 export a model for attnae.load("DIR")

A network of your own (attnae-bench new) is code in a folder; name that folder with --trust to use it.

  attnae apply --help       all options; likewise encode, decode, sample, export
  attnae fit --help         all keys of fit
  attnae --print-completion bash
  attnae-bench run ...      compare variants and write a report; see attnae-bench --help
"""


def main() -> int:
    """Runs ``sys.argv`` and returns the exit code. Errors the user can fix are printed in one line without a traceback."""
    args = sys.argv[1:]
    try:
        if not args or args[0] in ("-h", "--help", "--version"):
            from attnae._version import __version__

            print(
                f"attnae {__version__}" if args == ["--version"] else USAGE, end="\n" if args == ["--version"] else ""
            )
            return 0
        sys.argv[1:] = args = [_shipped_config(_at_home(arg)) for arg in args]
        if args[0] == "--print-completion":
            print(_completion(args[-1]))
            return 0
        if args[0] in commands.NAMES:
            return commands.run(args)
        _check_configs(args)
        for folder in _values(args, "--trust"):
            trust(folder)
        _train_or_evaluate()
    except UserError as error:
        print(f"attnae: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # | head
        discard_output()
        return 1
    except OSError as error:  # a path that is too long, or in a folder that may not be entered
        print(f"attnae: error: {why(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns Ctrl-C during training into exit code 1 and reports it in a log that is off by default.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        kept = (
            "finished outputs were" if args[0] in commands.NAMES else "the checkpoint of the last completed epoch was"
        )
        print(f"attnae: interrupted; {kept} kept", file=sys.stderr)
        return 130
    return 0


def _train_or_evaluate() -> None:
    """Lightning's command line. Its import takes seconds: a fifth less if Python does not look for garbage meanwhile."""
    collects = gc.isenabled()
    gc.disable()
    try:
        from attnae.training.cli import run_cli
    finally:
        if collects:
            gc.enable()
    run_cli()


def _at_home(arg: str) -> str:
    """Expands ``~`` in ``--key=~/folder``, which the shell does not."""
    key, sign, value = arg.partition("=")
    return f"{key}={typed(value)}" if sign and key.startswith("-") and re.match("~[^/]*(/|$)", value) else arg


def _shipped_config(arg: str) -> str:
    """Resolves ``configs/...`` to the file included in the package, in any working directory."""
    if arg.startswith("configs/") and not Path(arg).exists() and shipped(arg).exists():
        return str(shipped(arg))
    return arg


def _completion(shell: str) -> str:
    """Completion script for the commands, files and keys of the benchmarks' classes.

    Generating it from the full parser, with thousands of keys, would take minutes.
    """
    import shtab

    from attnae.bench.keys.completion import keys

    parser = argparse.ArgumentParser(prog="attnae")
    subparsers = parser.add_subparsers()
    commands.add_commands(subparsers)
    for name in ("fit", "validate", "test", "predict"):
        command = subparsers.add_parser(name, help=name)  # shtab skips entries without help
        for option in (("-c", "--config"), ("--weights",), ("--ckpt_path",)):
            command.add_argument(*option, help="file").complete = shtab.FILE  # type: ignore[attr-defined]
        for key in ["seed_everything", "trainer.default_root_dir", "trainer.devices", "trainer.precision", *keys()]:
            command.add_argument(f"--{key}", help=key)
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"--print-completion {shell}: unknown shell. Available: {', '.join(shtab.SUPPORTED_SHELLS)}.")
    return shtab.complete(parser, shell)


def _check_configs(args: list[str]) -> None:
    """Checks the configuration files before Lightning is imported. The parser would not name the invalid file."""
    for file in map(Path, _values(args, "-c", "--config")):
        if not file.is_file():
            raise UserError(f"The configuration file {file} does not exist.")
        read_yaml(file)


def _values(args: list[str], *flags: str) -> list[str]:
    """Values of an option, as ``--option value`` or ``--option=value``."""
    apart = [value for flag, value in pairwise(args) if flag in flags]
    return apart + [arg.split("=", 1)[1] for arg in args if arg.startswith(tuple(f"{flag}=" for flag in flags))]


def console() -> None:
    """Console script entry point."""
    run("attnae", main)


if __name__ == "__main__":  # Lightning starts additional processes this way, with this file's folder first in sys.path
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    console()

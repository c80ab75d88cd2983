"""Entry point of ``attnae``: LightningCLI for tasks and DataModules, and commands that use trained models."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from attnae.errors import UserError
from attnae.files import read_yaml, shipped
from attnae.inference import commands

USAGE = """\
usage: attnae {fit,validate,test,predict} -c CONFIG [-c CONFIG ...] [--KEY VALUE ...]
       attnae {apply,encode,decode,sample,export} MODEL ...
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

  attnae apply --help       options of apply; likewise encode, decode, sample, export
  attnae fit --help         all keys of fit
  attnae --print-completion bash
  attnae-bench run ...      compare variants and write a report; see attnae-bench --help
"""


def main() -> int:
    """Runs the command line in ``sys.argv``; returns the exit code. User errors print one line without a traceback."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help", "--version"):
        from attnae._version import __version__

        print(f"attnae {__version__}" if args == ["--version"] else USAGE, end="\n" if args == ["--version"] else "")
        return 0
    sys.argv[1:] = args = [_shipped_config(arg) for arg in args]
    try:
        if args[0] == "--print-completion":
            print(_completion(args[-1]))
            return 0
        if args[0] in commands.NAMES:
            return commands.run(args)
        _check_configs(args)
        from attnae.training.cli import run_cli  # Lightning takes seconds to import

        run_cli()
    except UserError as error:
        print(f"attnae: error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns Ctrl-C during training into exit code 1 and only logs a message that is hidden by default.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        kept = "finished files were" if args[0] in commands.NAMES else "the checkpoint of the last finished epoch was"
        print(f"attnae: interrupted; {kept} kept", file=sys.stderr)
        return 130
    return 0


def _shipped_config(arg: str) -> str:
    """Resolves ``configs/...`` to the file shipped with the package, unless the file exists locally."""
    if arg.startswith("configs/") and not Path(arg).exists() and shipped(arg).exists():
        return str(shipped(arg))
    return arg


def _completion(shell: str) -> str:
    """The completion script for commands, files and the keys of benchmark classes.

    The parser of ``attnae fit`` is not used: it has thousands of keys and would take minutes.
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
        raise UserError(f"--print-completion {shell}: choose from {', '.join(shtab.SUPPORTED_SHELLS)}.")
    return shtab.complete(parser, shell)


def _check_configs(args: list[str]) -> None:
    """Checks that the config files exist and are valid YAML before Lightning is imported.

    Unlike the parser, the error message includes the file name.
    """
    files = [value for flag, value in pairwise(args) if flag in ("-c", "--config")]
    files += [arg.split("=", 1)[1] for arg in args if arg.startswith(("-c=", "--config="))]
    for file in map(Path, files):
        if not file.is_file():
            raise UserError(f"The configuration file {file} does not exist.")
        read_yaml(file)


def console() -> None:
    """Console script entry point."""
    sys.exit(main())


if __name__ == "__main__":  # Lightning starts DDP processes this way, with the folder of this file first in sys.path
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    console()

"""The command ``attnae``: Lightning's command line over any task and DataModule of the suite."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from attnae.errors import UserError
from attnae.files import read_yaml, shipped

USAGE = """\
usage: attnae {fit,validate,test,predict} -c CONFIG [-c CONFIG ...] [--KEY VALUE ...]

Trains and evaluates one variant of one paper. Later files and keys override earlier ones.

  attnae fit -c configs/saaae_vs_vae/vae.yaml -c configs/saaae_vs_vae/profiles/quick.yaml \\
             --trainer.default_root_dir runs/my-vae
  attnae test -c runs/my-vae/config.yaml --weights runs/my-vae/weights.safetensors

  attnae fit --help         all keys
  attnae-bench run ...      compares variants and writes a report; see attnae-bench --help
"""


def main() -> int:
    """Runs ``sys.argv``; returns the exit code. Errors that a user can mend are one line without a traceback."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help", "--version"):
        from attnae import __version__

        print(f"attnae {__version__}" if args == ["--version"] else USAGE, end="\n" if args == ["--version"] else "")
        return 0
    sys.argv[1:] = args = [_shipped_config(arg) for arg in args]
    try:
        _check_configs(args)
        from attnae.core.cli import run_cli  # Lightning takes seconds to import

        run_cli()
    except UserError as error:
        print(f"attnae: error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns Ctrl-C during training into an exit with code 1 and says so in a log that is off by default.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        print("attnae: interrupted; the checkpoint of the last finished epoch is kept", file=sys.stderr)
        return 130
    return 0


def _shipped_config(arg: str) -> str:
    """``configs/...`` means the file of that name that travels with the package, wherever the command is typed."""
    if arg.startswith("configs/") and not Path(arg).exists() and shipped(arg).exists():
        return str(shipped(arg))
    return arg


def _check_configs(args: list[str]) -> None:
    """Names the file that is no YAML, which the parser would not, and before Lightning is imported."""
    files = [value for flag, value in pairwise(args) if flag in ("-c", "--config")]
    files += [arg.split("=", 1)[1] for arg in args if arg.startswith(("-c=", "--config="))]
    for file in map(Path, files):
        if not file.is_file():
            raise UserError(f"There is no configuration file {file}.")
        read_yaml(file)


def console() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()

"""``attnae-bench merge DIR... -o OUT``: copies results of several people into one folder without executing anything."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.markup import escape

from attnae import result
from attnae.bench import catalog, sharing, store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.identity import RunId, short_hash
from attnae.bench.markdown import count
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.files import atomic
from attnae.paths import shown
from attnae.result import Record, Result

FILES = ("config.yaml", "log.txt", "metrics.csv", "per_image.npz", "weights.safetensors")
"""Files copied from a run, in addition to pictures; ``result.json`` is copied last."""

MOST_HEADER = 100_000_000
"""Maximum size of a safetensors header in bytes, the limit of the safetensors library."""


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("merge", help="copy results from several folders into one and list those left out")
    parser.add_argument("folders", type=path, nargs="+", metavar="DIR", help="folders with runs or reports")
    parser.add_argument("-o", "--out", type=path, required=True, metavar="OUT", help="destination folder")
    parser.set_defaults(handler=merge)


def merge(options: argparse.Namespace) -> int:
    """Copies results; returns 1 if any result was left out, or a folder has none."""
    out = console()
    left_out: list[str] = []
    copied = 0
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {shown(folder)}.")
        found, problems = store.scan(folder)
        left_out += problems
        if not found and not problems:
            left_out.append(f"{shown(folder)}: there are no results below it")
        for record in found:
            if problem := unsound(*record):
                left_out.append(f"{shown(record[0])}, {record[1].variant}/seed{record[1].seed}: {problem}")
            else:
                try:
                    said = _copy(record, options.out)
                except Timeout:
                    run = f"{record[1].variant}/seed{record[1].seed}"
                    left_out.append(f"{shown(record[0])}, {run}: this run is being trained in {shown(options.out)}")
                    continue
                copied += said != ALREADY
                if said:
                    out.print(said, soft_wrap=True, markup=False, highlight=False)
    out.print(f"Copied {count(copied, 'result')} to {escape(shown(options.out))}.", soft_wrap=True)
    for problem in left_out:
        out.print(f"[yellow]Left out[/]: {escape(problem)}", soft_wrap=True, highlight=False)
    merged = sharing.tables(store.scan(options.out)[0])
    for name in {table.benchmark for table in merged} & {*catalog.names()}:
        catalog.keep(catalog.load(name), options.out)
    for table in merged:
        for label, why in table.beside.items():
            if label > table.label:  # each pair once
                continue
            out.print(
                f"{table.benchmark}: {escape(table.label)} is separate from {escape(label)}: {escape(why)}",
                soft_wrap=True,
                highlight=False,
            )
    if merged:
        out.print(f"Next: attnae-bench report {escape(shown(options.out))}", soft_wrap=True)
    return 1 if left_out else 0


def unsound(folder: Path, one: Result) -> str:
    """Explains why a result cannot be merged; empty if it can."""
    if one.benchmark not in catalog.names():
        return f"unknown benchmark {one.benchmark!r}"
    if not one.label or not one.variant:
        return "variant or label is missing"
    if one.variant not in catalog.load(one.benchmark).variants:
        return f"unknown variant {one.variant!r} of {one.benchmark}"
    weights = folder / "weights.safetensors"
    return damage(weights) if weights.is_file() and not weights.is_symlink() else ""


def damage(weights: Path) -> str:
    """Checks weights against the digest in their header; returns the problem, or an empty string.

    Files without a digest are accepted.
    """
    try:
        with weights.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > MOST_HEADER:
                raise ValueError("the header is too long")
            header = json.loads(stream.read(length))
            expected = header.pop("__metadata__", {}).get("blake2b")
            digest = hashlib.blake2b(digest_size=16)
            for name, tensor in sorted(header.items()):
                first, last = tensor["data_offsets"]
                if not 0 <= first <= last <= weights.stat().st_size:
                    raise ValueError("the file is truncated")
                shape = tuple(tensor["shape"])
                digest.update(f"{name} {TYPES[tensor['dtype']]} {shape}\n".encode())
                stream.seek(8 + length + first)
                data = stream.read(last - first)
                if len(data) != last - first:
                    raise ValueError("the file is truncated")
                digest.update(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return f"cannot read the weights: {error}"
    return "the weights are corrupted: the digest does not match" if expected not in (None, digest.hexdigest()) else ""


TYPES = {
    "F64": "torch.float64",
    "F32": "torch.float32",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "I64": "torch.int64",
    "I32": "torch.int32",
    "I16": "torch.int16",
    "I8": "torch.int8",
    "U8": "torch.uint8",
    "BOOL": "torch.bool",
}
"""Maps safetensors types to the names used in the digest of ``attnae.training.weights``."""

ALREADY = ""


def _copy(record: Record, out: Path) -> str:
    """Copies a result and the files of its run; returns a message, empty if the result was copied before."""
    folder, one = record
    target = out / one.benchmark / one.label / one.variant / RunId.of(one).folder
    there = [result.read_result(file) for file in _results(target)]
    if one in there:
        return ALREADY
    said = f"{one.variant}/seed{one.seed} from {shown(folder)}: copied"
    if (target / "result.json").exists():
        first = max(there, key=sharing.rank, default=None)
        aside = target.with_name(f"{target.name}-{short_hash(vars(one), 6)}")
        if first is None or sharing.rank(first) < sharing.rank(one):
            former = target.with_name(f"{target.name}-{short_hash((target / 'result.json').read_text('utf-8'), 6)}")
            target.replace(former)
            said += "; it replaces an earlier or failed result of the same run, which was moved to " + shown(former)
        else:
            target = aside
            said += f" to {shown(aside)}; a later or complete result of the same run takes precedence"
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / ".lock", timeout=0):
        for name, source in _files(folder, one):
            with atomic(target / name) as temporary:
                shutil.copyfile(source, temporary)
        result.write(one, target / "result.json")
    return said


def _results(target: Path) -> Iterator[Path]:
    """Readable results of a run that were copied before, including superseded ones."""
    for file in sorted(target.parent.glob(f"{target.name}*/result.json")):
        try:
            result.read_result(file)
        except UserError:
            continue
        yield file


def _files(folder: Path, one: Result) -> Iterator[tuple[str, Path]]:
    """Names and files of a run to copy: only regular files inside its folder, no links."""
    if (folder / "result.json").is_file():
        names = {name: name for name in (*FILES, *one.images)}
    else:  # the runs/ folder of a report holds results of many runs
        from attnae.bench.reporting.images import per_image_name  # numpy is slow to import

        names = {"per_image.npz": per_image_name(one.variant, one.seed)}
    root = Path(os.path.realpath(folder))
    for name, file in names.items():
        source = folder / file
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            inside = not Path(file).is_absolute() and Path(os.path.realpath(source)) == root / file
            if inside and source.is_file():
                yield name, source

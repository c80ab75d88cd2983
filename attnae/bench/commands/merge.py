"""``attnae-bench merge DIR... -o OUT``: results of several people in one folder; nothing of theirs is executed."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape

from attnae import result
from attnae.bench import catalog, sharing, store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.request import shown
from attnae.bench.run import RunId, short_hash
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.files import atomic
from attnae.result import Record, Result

FILES = ("config.yaml", "log.txt", "metrics.csv", "per_image.npz", "weights.safetensors")
"""What is copied of a run beside its pictures and its result, which comes last."""

MOST_HEADER = 100_000_000
"""Bytes of a safetensors header, as the format's own library limits it."""


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("merge", help="copy results of several folders into one; says what is left out")
    parser.add_argument("folders", type=path, nargs="+", metavar="DIR", help="folders of runs or reports")
    parser.add_argument("-o", "--out", type=path, required=True, metavar="OUT", help="folder of runs to copy them into")
    parser.set_defaults(handler=merge)


def merge(options: argparse.Namespace) -> int:
    """Copies results; 1 if something was left out."""
    out = console()
    left_out: list[str] = []
    copied = 0
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {shown(folder)}.")
        found, problems = store.scan(folder)
        left_out += problems
        for record in found:
            if problem := unsound(*record):
                left_out.append(f"{shown(record[0])}, {record[1].variant}/seed{record[1].seed}: {problem}")
            else:
                said = _copy(record, options.out)
                copied += said != ALREADY
                if said:
                    out.print(said, soft_wrap=True, markup=False, highlight=False)
    out.print(f"Copied {copied} results to {escape(shown(options.out))}.", soft_wrap=True)
    for problem in left_out:
        out.print(f"[yellow]Left out[/]: {escape(problem)}", soft_wrap=True, highlight=False)
    merged = sharing.tables(store.scan(options.out)[0])
    for table in merged:
        for label, why in table.beside.items():
            if label > table.label:  # each pair once
                continue
            out.print(
                f"{table.benchmark}: {escape(table.label)} stands apart from {escape(label)}: {escape(why)}",
                soft_wrap=True,
                highlight=False,
            )
    if merged:
        out.print(f"Next: attnae-bench report {escape(shown(options.out))}", soft_wrap=True)
    return 1 if left_out else 0


def unsound(folder: Path, one: Result) -> str:
    """Why a result cannot be taken; empty if it can."""
    if one.benchmark not in catalog.names():
        return f"there is no benchmark {one.benchmark!r} here"
    if not one.label or not one.variant:
        return "it does not say which variant or label it is of"
    if one.variant not in catalog.load(one.benchmark).variants:
        return f"{one.benchmark} has no variant {one.variant!r} here"
    weights = folder / "weights.safetensors"
    return damage(weights) if weights.is_file() and not weights.is_symlink() else ""


def damage(weights: Path) -> str:
    """What is wrong with a file of weights, by the digest in its header; empty if nothing is, or if it has none."""
    try:
        with weights.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > MOST_HEADER:
                raise ValueError("its header is too long")
            header = json.loads(stream.read(length))
            expected = header.pop("__metadata__", {}).get("blake2b")
            digest = hashlib.blake2b(digest_size=16)
            for name, tensor in sorted(header.items()):
                first, last = tensor["data_offsets"]
                shape = tuple(tensor["shape"])
                digest.update(f"{name} {TYPES[tensor['dtype']]} {shape}\n".encode())
                stream.seek(8 + length + first)
                data = stream.read(last - first)
                if len(data) != last - first:
                    raise ValueError("it was cut short")
                digest.update(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return f"cannot read its weights: {error}"
    return "its weights are damaged: their digest differs" if expected not in (None, digest.hexdigest()) else ""


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
"""Types of safetensors as the digest in ``attnae.training.weights`` names them."""

ALREADY = ""


def _copy(record: Record, out: Path) -> str:
    """Copies a result with its run's files; returns a line if it met another result of the same run."""
    folder, one = record
    target = out / one.benchmark / one.label / one.variant / RunId.of(one).folder
    there = [result.read_result(file) for file in _results(target)]
    if one in there:
        return ALREADY
    said = f"{one.variant}/seed{one.seed} from {shown(folder)}: copied"
    if (target / "result.json").exists():
        newest = max(there, key=lambda other: other.finished_at, default=None)
        aside = target.with_name(f"{target.name}-{short_hash(vars(one), 6)}")
        if newest is None or newest.finished_at < one.finished_at:
            former = target.with_name(f"{target.name}-{short_hash((target / 'result.json').read_text('utf-8'), 6)}")
            target.replace(former)
            said += "; it finished later than another result of the same run, which was kept in " + shown(former)
        else:
            target = aside
            said += f" to {shown(aside)}; another result of the same run finished later and counts"
    target.mkdir(parents=True, exist_ok=True)
    for source in _files(folder, one):
        destination = target / source.relative_to(folder)
        with atomic(destination) as temporary:
            shutil.copyfile(source, temporary)
    result.write(one, target / "result.json")
    return said


def _results(target: Path) -> Iterator[Path]:
    """Readable results of a run that were copied earlier, superseded ones included."""
    for file in sorted(target.parent.glob(f"{target.name}*/result.json")):
        try:
            result.read_result(file)
        except UserError:
            continue
        yield file


def _files(folder: Path, one: Result) -> Iterator[Path]:
    """Files of a run that are copied: regular ones below its folder, no links."""
    if not (folder / "result.json").is_file():  # a report's runs/ holds results of many runs
        return
    root = Path(os.path.realpath(folder))
    for name in (*FILES, *one.images):
        source = folder / name
        inside = Path(os.path.realpath(source)) == root / name
        if inside and source.is_file():
            yield source

"""Files and arguments that are damaged, made up or meant to harm."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Done, Tally, fault, fit_arguments, here, refused, scratch
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from attnae import result

HOSTILE = [
    "a|b | c", "<script>alert(1)</script>", "line\nbreak\n\n# heading", "[/red][bold]x", "```\nfence", "\x1b[31mred\x07",
    "../../outside", "/absolute", "-option", "$(touch executed)", "`touch executed`", "\u202eright to left", "nul", "é" * 50,
    "![x](http://example.org/x.png)", "&lt;", "%s%n{0}", "' OR 1=1 --", "\ufeffmark", "x" * 200,
]  # fmt: skip
"""Names that mean something to a shell, Markdown, HTML, a terminal, a path or rich's markup."""

SEED = 20


def subject(folder: Path) -> Path:
    """A working folder that holds a finished training with its checkpoint in ``run``. Not to be changed."""
    cwd = folder / "subject"
    if not cwd.exists():
        cwd.mkdir(parents=True)
        done = here("attnae", *fit_arguments(Path("run"), epochs=2), cwd=cwd)
        assert done.code == 0, done.text
        done = here("attnae", "test", "-c", "run/config.yaml", "--weights", "run/weights.safetensors", cwd=cwd)
        assert done.code == 0, done.text
    return cwd


def damages(content: bytes, times: int) -> Iterator[tuple[str, bytes]]:
    """The same bytes cut short or with one bit turned, at random places, by name."""
    chance = random.Random(SEED)
    for number in range(times):
        place = chance.randrange(len(content))
        if number % 3 == 0:
            yield f"cut at {place}", content[:place]
        else:
            changed = bytearray(content)
            changed[place] ^= 1 << chance.randrange(8)
            yield f"a bit turned at {place}", bytes(changed)


class Executes:
    """An object whose unpickling runs a command."""

    def __init__(self, cwd: Path):
        self.command = f"touch {cwd / 'executed'}"

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def not_executed(cwd: Path) -> None:
    assert not (cwd / "executed").exists(), "code was executed"
    assert not list(cwd.parent.glob("outside*")), "written outside"


# -- checkpoints and weights ---------------------------------------------------------------------------------------


@fault(
    "Untrusted input",
    "Checkpoints cut short or with one bit turned",
    "Refused in one line that names the file, or, where the bit means nothing, resumed to the very same weights",
    short=3,
    long=24,
)
def damaged_checkpoints(tally: Tally, times: int, folder: Path) -> None:
    cwd = subject(folder)
    content = (cwd / "run/checkpoints/last.ckpt").read_bytes()
    for name, damaged in damages(content, times):
        with tally.attempt(name):
            here_ = scratch(folder)
            (here_ / "damaged.ckpt").write_bytes(damaged)
            done = here("attnae", *fit_arguments(Path("run"), epochs=2), "--ckpt_path=damaged.ckpt", cwd=here_)
            if done.code == 0:
                same = (here_ / "run/weights.safetensors").read_bytes() == (
                    cwd / "run/weights.safetensors"
                ).read_bytes()
                assert same, "resumed with other weights"
            else:
                refused(done, "damaged.ckpt")


def malicious_checkpoint(kind: str, path: Path, honest: dict[str, Any]) -> None:
    """A checkpoint that would execute something, or write somewhere, were it believed."""
    trap = Executes(path.parent)
    if kind == "a bare pickle":
        path.write_bytes(pickle.dumps(trap))
    elif kind == "in the state dict":
        torch.save(honest | {"state_dict": {"x": trap}}, path)
    elif kind == "in the hyper-parameters":
        torch.save(honest | {"hyper_parameters": trap}, path)
    elif kind == "an _instantiator":
        told = {"_instantiator": "os.system", "command": trap.command, "_class_path": "os.system"}
        torch.save(honest | {"hyper_parameters": told, "hparams_name": "kwargs"}, path)
    elif kind == "in a callback's state":
        torch.save(honest | {"callbacks": {"x": trap}}, path)
    elif kind == "members with ../":
        torch.save(honest, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../outside", b"")
            archive.writestr("/tmp/outside-attnae", b"")
    else:
        torch.save(honest | {"pytorch-lightning_version": "99.0.0"}, path)


MALICIOUS = [
    "in the state dict", "an _instantiator", "a bare pickle", "in the hyper-parameters", "in a callback's state",
    "members with ../", "of version 99",
]  # fmt: skip


@fault(
    "Untrusted input",
    "Checkpoints with pickles that would execute, an `_instantiator` in the hyper-parameters, members with ../, another "
    "version",
    "Nothing is executed, nothing written elsewhere; pickles are refused in one line, names of classes are ignored",
    short=2,
    long=len(MALICIOUS),
)
def malicious_checkpoints(tally: Tally, times: int, folder: Path) -> None:
    honest = torch.load(subject(folder) / "run/checkpoints/last.ckpt", weights_only=True)
    for kind in MALICIOUS[:times]:
        with tally.attempt(kind):
            cwd = scratch(folder)
            malicious_checkpoint(kind, cwd / "evil.ckpt", honest)
            done = here("attnae", *fit_arguments(Path("run"), epochs=3), "--ckpt_path=evil.ckpt", cwd=cwd)
            not_executed(cwd)
            assert not Path("/tmp/outside-attnae").exists()
            if kind in ("an _instantiator", "members with ../", "of version 99"):
                assert done.code == 0 or done.err.count("\n") == 1, done.text
            else:
                refused(done, "evil.ckpt")


@fault(
    "Untrusted input",
    "Weights cut short, with one bit turned, or that are a pickle",
    "Refused in one line that names the file; the digest in the file notices every bit of every weight",
    short=4,
    long=24,
)
def damaged_weights(tally: Tally, times: int, folder: Path) -> None:
    cwd = subject(folder)
    content = (cwd / "run/weights.safetensors").read_bytes()
    evil = scratch(folder)
    tried = [*damages(content, times - 1), ("a pickle", pickle.dumps(Executes(evil)))]
    for name, damaged in tried:
        with tally.attempt(name):
            (evil / "damaged.safetensors").write_bytes(damaged)
            run = ("--trainer.default_root_dir", evil / "run")
            test = ("test", "-c", cwd / "run/config.yaml", "--weights", evil / "damaged.safetensors", *run)
            refused(here("attnae", *test, cwd=evil), "damaged.safetensors")
            not_executed(evil)


@fault(
    "Untrusted input",
    "Image caches cut short, with one bit turned, replaced by a pickle, or described wrongly",
    "Decoded anew: the numbers are those of the undamaged cache",
    short=2,
    long=12,
)
def damaged_caches(tally: Tally, times: int, folder: Path) -> None:
    cwd = shutil.copytree(subject(folder), scratch(folder) / "copy")
    arguments = ("test", "-c", "run/config.yaml", "--weights", "run/weights.safetensors")
    honest = json.loads((cwd / "run/test.json").read_text(encoding="utf-8"))["metrics"]
    chance = random.Random(SEED)
    for number in range(times):
        with tally.attempt(f"cache {number}"):
            path = chance.choice(sorted(cwd.glob("cache/*.npy") if number % 4 != 3 else cwd.glob("cache/*.json")))
            if number % 4 == 2:
                np.save(path, np.array([Executes(cwd)], dtype=object), allow_pickle=True)
            else:
                ((_, damaged),) = [d for i, d in enumerate(enumerate_damages(path, number)) if i == 0]
                path.write_bytes(damaged)
            done = here("attnae", *arguments, cwd=cwd)
            assert done.code == 0, done.text
            assert json.loads((cwd / "run/test.json").read_text(encoding="utf-8"))["metrics"] == honest
            not_executed(cwd)


def enumerate_damages(path: Path, number: int) -> Iterator[tuple[str, bytes]]:
    """Another damage for each number."""
    content = path.read_bytes()
    chance = random.Random(number)
    place = chance.randrange(len(content))
    changed = bytearray(content)
    changed[place] ^= 1 << chance.randrange(8)
    yield (f"cut at {place}", content[:place]) if number % 2 else (f"a bit turned at {place}", bytes(changed))


# -- configurations ------------------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 30)
)

CONFIGS = {
    "python/object": "model: !!python/object/apply:os.system ['touch executed']\n",
    "python/name": "seed_everything: !!python/name:os.system\n",
    "python/module": "trainer: !!python/module:antigravity\n",
    "own tag": "model: !run 'touch executed'\n",
    "aliases without end": BOMB,
    "aliases in a key": BOMB + "model: *a29\n",
    "itself": "model: &m\n  init_args: *m\n",
    "no mapping": "- 1\n- 2\n",
    "a number": "7\n",
    "nothing": "",
    "tabs": "model:\n\tinit_args: 1\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "deep": "[" * 5000 + "]" * 5000,
    "a class of the system": "model:\n  class_path: os.system\n  init_args:\n    command: touch executed\n",
    "a class of subprocess": "model:\n  class_path: subprocess.Popen\n  init_args:\n    args: [touch, executed]\n",
    "a net of the system": "model:\n  init_args:\n    net:\n      class_path: subprocess.Popen\n      init_args:\n        args: "
    "[touch, executed]\n",
    "a callback of the system": "trainer:\n  callbacks:\n    - class_path: subprocess.Popen\n      init_args:\n        args: "
    "[touch, executed]\n",
}


@fault(
    "Untrusted input",
    "YAML with tags that construct objects, aliases that multiply without end, classes of the system where networks and "
    "callbacks go, endless brackets, two documents",
    "Refused in one line; nothing is executed, nothing hangs",
    short=4,
    long=len(CONFIGS),
)
def malicious_configs(tally: Tally, times: int, folder: Path) -> None:
    for name, text in list(CONFIGS.items())[:: len(CONFIGS) // times][:times]:
        with tally.attempt(name):
            cwd = scratch(folder)
            (cwd / "evil.yaml").write_text(text, encoding="utf-8")
            done = here("attnae", *fit_arguments(Path("run")), "-c", "evil.yaml", cwd=cwd)
            not_executed(cwd)
            refused(done)


# -- names and results ---------------------------------------------------------------------------------------------


def sound(page: str) -> None:
    """A page whose tables hold, without HTML and without a line that nobody wrote."""
    assert "<script" not in page
    assert "\x1b" not in page
    width = 0
    fence = ""
    for line in page.splitlines():
        if (mark := re.match(r"(`{3,})", line)) and (not fence or line == fence):
            fence = "" if fence else mark[1]
        if fence:
            continue
        assert not line.startswith("# heading")
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert width in (0, cells), f"a table is broken: {line}"
            width = cells
        else:
            width = 0
    assert not fence, "a fence is open"


@fault(
    "Untrusted input",
    "Folders of images with names that mean something to a shell, Markdown, HTML, a terminal or a path",
    "Planned like any other; labels hold letters, digits and -_.=+ alone",
    short=4,
    long=len(HOSTILE),
)
def hostile_names(tally: Tally, times: int, folder: Path) -> None:
    for name in HOSTILE[:times]:
        with tally.attempt(repr(name)[:40]):
            cwd = scratch(folder)
            root = cwd / "data" / name.replace("/", "_")
            for split in ("train", "test"):
                (root / split).mkdir(parents=True)
                for number in range(2):
                    Image.new("RGB", (16, 16)).save(root / split / f"{number}.png")
            command = ("run", "saaae_vs_vae", "--variants", "vae", "--data-root", root, "--dry-run")
            done = here("attnae-bench", *command, cwd=cwd)
            assert done.code == 0, done.text
            label = done.out.splitlines()[0].split("runs/saaae_vs_vae/")[1].split("/")[0]
            assert re.fullmatch(r"[\w.=+-]+", label)
            not_executed(cwd)


HONEST = result.Result(
    benchmark="saaae_vs_vae",
    label="made-up",
    profile="short",
    variant="vae",
    seed=1,
    metrics={"heldout/sse": 600.0, "heldout/psnr_mean": 13.0, "heldout/images": 16.0},
    efficiency={"params_trainable": 8666755.0, "seconds_per_epoch": 3.0},
    curves={"epoch": [1.0, 2.0], "seconds": [1.0, 2.0], "train/loss": [5.5, 5.0]},
    data={
        "kind": "folder",
        "title": "pets",
        "train": 20,
        "test": 16,
        "size": 64,
        "digest": "ab-cd",
        "converted": {"gray": 1},
    },
    selection="last epoch",
    versions={"torch": "2"},
    hardware={"device": "CPU"},
    commands=["attnae fit", "attnae test"],
    git={"commit": "abc", "dirty": False},
)

values = (
    st.sampled_from(HOSTILE)
    | st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([1e308, -1e308, 1e-320, -0.0])
    | st.lists(st.sampled_from(HOSTILE), max_size=3)
    | st.dictionaries(st.sampled_from(HOSTILE), st.sampled_from([*HOSTILE, 1, None]), max_size=3)
)


@st.composite
def made_up_results(draw: st.DrawFn) -> dict[str, Any]:
    """An honest result with one to three values, on any level, replaced by others."""
    raw = asdict(HONEST)
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(raw)))
        inner = raw[key]
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            inner[draw(st.sampled_from([*sorted(inner), *HOSTILE]))] = draw(values)
        else:
            raw[key] = draw(values)
    return raw


def generated(times: int) -> Callable[[Any], Any]:
    """So many examples, the same every time; a failure is counted, not made smaller."""
    return hypothesis_settings(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def orderly(done: Done, *codes: int) -> None:
    """One of these exit codes, and, where it tells of an error, one line that does."""
    assert done.code in codes, f"code {done.code}: {done.text[-300:]}"
    if done.code == 2:
        refused(done)


@fault(
    "Untrusted input",
    "Generated result files with values of other types, hostile texts and paths out of the folder, through `report`, "
    "`report --check`, `status`, `compare` and `clean`",
    "Unreadable ones are left out or named in one line; what is shown cannot break a table, close a fence or become HTML; "
    "nothing is written outside the reports",
    short=15,
    long=60,
)
def made_up(tally: Tally, times: int, folder: Path) -> None:
    @generated(times)
    @given(made_up_results())
    def one(raw: dict[str, Any]) -> None:
        with tally.attempt(json.dumps(raw)[:300]):
            cwd = scratch(folder) / "inside"
            for name, content in (("a", raw), ("b", asdict(HONEST))):
                path = cwd / "runs/saaae_vs_vae/made-up" / name / "seed1-0/result.json"
                path.parent.mkdir(parents=True)
                path.write_text(json.dumps(content), encoding="utf-8")
            there = {path for path in cwd.parent.rglob("*") if "reports" not in path.parts}
            orderly(here("attnae-bench", "report", cwd=cwd), 0, 2)
            orderly(here("attnae-bench", "status", cwd=cwd), 0)
            sides = [f"runs/saaae_vs_vae/made-up/{name}" for name in "ab"]
            orderly(here("attnae-bench", "compare", *sides, cwd=cwd), 0, 1, 2)
            orderly(here("attnae-bench", "clean", cwd=cwd), 0)
            if (cwd / "reports").exists():
                orderly(here("attnae-bench", "report", "--check", cwd=cwd), 0, 2)
                for page in cwd.glob("reports/**/*.md"):
                    sound(page.read_text(encoding="utf-8"))
            assert {path for path in cwd.parent.rglob("*") if "reports" not in path.parts} == there

    one()


# -- arguments -----------------------------------------------------------------------------------------------------

OPTIONS = [
    "--seeds", "--jobs", "--devices", "--nodes", "--timeout", "--variants", "--profile", "--set", "--launcher",
    "--slurm-option", "--label", "--data-root",
]  # fmt: skip
wrong = st.sampled_from(
    [
        *HOSTILE,
        "",
        " ",
        "-1",
        "0",
        "nan",
        "inf",
        "1e999",
        "9" * 400,
        "٣",
        "1,1",
        ",",
        "=",
        "a=b=c",
        "trainer=1",
        "\x00",
        "None",
    ]
)


@fault(
    "Untrusted input",
    "Generated arguments of `attnae-bench run`",
    "Exit code 2 and one line that names the argument, before anything starts",
    short=15,
    long=80,
)
def wrong_arguments(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)

    @generated(times)
    @given(st.lists(st.tuples(st.sampled_from(OPTIONS), wrong), min_size=1, max_size=2))
    def one(chosen: list[tuple[str, str]]) -> None:
        arguments = [f"{option}={value}" for option, value in chosen]
        with tally.attempt(repr(arguments)[:300]):
            done = here("attnae-bench", "run", "saaae_vs_vae", *arguments, "--dry-run", cwd=cwd)
            if done.code:
                refused(done)
                named = [word for option, value in chosen for word in (option.strip("-s"), value[:20].strip())]
                assert any(word in done.err for word in named), done.err
            else:  # what a run alone can judge, such as an unknown key, or a folder that a dry run does not need
                named = {"--set", "--label", "--data-root", "--slurm-option", "--seeds", "--timeout"}
                assert any(option in named for option, _ in chosen), done.out[:200]
            assert not (cwd / "runs").exists()

    one()


KEYS = [
    "model.init_args.lr", "model.init_args.net.init_args.channels", "model.init_args.net.init_args.latent_dim",
    "model.init_args.net.init_args.image_size", "data.init_args.batch_size", "data.init_args.eval_batch_size",
    "data.init_args.train_images", "data.init_args.test_images", "data.init_args.val_images", "data.init_args.image_size",
    "data.init_args.corruption", "data.init_args.source", "data.init_args.root", "trainer.max_epochs", "trainer.precision",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.callbacks", "trainer.gradient_clip_val",
    "seed_everything", "checkpoint.every_n_epochs", "weights", "ckpt_path", "model", "data",
]  # fmt: skip
bad_values = st.sampled_from(
    ["-1", "0", "nan", "-.inf", "[]", "[1, 2]", "{}", "{a: 1}", "many", "''", "null", "true", "3.5", "-5", "nowhere/at/all",
     "os.system", "a|b\nc", "[/x]"]
)  # fmt: skip


@fault(
    "Untrusted input",
    "Generated values for the keys of `attnae fit`",
    "One line that names the key or the value; what happens to be sound trains",
    short=5,
    long=40,
)
def wrong_values(tally: Tally, times: int, folder: Path) -> None:
    accepted = []

    @generated(times)
    @given(st.sampled_from(KEYS), bad_values)
    def one(key: str, value: str) -> None:
        with tally.attempt(f"{key}={value!r}"):
            done = here("attnae", *fit_arguments(Path("run")), f"--{key}={value}", cwd=scratch(folder))
            if done.code == 0:
                accepted.append(f"{key}={value}")
            else:
                refused(done)

    one()
    tally.notes.append(f"{len(accepted)} of {tally.tried} were sound")


IMAGES: list[Callable[[Path, random.Random], None]] = [
    lambda path, chance: path.write_bytes(b""),
    lambda path, chance: path.write_bytes(chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"\x89PNG\r\n\x1a\n" + chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"GIF89a" + chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"\xff\xd8\xff\xe0" + chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"II*\x00" + chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"RIFF\x40\x00\x00\x00WEBPVP8 " + chance.randbytes(300)),
    lambda path, chance: path.write_bytes(b"BM" + chance.randbytes(300)),
    lambda path, chance: Image.new("RGB", (chance.randint(1, 7), 16)).save(path),
    lambda path, chance: path.write_bytes(b"P6 60000 60000 255\n" + chance.randbytes(100)),
    lambda path, chance: path.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    lambda path, chance: path.write_bytes(pickle.dumps(Executes(path.parent))),
]
"""What is no image although it is called one."""


@fault(
    "Untrusted input",
    "Generated folders in which a sixth of the images are none: noise, cut files, bombs, SVG, pickles, one pixel",
    "One line that names the first of them; nothing is executed",
    short=2,
    long=24,
)
def broken_images(tally: Tally, times: int, folder: Path) -> None:
    chance = random.Random(SEED)
    for number in range(times):
        with tally.attempt(f"folder {number}"):
            cwd = scratch(folder)
            for split, count in (("train", 20), ("test", 4)):
                (cwd / "photos" / split).mkdir(parents=True)
                for index in range(count):
                    noise = np.frombuffer(chance.randbytes(16 * 16 * 3), np.uint8).reshape(16, 16, 3)
                    Image.fromarray(noise).save(cwd / "photos" / split / f"{index}.png")
            for index in range(4):
                IMAGES[(number + index) % len(IMAGES)](cwd / "photos/train" / f"broken-{index}.png", chance)
            done = here("attnae", *fit_arguments(Path("run")), "--data.init_args.root=photos", cwd=cwd)
            refused(done, "broken-")
            not_executed(cwd)

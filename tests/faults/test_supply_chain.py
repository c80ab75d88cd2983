"""What the package may load, fetch and execute, read off its code; and the versions that it was tested with."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import attnae
from attnae.bench.commands import doctor

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(attnae.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
CONSTRAINTS = ROOT / "constraints.txt"

FETCHES = {"urllib.request", "http.client", "requests", "socket", "ftplib", "httpx", "aiohttp", "huggingface_hub"}
MAY_FETCH = {
    "data/hub.py": {"huggingface_hub"},  # datasets that the user names as hf://owner/name, as plain files
    "data/official.py": {"urllib.request"},  # with download=true: archives with known checksums
    "online.py": {"urllib.request"},  # with a W&B logger: whether its server answers; sends and keeps nothing
}
"""Modules of the package that use the network, and only on the user's request."""
PAIRED = {f"bench/running/{name}.py": {"socket"} for name in ("forkserver", "processes")}
"""Modules that talk to their own child process through an unnamed pair of sockets, which nothing else can reach."""
MAY_DOWNLOAD = {"data/content.py": {"True"}}  # locates files again that the user's download=true asked for
CONNECTS = (".connect", ".connect_ex", ".bind", ".listen", ".accept", ".create_connection", ".create_server")
EXECUTES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
            "marshal.loads", "marshal.load", "shelve.open", "joblib.load", "dill.load", "dill.loads", "torch.hub.load",
            "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"}  # fmt: skip


def calls(source: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the dotted name of what is called, as far as it has one."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str, str]:
    return {word.arg or "**": ast.unparse(word.value) for word in call.keywords}


def modules(source: Path) -> set[str]:
    """What a file imports, with every package above it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return found


def bases(source: Path, name: str) -> str:
    """The bases of a class that a file defines; the name itself for other classes."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return " ".join(map(ast.unparse, node.bases))
    return name


def inside(source: Path) -> str:
    return source.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("source", SOURCES, ids=inside)
def test_no_unrequested_execution_or_download(source: Path) -> None:
    paired = PAIRED.get(inside(source), set())
    assert modules(source) & FETCHES == MAY_FETCH.get(inside(source), paired)
    downloads = set()
    for name, call in calls(source):
        given = keywords(call)
        assert name not in EXECUTES, f"{name} in line {call.lineno}"
        assert not paired or not name.endswith(CONNECTS), f"{name} in line {call.lineno}"
        assert given.get("shell") != "True", f"a shell in line {call.lineno}"
        assert given.get("allow_pickle") != "True", f"pickles in line {call.lineno}"
        if name == "torch.load":
            assert given.get("weights_only") == "True", f"line {call.lineno}"
        if name == "yaml.load":
            assert "SafeLoader" in bases(source, ast.unparse(call.args[1])), f"line {call.lineno}"
        if name == "np.load":
            assert given.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        if "download" in given and given["download"] not in ("False", "self.download"):  # the user's request
            downloads.add(given["download"])
    assert downloads == MAY_DOWNLOAD.get(inside(source), set())


def test_downloads_are_off_by_default() -> None:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
                defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
                named = dict(zip(names[len(names) - len(defaults) :], map(ast.unparse, defaults), strict=True))
                assert named.get("download", "False") == "False", f"{source}: {node.name}"


@cache
def pins() -> dict[str, Version]:
    """Versions for the Python that runs this test."""
    lines = [line.split("#")[0].strip() for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()]
    pinned = [pin for pin in map(Requirement, filter(None, lines)) if pin.marker is None or pin.marker.evaluate()]
    versions = {}
    for pin in pinned:
        name = pin.name.lower().replace("_", "-")
        assert name not in versions, f"{name} is pinned twice"
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        versions[name] = Version(specifier.version)
    return versions


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for texts in every for text in texts]


def test_pins_satisfy_the_requirements() -> None:
    pinned = pins()
    for requirement in requirements():
        version = pinned[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} and {version}"


def test_pins_satisfy_the_requirements_of_other_packages() -> None:
    for name, version in pins().items():
        try:
            if Version(metadata.version(name)) != version:
                continue  # another machine's choice
        except metadata.PackageNotFoundError:
            continue
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            other = pins().get(requirement.name.lower().replace("_", "-"))
            if other and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
                assert requirement.specifier.contains(other, prereleases=True), f"{name} asks for {requirement}"


def test_malicious_releases_are_excluded() -> None:
    (lightning,) = [r for r in requirements() if r.name == "lightning"]
    assert not any(lightning.specifier.contains(bad) for bad in ("2.6.2", "2.6.3"))
    pinned = pins()
    for name, bad in doctor.MALICIOUS.items():
        assert str(pinned[name]) not in bad


def test_lower_bounds_are_stated() -> None:
    for requirement in requirements():
        assert re.search(r">=|==", str(requirement.specifier)), requirement

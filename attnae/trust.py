"""Imports the code of a folder because a person named it, or its benchmark file, in a command or in Python.

Nothing else makes code importable: no configuration, checkpoint, export, archive or record does.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from attnae.errors import UserError

_trusted: dict[str, Path | None] = {}
"""Folder of each trusted package; ``None`` for an installed package."""


def trust(name: str | Path) -> str:
    """Makes the code of a folder importable under the folder's name, or trusts an installed package.

    ``my_idea/net.py`` becomes the module ``my_idea.net``. No other folder is added to the search path.

    Args:
        name: Folder with Python files, or the name of an installed package.

    Returns:
        The name of the package.

    Raises:
        UserError: There is neither, the name cannot be imported or is in use, or the folder's ``__init__.py`` fails.
    """
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        if str(name).isidentifier() and find_spec(str(name)):
            _trusted.setdefault(str(name), None)
            return str(name)
        raise UserError(f"Cannot trust {name}: there is neither such a folder nor such an installed package.")
    package = folder.name
    if _trusted.get(package) == folder:
        return package
    if not package.isidentifier():
        raise UserError(
            f"The folder {package!r} cannot be imported. Rename it: letters, digits and '_', not beginning with a digit."
        )
    known = find_spec(package) if package not in sys.modules else sys.modules[package].__spec__
    if package in sys.builtin_module_names or (known and not _within(known, folder)):
        raise UserError(f"The folder {package!r} has the name of a package that is already in use. Rename it.")
    first = folder / "__init__.py"
    if first.is_file():
        spec = spec_from_file_location(package, first, submodule_search_locations=[str(folder)])
    else:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[package] = module
    if spec.loader:
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[package]
            if not isinstance(error, Exception):
                raise
            raise UserError(f"Cannot import {first}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    _trusted[package] = folder
    return package


def trusted(path: str) -> bool:
    """Whether the package of a dotted name was trusted with :func:`trust`."""
    return path.partition(".")[0] in _trusted


def _within(spec: ModuleSpec, folder: Path) -> bool:
    """Whether a package is the folder itself, which is found where the folder above it is on the search path."""
    return any(Path(place).resolve() == folder for place in spec.submodule_search_locations or ())

"""Where plug-ins are, and the hash of their source. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from trials.registry import PREFIX
from trials.spec import content_hash
from workers.plugins.errors import PluginError


def installed_plugins(kinds: Iterable[str]) -> tuple[str, ...]:
    """The modules that installed packages name for these kinds, such as `losses` for the group `sweeper.losses`."""
    offered = _modules_by_group(tuple(sys.path))
    return tuple(sorted({module for kind in kinds for module in offered.get(PREFIX + kind, ())}))


def source_hash(reference: str | Path) -> str:
    """Content hash of a plug-in's source: the text of a file, every Python file of an installed module's package.

    Raises:
        PluginError: there is no such file or module, or the file is no UTF-8 text.
    """
    if is_file(reference):
        return content_hash(read_text(Path(reference)))
    return content_hash({str(p.relative_to(root)): read_text(p) for root, p in _package_files(str(reference))})


@lru_cache(maxsize=4)
def _modules_by_group(path: tuple[str, ...]) -> dict[str, list[str]]:
    """The modules of all entry points of the packages on `sys.path`, each of which is read: a tenth of a second."""
    found = importlib.metadata.entry_points()
    return {group: [entry.module for entry in found.select(group=group)] for group in found.groups}


def is_file(reference: str | Path) -> bool:
    """Whether a reference names a file; otherwise it names an installed module."""
    return isinstance(reference, Path) or reference.endswith(".py") or os.sep in reference


def read_text(path: Path) -> str:
    """The text of a plug-in's file.

    Raises:
        PluginError: there is no such file, or it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PluginError(f"plug-in file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"plug-in file {path} can't be read: {error}") from error


def _package_files(module: str) -> list[tuple[Path, Path]]:
    """(root, file) of every Python file of the top-level package of `module`; finds it without an import."""
    try:
        found = importlib.util.find_spec(module.partition(".")[0])
    except ValueError:
        found = None
    if found is None:
        raise PluginError(f"plug-in {module!r} is neither a Python file (NAME.py) nor an installed module")
    if found.submodule_search_locations:
        roots = [Path(location) for location in found.submodule_search_locations]
        return [(root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    if not found.has_location or found.origin is None:
        raise PluginError(f"plug-in {module!r} has no source file")
    return [(Path(found.origin).parent, Path(found.origin))]

"""Grid files, shipped and of users: reads them, merges `extends` and `--set`, and checks.

The shipped grids are the TOML files beside this module. An installed package ships its own by an entry point of the
group `sweeper.grids` that names the package with the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sweeper.errors import GridError
from sweeper.grids.limits import MAX_PARTS, MAX_TEXT, check_text, check_values
from sweeper.grids.schema import Grid
from trials.registry import Registry
from workers.errors import InputError, nearest
from workers.plugins.errors import PluginError
from workers.plugins.sources import installed_plugins

TomlTable = dict[str, Any]

DIGITS = 12
"""Significant digits of a fractional number in a grid."""

SHOWN = 10
"""So many mistakes of a grid are told at once."""

NOT_INHERITED = ("name", "description")
"""What says which grid it is: a grid that extends another needs its own."""

_MESSAGES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be finite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be a table",
    "string_pattern_mismatch": (
        "must be 1 to 80 letters, digits, '_', '-' or '.', in a data set's name spaces, too; first a letter or digit"
    ),
    "string_type": "must be text",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}
"""Pydantic's kinds of error in the words of a person who writes a grid; its own words serve for the rest."""


GRIDS: Registry[Traversable] = Registry("grid", "sweeper.grids")
"""The TOML files of shipped grids, by name."""


def register(name: str, file: Traversable) -> None:
    """Adds a grid's TOML file (a `Path`, or a file of a package) under the name that `--grid` and `extends` ask for.

    Raises:
        InputError: another grid has that name.
    """
    GRIDS.register(name, file)


def register_package(package: str) -> None:
    """Adds every TOML file of a package under its name without `.toml`.

    Raises:
        InputError: another grid has one of the names; the message names the package.
        PluginError: the package has no TOML file, or cannot be imported.
    """
    try:
        files = [file for file in resources.files(package).iterdir() if file.name.endswith(".toml")]
    except (ImportError, OSError) as error:
        raise PluginError(f"grids of package {package!r} cannot be read: {error}") from error
    if not files:
        raise PluginError(f"package {package!r} is named for the group sweeper.grids, but has no .toml file")
    for file in files:
        try:
            register(file.name.removesuffix(".toml"), file)
        except InputError as error:
            raise PluginError(f"package {package!r}: {error}") from error


register_package("sweeper.grids")


def shipped() -> tuple[str, ...]:
    """Names of the grids that come with the program, with installed packages, or from plug-ins.

    Raises:
        PluginError: as `register_package`.
    """
    for package in installed_plugins(["grids"]):
        register_package(package)
    return tuple(sorted(GRIDS))


def load_grid(name_or_file: str, overrides: Sequence[str] = ()) -> Grid:
    """A grid by its shipped name or by its file, with what it extends and what `--set` changes.

    Args:
        name_or_file: a shipped name, or a path that ends in `.toml`.
        overrides: `key=value` each, the value as TOML; keys are dotted, and an entry of a list is named by its `name`:
            `training.epochs=5`, `datasets.nuclei.options.size=[64, 64]`, `losses.combo.alpha=0.3`.

    Raises:
        GridError: the grid does not exist, is no TOML, extends itself, or holds a wrong key or value.
    """
    table, origin = _read(name_or_file)
    table = _extended(table, origin, ())
    for override in overrides:
        _set(table, override)
    return _checked(table, origin)


def grid_of_text(text: str, overrides: Sequence[str] = (), origin: str = "as submitted") -> Grid:
    """A grid from the text of a file that is not here: it may extend a shipped grid alone.

    Raises:
        GridError: see `load_grid`.
    """
    table = _toml(text, origin)
    parent = table.get("extends")
    if parent is not None and parent not in shipped():
        raise GridError(
            f"grid {origin!r}: extends = {parent!r} is no shipped grid ({', '.join(shipped())}), and a grid that is "
            "sent to a service can extend no other; copy its keys into this one"
        )
    table = _extended(table, origin, ())
    for override in overrides:
        _set(table, override)
    return _checked(table, origin)


def _checked(table: TomlTable, origin: str) -> Grid:
    check_values(table, f"grid {origin!r}")  # first: to make a table canonical goes into its depth
    return _validated(canonical(table), origin)


def canonical(value: Any) -> Any:
    """A value of a grid with its fractional numbers in one form: 12 significant digits, and no −0.

    Numbers that only rounding tells apart, such as 0.3 and 0.1 + 0.2, thus make one cell. Whole numbers, such as seeds,
    stay as they are, and so does a fractional number of at most 12 digits.
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") + 0.0  # −0.0 + 0.0 is 0.0
    if isinstance(value, Mapping):
        return {key: canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(entry) for entry in value]
    return value


def parse_grid(table: Mapping[str, Any], origin: str) -> Grid:
    """A grid from a plain table as it is, such as the one that storage keeps: its numbers are not made `canonical`,
    since stored trials have them.

    Raises:
        GridError: a key or value is wrong; names it and the nearest known one.
    """
    check_values(table, f"grid {origin!r}")
    return _validated(table, origin)


def _validated(table: Mapping[str, Any], origin: str) -> Grid:
    try:
        return Grid.model_validate(table)
    except ValidationError as error:
        errors = error.errors()
        # A list with a wrong entry also counts as too short; the entry says it better.
        inner = {e["loc"][:depth] for e in errors for depth in range(len(e["loc"]))}
        outer = [e for e in errors if e["loc"] not in inner or not e["loc"]]
        lines = [_explain(e, table) for e in outer[:SHOWN]]
        more = [f"and {len(outer) - SHOWN} more mistakes"] if len(outer) > SHOWN else []
        raise GridError(f"grid {origin!r}: " + "; ".join([*lines, *more])) from error


def _read(name_or_file: str) -> tuple[TomlTable, str]:
    if name_or_file.endswith(".toml") or "/" in name_or_file:
        path = Path(name_or_file).expanduser()
        try:
            with path.open("rb") as file:  # a device has no end
                text = file.read(MAX_TEXT + 1).decode("utf-8")
        except FileNotFoundError as error:
            raise GridError(f"no grid file {path}; shipped grids: {', '.join(shipped())}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise GridError(f"grid file {path} cannot be read: {error}") from error
        origin = str(path)
    else:
        if name_or_file not in shipped():
            hint = nearest(name_or_file, shipped())
            raise GridError(
                f"unknown grid {name_or_file!r}{hint}; shipped: {', '.join(shipped())}; a grid of yours is a file that "
                "ends in .toml"
            )
        text = GRIDS[name_or_file].read_text(encoding="utf-8")
        origin = name_or_file
    return _toml(text, origin), origin


def _toml(text: str, origin: str) -> TomlTable:
    check_text(text, f"grid {origin}")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside TOML's own: a number or a nesting beyond what Python takes
        raise GridError(f"grid {origin} is not valid TOML: {error}") from error
    if isinstance(table.get("search"), str):  # so that a grid above it and --set can add to it
        table["search"] = {"sampler": table["search"]}
    return table


def _extended(table: TomlTable, origin: str, chain: tuple[str, ...]) -> TomlTable:
    parent_name = table.get("extends")
    if parent_name is None:
        return table
    if not isinstance(parent_name, str):
        raise GridError(f"grid {origin!r}: extends = {parent_name!r} must be the name or file of a grid")
    if parent_name.endswith(".toml"):
        parent_name = str(Path(origin).parent / Path(parent_name).expanduser())
    chain = (*chain, _place(origin))
    if _place(parent_name) in chain:
        raise GridError(f"grids extend each other in a circle: {' → '.join((*chain, _place(parent_name)))}")
    try:
        parent, parent_origin = _read(parent_name)
    except GridError as error:
        raise GridError(f"grid {origin!r} extends {table['extends']!r}: {error}") from error
    parent = _extended(parent, parent_origin, chain)
    # How often a cell is repeated is said by one of the two; a grid's own word takes the place of an inherited one.
    replaced = ("repeats", "seeds") if {"repeats", "seeds"} & set(table) else ()
    kept = {key: value for key, value in parent.items() if key not in (*NOT_INHERITED, *replaced)}
    return _merged(kept, {key: value for key, value in table.items() if key != "extends"})


def _place(origin: str) -> str:
    """One spelling for each grid: a shipped name, or the file's resolved path."""
    return str(Path(origin).expanduser().resolve()) if origin.endswith(".toml") or "/" in origin else origin


def _merged(below: TomlTable, above: TomlTable) -> TomlTable:
    """Tables are merged key by key; everything else, lists too, is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _set(table: TomlTable, override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise GridError(f"--set {override!r}: expected key=value, such as training.epochs=5")
    check_text(override, "--set")
    if len(parts) > MAX_PARTS:
        raise GridError(f"--set {override[:60]!r}: a key has at most {MAX_PARTS} parts between points")
    if parts == ["extends"]:
        raise GridError(f"--set {override!r}: write a grid file that extends it, or name it with --grid")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    for place in _places(table, parts[:-1], override):
        place[parts[-1]] = value


def _places(table: TomlTable, parts: Sequence[str], override: str) -> list[TomlTable]:
    """The tables that a dotted key leads to: several where entries of a list share a name, as a loss may."""
    places: list[Any] = [table]
    for part in parts:
        below: list[Any] = []
        for place in places:
            if isinstance(place, list):
                entries = [entry for entry in place if isinstance(entry, dict)]
                below += [entry for entry in entries if entry.get("name") == part]
            else:
                below.append(place.setdefault(part, {}))
        if not below:
            names = [str(entry.get("name")) for place in places for entry in place if isinstance(entry, dict)]
            raise GridError(
                f"--set {override!r}: no entry is named {part!r}{nearest(part, names)}; there are {', '.join(names)}"
            )
        if not all(isinstance(place, dict | list) for place in below):
            raise GridError(f"--set {override!r}: {part!r} is a value, not a table")
        places = below
    if any(isinstance(place, list) for place in places):
        raise GridError(f"--set {override!r}: name an entry and a key of it, such as losses.focal.gamma=3")
    return places


def _explain(error: Any, table: Mapping[str, Any]) -> str:
    location = error["loc"]
    where = _where(location, table)
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"unknown key {where!r}{nearest(str(location[-1]), known)}; known: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{where!r} is missing"
    if error["type"] in _MESSAGES:
        message = _MESSAGES[error["type"]].format(**error.get("ctx", {}))
    else:
        message = str(error["msg"]).removeprefix("Value error, ")
    if not location or error["type"] == "value_error":
        return f"{where}: {message}" if where else message
    given = repr(error["input"])
    return f"{where} = {given if len(given) <= 60 else given[:57] + '...'} {message}"


def _where(location: Sequence[str | int], table: Mapping[str, Any]) -> str:
    """`datasets.nuclei.training.epochs` for ("datasets", 0, "training", "epochs")."""
    words: list[str] = []
    place: Any = table
    for part in location:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            place = None
        if isinstance(part, int) and isinstance(place, dict) and "name" in place:
            words.append(str(place["name"]))
        else:
            words.append(str(part))
    return ".".join(words)


def _known_keys(location: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = Grid
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            found = _model_in(model.model_fields[part].annotation)
            model = found or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None

"""Grid files, shipped and of users: reads them, merges `extends` and `--set`, and checks. `sweeper.grid` expands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sweeper.errors import GridError
from sweeper.grid import Grid
from workers.errors import nearest

Table = dict[str, Any]


def shipped() -> tuple[str, ...]:
    """Names of the grids that come with the program."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


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
    table = _extended(table, origin, (origin,))
    for override in overrides:
        _set(table, override)
    return parse_grid(table, origin)


def parse_grid(table: Mapping[str, Any], origin: str) -> Grid:
    """A grid from a plain table, such as the one that storage keeps.

    Raises:
        GridError: a key or value is wrong; names it and the nearest known one.
    """
    try:
        return Grid.model_validate(table)
    except ValidationError as error:
        lines = [_explain(e, table) for e in error.errors()]
        raise GridError(f"{origin}: " + "; ".join(lines)) from error


def _read(name_or_file: str) -> tuple[Table, str]:
    if name_or_file.endswith(".toml") or "/" in name_or_file:
        path = Path(name_or_file).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
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
        text = resources.files(__name__).joinpath(f"{name_or_file}.toml").read_text(encoding="utf-8")
        origin = name_or_file
    try:
        return tomllib.loads(text), origin
    except tomllib.TOMLDecodeError as error:
        raise GridError(f"grid {origin} is not valid TOML: {error}") from error


def _extended(table: Table, origin: str, chain: tuple[str, ...]) -> Table:
    parent_name = table.get("extends")
    if parent_name is None:
        return table
    if not isinstance(parent_name, str):
        raise GridError(f"{origin}: extends must be the name or file of a grid, got {parent_name!r}")
    if parent_name.endswith(".toml") and not Path(parent_name).is_absolute():
        parent_name = str(Path(origin).parent / parent_name)
    parent, parent_origin = _read(parent_name)
    if parent_origin in chain:
        raise GridError(f"grids extend each other in a circle: {' → '.join((*chain, parent_origin))}")
    parent = _extended(parent, parent_origin, (*chain, parent_origin))
    return _merged(parent, {k: v for k, v in table.items() if k != "extends"})


def _merged(below: Table, above: Table) -> Table:
    """Tables are merged key by key; everything else, lists too, is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _set(table: Table, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise GridError(f"--set {override!r}: expected key=value, such as training.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place: Any = table
    parts = key.strip().split(".")
    for part in parts[:-1]:
        if isinstance(place, list):
            found = next((entry for entry in place if entry.get("name") == part), None)
            if found is None:
                names = [str(entry.get("name")) for entry in place]
                raise GridError(f"--set {override!r}: no entry named {part!r}{nearest(part, names)}")
            place = found
        else:
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise GridError(f"--set {override!r}: {part!r} is a value, not a table")
    if isinstance(place, list):
        raise GridError(f"--set {override!r}: name a key of one of its entries, or give the whole list")
    place[parts[-1]] = value


def _explain(error: Any, table: Mapping[str, Any]) -> str:
    location = [part for part in error["loc"] if part not in ("function-after",)]
    where = _where(location, table)
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"unknown key {where!r}{nearest(str(location[-1]), known)}; known: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{where!r} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return message
    return f"{where} = {error['input']!r}: {message[:1].lower()}{message[1:]}"


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

"""Finding the files of cases by pattern: `images/{id}.png` gives the case id and its file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from workers.datasets.reader import CaseFiles
from workers.errors import DataError, ParameterError


def match_files(source: Path, pattern: str) -> dict[str, Path]:
    """Case id to file, for every file under `source` that matches `pattern`.

    `{id}` is the case's id (anything but a slash; a second `{id}` is the same text), `*` is anything but a slash, `**`
    is any folders. Upper and lower case differ. Hidden files are left out.

    Raises:
        ParameterError: no `{id}` in the pattern, or the pattern leads out of the folder.
        DataError: two files have the same id.
    """
    if "{id}" not in pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ParameterError(
            f"pattern {pattern!r}: give a path inside the folder with {{id}} in it, such as images/{{id}}.png"
        )
    expression = re.compile(_expression(pattern))
    found: dict[str, Path] = {}
    for path in sorted(source.glob(pattern.replace("{id}", "*"))):
        relative = path.relative_to(source).as_posix()
        match = expression.fullmatch(relative)
        if match is None or path.name.startswith(".") or not path.is_file():
            continue
        case = match["id"]
        if case in found:
            raise DataError(
                f"{source}: case {case!r} has two files: {found[case].relative_to(source)} and {relative}; "
                f"remove one, or make the pattern {pattern!r} narrower"
            )
        found[case] = path
    return found


def pair(images: dict[str, Path], labels: dict[str, Path], source: Path, expected: str) -> list[CaseFiles]:
    """Cases of one image and one mask with the same id.

    Raises:
        DataError: there are no images, or an image or mask has no partner.
    """
    if not images:
        raise DataError(f"{source}: no images found. {expected}{_contents(source)}")
    require_partners(images, labels, "mask", source)
    require_partners(labels, images, "image", source)
    return [CaseFiles(id=case, images=(images[case],), label=labels[case]) for case in sorted(images)]


def require_partners(present: dict[str, Path], partners: Iterable[str], kind: str, source: Path) -> None:
    """Raise a DataError that names the files whose id is not among `partners`."""
    lonely = sorted(set(present) - set(partners))
    if lonely:
        shown = ", ".join(str(present[case].relative_to(source)) for case in lonely[:5])
        more = f" and {len(lonely) - 5} more" if len(lonely) > 5 else ""
        raise DataError(f"{source}: no {kind} for {shown}{more}; add the missing file or remove its partner")


def wrong_folder(source: Path, title: str, layout: str) -> DataError:
    """The error for a folder that does not look like the data set."""
    return DataError(f"{source} does not look like {title}. Expected:\n{layout}{_contents(source)}")


def _contents(source: Path) -> str:
    entries = sorted(entry.name for entry in source.iterdir())[:8]
    return f"\nFound there: {', '.join(entries) if entries else 'nothing'}"


def _expression(pattern: str) -> str:
    pieces = []
    seen = False
    for piece in re.split(r"(\{id\}|\*\*/|\*)", pattern):
        if piece == "{id}":
            pieces.append("(?P=id)" if seen else r"(?P<id>[^/]+?)")
            seen = True
        elif piece == "**/":
            pieces.append("(?:.*/)?")
        elif piece == "*":
            pieces.append("[^/]*")
        else:
            pieces.append(re.escape(piece))
    return "".join(pieces)

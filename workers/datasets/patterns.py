"""Finding the files of cases by pattern: `images/{id}.png` gives the case id and its file."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from workers.datasets.formats import ENDINGS, ending_of
from workers.datasets.reader import CaseFiles
from workers.errors import DataError, ParameterError, shortened

_ASIDE_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
"""Folders that operating systems make, in lower case."""

_NO_IMAGES = (
    *(".bak", ".csv", ".db", ".doc", ".docx", ".htm", ".html", ".ini", ".ipynb", ".json", ".lnk", ".log", ".m", ".md"),
    *(".pdf", ".py", ".rst", ".rtf", ".sh", ".tar", ".tmp", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml"),
    *(".yaml", ".yml", ".zip"),
)
"""Endings, in lower case, of files that `{id}.*` does not mean: `Thumbs.db`, `desktop.ini`, notes and tables."""

GROUP = "{group}"
"""Stands in a pattern for the patient or sequence."""

_SHOWN = 5
"""So many files are named in an error, the others counted."""


@dataclass
class LeftOut:
    """What is left out before files are paired: see `leaving_out`.

    Attributes:
        ids: the cases that are to be left out.
        found: those of `ids` of which there are files.
        matched: every file that a pattern matches, of these cases and of all others.
        reasons: further cases that were left out, each with the reason.
    """

    ids: frozenset[str] = frozenset()
    found: set[str] = field(default_factory=set)
    matched: set[Path] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)


_LEFT_OUT: ContextVar[LeftOut | None] = ContextVar("left out", default=None)


@contextmanager
def leaving_out(ids: Collection[str]) -> Iterator[LeftOut]:
    """Within it, `match_files` finds no file of these cases, so that none of them needs a partner.

    A context and no argument: `Reader.find_cases`, which lies between, is also a method of plug-ins.
    """
    left_out = LeftOut(frozenset(ids))
    token = _LEFT_OUT.set(left_out)
    try:
        yield left_out
    finally:
        _LEFT_OUT.reset(token)


def match_files(source: Path, pattern: str, partners: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Case id to file, for every file under `source` that matches `pattern`.

    `{id}` is the case's id (anything but a slash; a second `{id}` is the same text), `{group}` likewise its patient or
    sequence, which then is a part of its id (`patient-id`), for names that are there again in each folder. `*` is
    anything but a slash, `**` is any folders; all else, brackets too, is a letter. Upper and lower case differ, but in
    the ending of an image: where a case has no file with the pattern's ending, one with the same format's is taken
    (`.PNG` for `.png`, `.nii` for `.nii.gz`). Hidden files, and what is no image beside images (`Thumbs.db`), are left
    out.

    Args:
        source: the folder.
        pattern: the path in it.
        partners: images to find the masks of, or the other way round. A case among them that has no file yet gets the
            one with any image's ending (`a.gif` beside `a.tif`).

    Raises:
        ParameterError: no `{id}` in the pattern, or the pattern leads out of the folder.
        DataError: two files have the same id.
    """
    return single(match_several(source, pattern, partners), source, pattern)


def match_several(
    source: Path, pattern: str, partners: Mapping[str, Path] | None = None
) -> dict[str, tuple[Path, ...]]:
    """As `match_files`, but a case may have several files, in the order of their names."""
    if "{id}" not in pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ParameterError(
            f"pattern {pattern!r}: give a path inside the folder with {{id}} in it, such as images/{{id}}.png"
        )
    found: dict[str, list[Path]] = {}
    kinds: dict[str, int] = {}
    taken = set((partners or {}).values())
    for case, kind, path in _candidates(source, pattern):
        if kind == _OTHER and (case not in (partners or {}) or path in taken):
            continue
        if case not in found or kind < kinds[case]:
            found[case], kinds[case] = [path], kind
        elif kind == kinds[case]:
            found[case].append(path)
    return without_left_out({case: tuple(paths) for case, paths in found.items()})


def match_groups(source: Path, pattern: str) -> dict[str, str]:
    """Case id to what `{group}` stands for in its file's path; empty for a pattern without it."""
    if GROUP not in pattern:
        return {}
    return {name: group for name, group, _, _ in _matches(source, pattern) if group is not None}


def match_apart(
    source: Path, pattern: str, others: Iterable[str], partners: Mapping[str, Path] | None = None
) -> dict[str, tuple[Path, ...]]:
    """As `match_several`, without the files that one of the `others` means more exactly.

    `{id}.png` also matches the masks `{id}_mask.png` that lie beside it. A file that two patterns match belongs to the
    one with more letters of its own.

    Raises:
        DataError: two patterns say the same.
    """
    found = match_several(source, pattern, partners)
    mine = {path for paths in found.values() for path in paths}
    for other in others:
        common = mine & {path for _, _, kind, path in _matches(source, other) if kind != _OTHER}
        if common and _letters(other) == _letters(pattern):
            raise DataError(
                f"{min(common)}: two patterns, {pattern!r} and {other!r}, mean it; give one of them more letters, such "
                "as {id}_mask.png"
            )
        if _letters(other) > _letters(pattern):
            mine -= common
    kept = {case: tuple(path for path in paths if path in mine) for case, paths in found.items()}
    return {case: paths for case, paths in kept.items() if paths}


def single(found: Mapping[str, tuple[Path, ...]], source: Path, pattern: str) -> dict[str, Path]:
    """Case id to its only file.

    Raises:
        DataError: a case has two.
    """
    for case, (first, *more) in found.items():
        if more:
            raise DataError(
                f"{source}: case {case!r} has two files: {first.relative_to(source)} and "
                f"{more[0].relative_to(source)}; {_several_fix(pattern, first, more[0])}"
            )
    return {case: paths[0] for case, paths in found.items()}


def is_aside(relative: str, named: Collection[str] = ()) -> bool:
    """Whether a file is hidden or in a folder that is, or that an operating system made, and that is not `named`."""
    *folders, name = PurePosixPath(relative).parts
    return name.startswith(".") or any(
        (folder.startswith(".") or folder.lower() in _ASIDE_FOLDERS) and folder not in named for folder in folders
    )


def pair(
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
    source: Path,
    expected: str,
    unlabelled: Literal["refuse", "skip"] | None = None,
) -> list[CaseFiles]:
    """Cases of one image and one mask with the same id.

    `unlabelled` is the reader's option of that name: what becomes of images without a mask. None: it has none.

    Raises:
        DataError: there are no images, or an image or mask has no partner.
    """
    if not images:
        left_out = _LEFT_OUT.get()
        if left_out is not None and left_out.found:
            raise DataError(f"{source}: no case is left, because `exclude` names all {len(left_out.found)}")
        raise DataError(f"{source}: no images found. {expected}{_contents(source)}")
    if unlabelled == "skip":
        images = _labelled(images, labels)
    fix = ', or leave such images out with options.unlabelled = "skip"' if unlabelled else ""
    require_partners(images, labels, "mask", source, fix)
    require_partners(labels, images, "image", source)
    return [CaseFiles(id=case, images=(images[case],), label=labels[case]) for case in sorted(images)]


def require_partners(
    present: Mapping[str, Path], partners: Iterable[str], kind: str, source: Path, fix: str = ""
) -> None:
    """Raise a DataError that names the files whose id is not among `partners`."""
    lonely = sorted(set(present) - set(partners))
    if lonely:
        shown = shortened([str(present[case].relative_to(source)) for case in lonely], _SHOWN)
        raise DataError(
            f"{source}: no {kind} for {shown}; add the missing file or remove its partner, or name the case in "
            f"`exclude`{fix}"
        )


def wrong_folder(source: Path, title: str, layout: str) -> DataError:
    """The error for a folder that does not look like the data set."""
    return DataError(f"{source} does not look like {title}. Expected:\n{layout}{_contents(source)}")


def _contents(source: Path) -> str:
    entries = sorted(entry.name for entry in source.iterdir())[:8]
    return f"\nFound there: {', '.join(entries) if entries else 'nothing'}"


def _several_fix(pattern: str, first: Path, second: Path) -> str:
    """How to read two files of one case as they are meant."""
    if first.parent == second.parent and first.suffix != second.suffix:
        return f"remove one, or make the pattern {pattern!r} narrower"
    if first.parent == second.parent and "{id}" not in pattern.rpartition("/")[2]:
        each = pattern.replace("{id}", GROUP)[::-1].replace("*", "}di{", 1)[::-1]
        return (
            f"if each is a case, name the folder by {GROUP} ({each}); several masks of one image: options.unite = true"
        )
    if first.parent == second.parent:
        return (
            f"remove one, or make the pattern {pattern!r} narrower; several masks of one image are united by "
            "options.unite = true"
        )
    return (
        f"names that are there again in each patient's folder need {GROUP} for the folder in every pattern, such as "
        '"{group}/images/{id}.png"'
    )


def _letters(pattern: str) -> int:
    return sum(len(piece) for piece in _WILDCARDS.split(pattern)[::2])


_EXACT, _SAME_FORMAT, _OTHER = range(3)
"""How a file's ending fits to the pattern's: it is the same, one of the same format, or that of another image."""


def _candidates(source: Path, pattern: str) -> Iterator[tuple[str, int, Path]]:
    """Case id, how its ending fits, and path of each file that may be meant, in the order of the paths."""
    return ((case, kind, path) for case, _, kind, path in _matches(source, pattern))


def _matches(source: Path, pattern: str) -> Iterator[tuple[str, str | None, int, Path]]:
    """As `_candidates`, with what `{group}` stands for."""
    ending = ending_of(pattern)
    stem = pattern.removesuffix(ending)
    expression = re.compile(_expression(stem))
    literal = set(stem.split("/"))
    for path in sorted(source.glob(_glob(stem) + (".*" if ending else ""))):
        relative = path.relative_to(source).as_posix()
        own = ending_of(relative) if ending else ""
        match = expression.fullmatch(relative.removesuffix(own))
        if match is None or (ending and not own) or is_aside(relative, literal) or not path.is_file():
            continue
        if not ending and stem.endswith(("*", "{id}")) and path.suffix.lower() in _NO_IMAGES:
            continue
        kind = _EXACT if own == ending else _SAME_FORMAT if _format(own) == _format(ending) else _OTHER
        parts = match.groupdict()
        group = parts.get("group")
        yield parts["id"] if group is None else f"{group}-{parts['id']}", group, kind, path


def _format(ending: str) -> str:
    return ENDINGS[ending.lower()]


def without_left_out(found: dict[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
    """Case id to files, without the cases that are left out: see `leaving_out`."""
    left_out = _LEFT_OUT.get()
    if left_out is None:
        return found
    left_out.matched.update(*found.values())
    left_out.found |= left_out.ids & set(found)
    return {case: paths for case, paths in found.items() if case not in left_out.ids}


def _labelled(images: Mapping[str, Path], labels: Mapping[str, Path]) -> dict[str, Path]:
    """The images that have a mask. The others are left out, and listed with the excluded cases."""
    left_out = _LEFT_OUT.get()
    if left_out is not None:
        left_out.reasons |= dict.fromkeys(set(images) - set(labels), "no mask")
    return {case: path for case, path in images.items() if case in labels}


_WILDCARDS = re.compile(r"(\{id\}|\{group\}|\*\*/|\*)")


def _glob(pattern: str) -> str:
    """The pattern for `Path.glob`, in which brackets and question marks are letters, too."""
    parts: list[str] = []
    for piece in filter(None, _WILDCARDS.split(pattern)):
        part = "*" if piece in ("{id}", GROUP) else piece if piece in ("**/", "*") else glob.escape(piece)
        if (part, *parts[-1:]) != ("*", "*"):  # two would mean folders, too
            parts.append(part)
    return "".join(parts)


def _expression(pattern: str) -> str:
    pieces = []
    seen = set()
    for piece in _WILDCARDS.split(pattern):
        if piece in ("{id}", GROUP):
            name = piece[1:-1]
            pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
        elif piece == "**/":
            pieces.append("(?:.*/)?")
        elif piece == "*":
            pieces.append("[^/]*")
        else:
            pieces.append(re.escape(piece))
    return "".join(pieces)

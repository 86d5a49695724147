"""Where a data set lies, which of its cases are used, and the hashes of its files.

Hashing many gigabytes takes minutes. A cache by path, size and time of change makes every later call quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from trials.spec import content_hash
from workers.datasets.formats import ending_of
from workers.datasets.parallel import available_processes
from workers.datasets.patterns import is_aside, leaving_out
from workers.datasets.reader import About, CaseFiles, Excluded, Reader
from workers.errors import DataError, ParameterError, nearest, shortened
from workers.files import atomic_write

SYNTHETIC_MARKER = "SYNTHETIC.md"
"""A file of this name in a source folder marks images that `workers.datasets.synthetic` made."""

_CACHE_NAME = "source-hashes.json"

_TEST_FOLDERS = {"imagests", "labelsts"}
"""Folders, in lower case, of the test images that the Decathlon and nnU-Net keep without masks."""

_SHOWN = 5
"""So many files are named, the others counted."""

_RACY_NS = 2_000_000_000
"""A file younger than this is not cached: it could change again within one tick of the file system's clock."""


def locate(reader: Reader, data_root: Path, about: About | None = None) -> Path:
    """The source folder: `data_root/<name>`, or the one that comes with the project.

    Args:
        reader: of the data set.
        data_root: the folder of all data sets.
        about: how the data set is had; None for what the reader says.

    Raises:
        DataError: neither exists; the message says how to get the data set.
    """
    folder = data_root / reader.name
    if folder.is_dir():
        return folder
    carried = reader.default_source()
    if carried is not None and carried.is_dir():
        return carried
    about = reader.about if about is None else about
    layout = "\n".join(f"  {line}" for line in about.layout.splitlines())
    raise DataError(
        f"data set {reader.name!r} ({about.title}) is missing: looked in {folder}\n"
        f"  get it from {about.page} (licence: {about.licence}) and put it there as\n{layout}"
    )


def provenance(source: Path) -> Literal["real", "synthetic"]:
    """Whether the folder holds real images or those of `workers.datasets.synthetic`."""
    return "synthetic" if (source / SYNTHETIC_MARKER).exists() else "real"


class Found(NamedTuple):
    """What is in a data set's folder: the cases that are used, those that the reader or the user leaves out, and the
    files of all cases with every other that a pattern matches.
    """

    cases: list[CaseFiles]
    excluded: list[Excluded]
    files: set[Path]


def included_cases(reader: Reader, source: Path, exclude: Sequence[str] = ()) -> tuple[list[CaseFiles], list[Excluded]]:
    """The cases that are used, and those that are left out; see `look_through`."""
    found = look_through(reader, source, exclude)
    return found.cases, found.excluded


def unmatched_files(reader: Reader, source: Path, found: Found) -> tuple[str, ...]:
    """The image files of a folder that belong to no case, because no pattern matches them; in order, as in the folder.

    Empty for a reader that knows its folder. Left out is what by custom is no case: hidden files, those of operating
    systems, and a challenge's test images without masks (`imagesTs`).
    """
    if not reader.any_folder:
        return ()
    files = []
    for folder, _, names in os.walk(source):
        for name in filter(ending_of, names):
            path = Path(folder, name)
            relative = path.relative_to(source).as_posix()
            aside = is_aside(relative) or path.parent.name.lower() in _TEST_FOLDERS
            if not aside and path not in found.files and path.is_file():
                files.append(relative)
    return tuple(sorted(files))


def unmatched_note(files: Sequence[str]) -> str:
    """What a person should know of `unmatched_files`; empty without any."""
    if not files:
        return ""
    count = "1 image file belongs" if len(files) == 1 else f"{len(files)} image files belong"
    return f"{count} to no case, because no pattern matches: {shortened(files, _SHOWN)}"


def look_through(reader: Reader, source: Path, exclude: Sequence[str] = ()) -> Found:
    """The cases of a folder: those that are used, and those that the reader or the user leaves out.

    Raises:
        DataError: from `Reader.find_cases`, or nothing is left.
        ParameterError: an excluded case does not exist.
    """
    if not source.is_dir():
        raise DataError(f"data set {reader.name!r}: {source} is not a folder")
    reader = reader.at(source)
    with leaving_out(exclude) as left_out:
        cases = reader.find_cases(source)
    known = {case.id for case in cases} | left_out.found
    for case_id in exclude:
        if case_id not in known:
            raise ParameterError(
                f"data set {reader.name!r}: excluded case {case_id!r} is not in {source}{nearest(case_id, known)}"
            )
    excluded = {case: reason for case, reason in reader.excluded.items() if case in known}
    excluded |= left_out.reasons | dict.fromkeys(exclude, "excluded by a setting")
    left = [case for case in cases if case.id not in excluded]
    if not left:
        raise DataError(f"data set {reader.name!r}: no case is left in {source}")
    if reader.group_pattern is not None:
        _check_groups(reader, left)
    files = left_out.matched.union(*(case.files for case in cases))
    return Found(left, [Excluded(case, reason) for case, reason in sorted(excluded.items())], files)


def _check_groups(reader: Reader, cases: Sequence[CaseFiles]) -> None:
    """Refuses a `group` that does not match every name: the others would be called patients of their own."""
    lacking = [case.id for case in cases if case.group is None]
    if lacking:
        raise DataError(
            f"data set {reader.name!r}: group = {reader.group_pattern!r} matched {len(cases) - len(lacking)} of "
            f"{len(cases)} names, and not {lacking[0]!r}; make it match each case's name, exclude the others, or leave "
            "it out"
        )


def hash_files(files: Iterable[Path], cache: Path | None) -> dict[Path, str]:
    """SHA-256 of each file, in parallel, through the cache file in folder `cache` where one is given.

    Raises:
        DataError: a file cannot be read.
    """
    files = list(files)
    known = _read_cache(cache / _CACHE_NAME) if cache else {}
    stats = {path: _stat(path) for path in files}
    missing = [path for path in files if known.get(_cache_name(path), [])[:2] != list(stats[path])]
    if missing:
        with ThreadPoolExecutor(max(2, available_processes())) as pool:  # hashlib releases the interpreter's lock
            fresh = dict(zip(missing, pool.map(sha256, missing), strict=True))
        now = time.time_ns()
        found: dict[str, list[int | str]] = {
            _cache_name(p): [*stats[p], digest] for p, digest in fresh.items() if now - stats[p][1] > _RACY_NS
        }
        if cache:
            _write_cache(cache / _CACHE_NAME, found)
    else:
        fresh = {}
    return {path: fresh[path] if path in fresh else str(known[_cache_name(path)][2]) for path in files}


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return stat.st_size, stat.st_mtime_ns


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _cache_name(path: Path) -> str:
    """A hash of the path: the cache lies beside prepared data, which may be shared, and shows no folder's name."""
    return content_hash(str(path.absolute()))


def _read_cache(cache_file: Path) -> dict[str, list[int | str]]:
    """The cache; empty when it is missing or damaged, because it can always be made again."""
    try:
        entries = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {k: v for k, v in entries.items() if isinstance(v, list) and len(v) == 3} if isinstance(entries, dict) else {}
    )


def _write_cache(cache_file: Path, found: dict[str, list[int | str]]) -> None:
    """Adds entries. Of two writers at the same time one may lose its entries: those files are hashed again later."""
    with atomic_write(cache_file) as file:
        file.write(json.dumps(_read_cache(cache_file) | found).encode())

"""The key that says what was prepared: a hash of everything that can move a prepared number.

It is a hash of the contents of the source files, so it is the same on every machine and changes when a file does. Sets
whose arrays stay as they are keep their key when the project grows. Three rules do this:

- An option that is added to a reader is left out while it has its default (`trials.identity`).
- A class is hashed under a fixed name, `Reader.hashed_name`.
- Versions are as narrow as a change: `Reader.arrays_version` for one reader's code, `FORMAT_VERSIONS` for what is read
  from one file format. Each is left out while it is 1. `PREPARATION_VERSION` is for what all data sets share.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from trials.identity import AlwaysHashed, all_fields, hashed_fields
from trials.spec import content_hash
from workers.datasets.formats import FORMAT_VERSIONS
from workers.datasets.image_folder import ImageFolder
from workers.datasets.nifti_folder import NiftiFolder
from workers.datasets.raised_formats import raised_formats
from workers.datasets.reader import CaseFiles, Excluded, Reader
from workers.datasets.sources import hash_files, included_cases, provenance

PREPARATION_VERSION = 2
"""Raised by a change that may move a prepared array of every data set. It moves every key and every trial's hash."""

ALWAYS_HASHED: AlwaysHashed = {
    Reader: ("name", "size", "spacing", "clip", "order"),
    ImageFolder: ("images", "masks", "classes", "label_map", "channels", "group"),
    NiftiFolder: (
        "images",
        "labels",
        "classes",
        "label_map",
        "nonzero",
        "group",
        "slices",
        "step",
        "labelled",
        "blocks",
    ),
}
"""The options of our readers that are hashed whatever their value: those that they had when keys were first kept.

A new option is not added here.
"""


def preparation_key(reader: Reader, source: Path, *, cache: Path, exclude: Sequence[str] = ()) -> str:
    """16 hex digits over everything that can move a prepared number.

    Takes in the source files' paths within the folder and contents, the reader with its options and preprocessing,
    excluded cases, provenance and the versions. `cache` is the folder for the file with the hashes of source files.

    Raises:
        DataError: from `Reader.find_cases`, or a file cannot be read.
        ParameterError: an excluded case does not exist.
    """
    return key_of(reader, source, *included_cases(reader, source, exclude), cache=cache)


def key_of(
    reader: Reader, source: Path, cases: Sequence[CaseFiles], excluded: Sequence[Excluded], *, cache: Path
) -> str:
    """`preparation_key` of cases that were found already (`sources.included_cases`)."""
    reader = reader.at(source)
    files = sorted({path for case in cases for path in case.files})
    hashes = hash_files(files, cache)
    return content_hash(
        {
            "version": PREPARATION_VERSION,
            "reader": hashed_name(type(reader)),
            "reader_source": plugin_source(type(reader)),
            "options": hashed_options(reader),
            "provenance": provenance(source),
            "excluded": [case.id for case in excluded],
            "cases": [[case.id, reader.hashed_group(case), case.partition, case.part] for case in cases],
            "files": [[path.relative_to(source).as_posix(), hashes[path]] for path in files],
            **_raised_versions(reader, hashes, cache),
        }
    )


def hashed_name(reader: type[Reader]) -> str:
    """The name under which a reader's class is hashed: its own `hashed_name`, else the name of the class."""
    return str(vars(reader).get("hashed_name") or reader.__name__)


def hashed_options(reader: Reader) -> dict[str, object]:
    """The options that are hashed: `ALWAYS_HASHED`, all that a plug-in declares, and what differs from its default."""
    plugged = {base: vars(base).get("__annotations__", {}) for base in type(reader).__mro__ if not _ours(base)}
    hashed = hashed_fields(reader, {**ALWAYS_HASHED, **plugged})
    return {name: value for name, value in all_fields(reader).items() if name in hashed and name != "name"}


def plugin_source(reader: type[Reader]) -> str:
    """SHA-256 of the file that defines a plug-in's reader; empty for ours, which have versions."""
    if _ours(reader):
        return ""
    return hashlib.sha256(Path(inspect.getfile(reader)).read_bytes()).hexdigest()


def _raised_versions(reader: Reader, hashes: Mapping[Path, str], cache: Path) -> dict[str, object]:
    """The versions that are not 1 any more."""
    versions: dict[str, object] = {}
    if reader.arrays_version != 1:
        versions["reader_version"] = reader.arrays_version
    if used := raised_formats(hashes, cache):
        versions["format_versions"] = {name: FORMAT_VERSIONS[name] for name in used}
    return versions


def _ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "workers"

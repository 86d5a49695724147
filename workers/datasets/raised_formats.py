"""Which of the formats with a raised version a data set's files are of.

Remembered by content: to open each of thousands of files at every plan would take minutes on a network disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from workers.datasets.formats import FORMAT_VERSIONS, formats_of
from workers.files import atomic_write

_CACHE_NAME = "source-formats.json"


def raised_formats(hashes: Mapping[Path, str], cache: Path) -> set[str]:
    """The formats, and variants of formats, whose version in `FORMAT_VERSIONS` is not 1, of all files together.

    Args:
        hashes: SHA-256 of each file.
        cache: the folder of the file in which they are remembered.

    Raises:
        DataError: a file cannot be read.
    """
    raised = sorted(name for name, version in FORMAT_VERSIONS.items() if version != 1)
    known = _read(cache / _CACHE_NAME, raised)
    fresh = {
        digest: sorted(formats_of(path).intersection(raised)) for path, digest in hashes.items() if digest not in known
    }
    if fresh:
        with atomic_write(cache / _CACHE_NAME) as file:  # of two writers, one may lose entries, which are made again
            file.write(json.dumps({"asked": raised, "found": known | fresh}).encode())
    return set().union(*((known | fresh)[digest] for digest in hashes.values()))


def _read(file: Path, raised: list[str]) -> dict[str, list[str]]:
    """What is remembered of exactly these formats; empty where the file is missing or damaged."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict) or kept.get("asked") != raised or not isinstance(kept.get("found"), dict):
        return {}
    return {
        digest: found for digest, found in kept["found"].items() if isinstance(found, list) and {*found} <= {*raised}
    }

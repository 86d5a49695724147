"""What every reader must do, as checks by name: `check_reader(MyReader(), folder)`. Imports no TensorFlow.

They read a small folder in the reader's layout, and damage copies of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from workers.conformance import Check, expect, named, run_all
from workers.datasets.preprocessing import IGNORED
from workers.datasets.reader import Case, ExcludedCaseError, Reader
from workers.datasets.synthetic import synthesise
from workers.errors import DataError, ParameterError, UnknownNameError

LARGEST = 256 << 20
"""Bytes of a folder that is copied to be damaged."""

SMALL = {2: (40, 48), 3: (24, 32, 32)}


def check_reader(reader: Reader, source: Path | None = None) -> None:
    """Runs every check on a reader.

    Args:
        reader: the reader with its options.
        source: a small folder in its layout; None: synthetic files, or the folder that comes with the project.

    Raises:
        ConformanceError: a check does not hold; the message names it and says what was expected.
        ParameterError: there is no folder, or it is too large to be copied.
    """
    with _folder(reader, source) as folder:
        run_all(reader_checks(reader, folder))


def reader_checks(reader: Reader, source: Path) -> dict[str, Check]:
    """The checks of `check_reader` by name, for a test that shows each.

    Raises:
        ParameterError: the folder is too large to be copied.
    """
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ParameterError(f"{source} has {size >> 20} MiB; give a folder with a few small cases, to be copied")
    checks: list[Check] = [
        partial(_describes_itself, reader),
        partial(_comes_back_from_its_options, reader),
        partial(_finds_the_same_cases_in_order, reader, source),
        partial(_cases_are_images_with_masks, reader, source),
        partial(_reading_changes_no_file, reader, source),
        partial(_refuses_an_empty_folder, reader),
        partial(_names_a_damaged_file, reader, source),
        partial(_names_a_missing_file, reader, source),
    ]
    return named(f"reader {type(reader).__name__} ({reader.name})", checks)


def _describes_itself(reader: Reader) -> None:
    classes = reader.classes
    expect(len(classes) >= 2 and classes[0] == "background", f'classes that start with "background", not {classes}')
    expect(len(set(classes)) == len(classes) <= 255, f"at most 255 different classes, not {classes}")
    expect(reader.dimensions in (2, 3), f"2 or 3 dimensions, not {reader.dimensions}")
    about = reader.about
    filled = all((about.title, about.page, about.licence, about.layout))
    expect(filled, f"an `about` with title, page, licence and layout, not {about}")
    if reader.about.table1 is not None:
        shares = reader.about.table1.foreground
        expect(len(shares) == len(classes) - 1, f"a share in `about.table1` for each foreground class, not {shares}")


def _comes_back_from_its_options(reader: Reader) -> None:
    """A grid and a worker make it anew from them."""
    again = TypeAdapter(type(reader)).validate_python(json.loads(json.dumps(reader.options)))
    expect(again == reader, f"the same reader from its `options` as JSON, not {again}")


def _finds_the_same_cases_in_order(reader: Reader, source: Path) -> None:
    cases = reader.find_cases(source)
    ids = [case.id for case in cases]
    expect(ids, f"cases in {source}")
    expect(len(set(ids)) == len(ids), f"each id once, not {sorted(i for i in set(ids) if ids.count(i) > 1)} again")
    expect(reader.find_cases(source) == cases, "the same cases when the folder is read again")
    with _copy(source) as copy:
        there = [case.id for case in reader.find_cases(copy)]
        expect(there == ids, f"the same order in a copy whose files were made in another order, not {there[:5]}…")
    for case in cases:
        for path in case.files:
            expect(path.is_file() and path.is_relative_to(source), f"files below {source}, not {path}")


def _cases_are_images_with_masks(reader: Reader, source: Path) -> None:
    channels: set[int] = set()
    for files, case in _read(reader, source):
        spatial, where = case.label.shape, f"in case {files!r}"
        expect(case.image.dtype == np.float32, f"a float32 image {where}, not {case.image.dtype}")
        expect(case.label.dtype == np.uint8, f"a uint8 label {where}, not {case.label.dtype}")
        expect(len(spatial) == reader.dimensions, f"{reader.dimensions} axes of the label {where}, not {spatial}")
        expect(case.image.shape[:-1] == spatial, f"an image on the label's grid {where}, not {case.image.shape}")
        expect(np.isfinite(case.image).all(), f"finite pixels {where}")
        counted = case.label[case.label != IGNORED] if reader.ignores else case.label
        highest = int(counted.max(initial=0))
        expect(highest < len(reader.classes), f"labels below {len(reader.classes)} {where}, not {highest}")
        expect(len(case.spacing) == reader.dimensions, f"a spacing for each axis {where}, not {case.spacing}")
        expect(min(case.spacing) > 0, f"spacings above 0 {where}, not {case.spacing}")
        if reader.dimensions == 3:
            expect(case.affine is not None and case.affine.shape == (4, 4), f"an affine matrix (4, 4) {where}")
        if case.field is not None:
            expect(case.field.shape == spatial, f"a field of view on the label's grid {where}, not {case.field.shape}")
        channels.add(case.image.shape[-1])
    expect(len(channels) == 1, f"as many channels in each case, not {sorted(channels)}")


def _reading_changes_no_file(reader: Reader, source: Path) -> None:
    before = _fingerprints(source)
    first = dict(_read(reader, source))
    for name, case in _read(reader, source):
        same = np.array_equal(case.image, first[name].image) and np.array_equal(case.label, first[name].label)
        expect(same, f"the same arrays of case {name!r} when it is read again")
    expect(_fingerprints(source) == before, "no file that is changed, added or removed")


def _refuses_an_empty_folder(reader: Reader) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            cases = reader.find_cases(Path(folder))
        except DataError as error:
            expect(folder in str(error), f"an error that names the folder, not: {error}")
        else:
            expect(not cases, f"no cases in an empty folder, not {cases}")
            expect(False, "a DataError that says how the folder should look")


def _names_a_damaged_file(reader: Reader, source: Path) -> None:
    """Half of an image, or of a mask, is a DataError with its name."""
    for kind in ("image", "label"):
        with _copy(source) as copy:
            case = next(c for c in reader.find_cases(copy) if c.id not in reader.excluded)
            path = case.images[0] if kind == "image" else case.label
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            _expect_data_error(reader, copy, case.id, path, f"half of the {kind} {path.name}")


def _names_a_missing_file(reader: Reader, source: Path) -> None:
    with _copy(source) as copy:
        case = next(c for c in reader.find_cases(copy) if c.id not in reader.excluded)
        case.label.unlink()
        _expect_data_error(reader, copy, case.id, case.images[0], f"an image without {case.label.name}")


def _expect_data_error(reader: Reader, source: Path, case_id: str, path: Path, what: str) -> None:
    try:
        for case in reader.find_cases(source):
            if case.id == case_id:
                reader.read_case(case)
    except DataError as error:
        expect(path.name in str(error), f"an error that names {path.name}, not: {error}")
    else:
        raise AssertionError(f"expected a DataError for {what}")


def _read(reader: Reader, source: Path) -> Iterator[tuple[str, Case]]:
    for files in reader.find_cases(source):
        try:
            yield files.id, reader.read_case(files)
        except ExcludedCaseError:
            continue


def _fingerprints(source: Path) -> dict[Path, tuple[int, str]]:
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in source.rglob("*")
        if path.is_file()
    }


@contextmanager
def _copy(source: Path) -> Iterator[Path]:
    """A copy whose files are made from the last to the first."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / source.name
        for path in sorted((path for path in source.rglob("*") if path.is_file()), reverse=True):
            place = copy / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        yield copy


@contextmanager
def _folder(reader: Reader, source: Path | None) -> Iterator[Path]:
    if source is not None or (source := reader.default_source()) is not None:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = synthesise(reader.name, 3, Path(folder) / reader.name, 0, SMALL[reader.dimensions])
        except UnknownNameError:
            raise ParameterError(
                f"reader {type(reader).__name__} has no synthetic form; give check_reader a small folder in its layout"
            ) from None
        yield made

"""Preparing a data set: every case is read, preprocessed and written once, in parallel, atomically.

Work goes into a hidden folder beside the final one, which is renamed when everything is on the disk. A kill at any
moment leaves nothing that looks finished. A file lock per key lets one process work while others wait for its result.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from workers.datasets.cases import read_and_preprocess
from workers.datasets.folder import (
    FILES,
    INTAKE,
    MANIFEST,
    SPLITS,
    PreparedCase,
    PreparedDataset,
    open_prepared,
    prepared_path,
    sorted_cases,
)
from workers.datasets.keys import key_of
from workers.datasets.parallel import each, processes_for
from workers.datasets.preprocessing import IGNORED
from workers.datasets.reader import CaseFiles, Excluded, ExcludedCaseError, Reader, intake_for
from workers.datasets.regions import count_pixels
from workers.datasets.sources import included_cases, provenance, sha256
from workers.errors import DataError
from workers.files import atomic_write

Progress = Callable[[int, int, str], None]
"""Called with the number of cases done, the number of all cases, and the case that was just done."""

MAX_FOREGROUND = 10_000
"""Foreground coordinates that are kept per case, for patches centred on foreground."""

_PARTIAL = ".partial"
_SYNCED_AT_ONCE = 8

_Kept = npt.NDArray[np.generic] | Mapping[str, npt.NDArray[np.generic]]


def prepare(
    reader: Reader,
    source: Path,
    root: Path,
    *,
    exclude: Sequence[str] = (),
    processes: int | None = None,
    progress: Progress | None = None,
    damaged: Callable[[str], None] | None = None,
) -> PreparedDataset:
    """Prepares a data set under `root`, or opens it when it was prepared before and no file was changed since.

    Args:
        reader: the data set with its options.
        source: its folder, see `locate`.
        root: folder of prepared data sets; also keeps the hashes of source files.
        exclude: ids of cases to leave out.
        processes: how many cases at once; None: one per core, or a single one for a small source.
        progress: called after each case.
        damaged: is told what was wrong with data that are prepared anew.

    Raises:
        DataError: the folder or a case is invalid; the message names the file. No files are left behind.
        ParameterError: an excluded case does not exist.
        WorkerLostError: a process was killed.
    """
    root.mkdir(parents=True, exist_ok=True)
    cases, excluded = included_cases(reader, source, exclude)
    key = key_of(reader, source, cases, excluded, cache=root)
    path = prepared_path(root, reader.name, key)
    with _lock(path):
        _sweep(root, holding=path)
        if path.exists():
            try:
                whole = open_prepared(path)
                whole.verify_here(trusted=0)
                return _with_intake(whole, reader)
            except DataError as error:
                if damaged is not None:
                    damaged(str(error))
        # Not by tempfile, whose folders are the user's alone: who may read it is decided by the umask.
        folder = root / f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}"
        folder.mkdir()
        try:
            manifest = _fill(folder, reader.at(source), source, cases, excluded, processes, progress, key)
            with atomic_write(folder / MANIFEST) as file:
                file.write(json.dumps(manifest.to_dict(), indent=1).encode())
            if path.exists():  # damaged; the same key makes the same again, and trials that wait need their splits
                if (path / SPLITS).is_dir():
                    shutil.copytree(path / SPLITS, folder / SPLITS)
                shutil.rmtree(path)
            folder.rename(path)
            _sync(root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return open_prepared(path)


def _with_intake(prepared: PreparedDataset, reader: Reader) -> PreparedDataset:
    """Data that an older version prepared are told how an image alone is read; no array is touched."""
    intake = None if prepared.intake else intake_for(reader, prepared.channels)
    if intake is None:
        return prepared
    try:
        with atomic_write(prepared.path / INTAKE) as file:
            file.write(json.dumps(intake.to_dict()).encode())
    except OSError:  # a folder that may only be read
        return prepared
    return open_prepared(prepared.path)


def _fill(
    folder: Path,
    reader: Reader,
    source: Path,
    cases: Sequence[CaseFiles],
    excluded: Sequence[Excluded],
    processes: int | None,
    progress: Progress | None,
    key: str,
) -> PreparedDataset:
    """Writes every case and brings its files to the disk, before the manifest makes them a whole."""
    left_out = list(excluded)
    done: list[PreparedCase] = []
    work = partial(_prepare_case, reader, source, folder)
    # A disk takes several files at once in a quarter of the time of one by one, and meanwhile the next case is read.
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as threads:
        on_disk: list[Future[None]] = []
        for count, (numbered, outcome) in enumerate(
            each(work, list(enumerate(cases)), processes_for(reader, cases, processes)), start=1
        ):
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, Excluded):
                left_out.append(outcome)
            else:
                done.append(outcome)
                on_disk += [threads.submit(_sync, path) for path in _files(folder, outcome.index)]
            if progress is not None:
                progress(count, len(cases), numbered[1].id)
        for file in on_disk:
            file.result()
    if not done:
        raise DataError(f"data set {reader.name!r}: no case is left in {source}; {left_out[-1].reason}")
    channels = _channels(folder, done)
    intake = intake_for(reader, channels)
    return PreparedDataset(
        path=folder,
        key=key,
        name=reader.name,
        classes=tuple(reader.classes),
        dimensions=reader.dimensions,
        channels=channels,
        provenance=provenance(source),
        cases=sorted_cases(done),
        excluded=tuple(sorted(left_out)),
        reader=reader.options,
        versions=_versions(),
        channelwise=reader.channelwise,
        ignores=reader.ignores,
        members=reader.members,
        intake={} if intake is None else intake.to_dict(),
    )


def _channels(folder: Path, cases: Sequence[PreparedCase]) -> int:
    """The number of channels, which all cases share.

    Raises:
        DataError: they do not.
    """
    seen: dict[int, str] = {}
    for case in cases:
        # The header of the array is read alone, as `np.load` parses it.
        seen.setdefault(int(np.load(folder / f"{case.index:05d}.image.npy", mmap_mode="r").shape[-1]), case.id)
    if len(seen) > 1:
        found = ", ".join(f"{count} in {case}" for count, case in seen.items())
        raise DataError(f"the images have different numbers of channels: {found}; exclude the odd ones, or fix them")
    return next(iter(seen))


def _prepare_case(
    reader: Reader, source: Path, folder: Path, numbered: tuple[int, CaseFiles]
) -> PreparedCase | Excluded:
    """Reads, preprocesses and writes one case; nothing waits for the disk."""
    index, files = numbered
    try:
        case, ready = read_and_preprocess(reader, files)
    except ExcludedCaseError as error:
        return Excluded(files.id, str(error))
    native = {"label": case.label} if case.field is None else {"label": case.label, "field": case.field}
    arrays: tuple[_Kept, ...] = (ready.image, ready.label, sample_foreground(ready.label), native)
    paths = _files(folder, index)
    return PreparedCase(
        id=files.id,
        index=index,
        group=files.group,
        partition=files.partition,
        files=tuple(path.relative_to(source).as_posix() for path in files.files),
        part=files.part,
        shape=ready.label.shape,
        original_shape=case.label.shape,
        spacing=ready.spacing,
        affine=None if case.affine is None else tuple(tuple(float(v) for v in row) for row in case.affine),
        voxels=count_pixels(ready.label, len(reader.classes), reader.members),
        notes=case.notes,
        native_voxels=count_pixels(case.label, len(reader.classes), reader.members),
        bytes=tuple(_save(path, kept) for path, kept in zip(paths, arrays, strict=True)),
        hashes=tuple(map(sha256, paths)),  # they are in memory still
    )


def sample_foreground(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Coordinates (n, dimensions) of at most `MAX_FOREGROUND` foreground voxels, a uniform draw with a fixed seed."""
    flat = np.flatnonzero(label)
    flat = flat[label.reshape(-1)[flat] != IGNORED]
    if flat.size > MAX_FOREGROUND:
        flat = np.sort(np.random.Generator(np.random.PCG64(0)).choice(flat, MAX_FOREGROUND, replace=False))
    return np.stack(np.unravel_index(flat, label.shape), axis=-1).astype(np.int32)


def _save(path: Path, kept: _Kept) -> int:
    with path.open("wb") as file:
        if isinstance(kept, np.ndarray):
            np.save(file, kept)
        else:
            np.savez_compressed(file, allow_pickle=False, **kept)
    return path.stat().st_size


def _files(folder: Path, index: int) -> list[Path]:
    """The files of a case."""
    return [folder / f"{index:05d}.{kind}" for kind in FILES]


def _sync(path: Path) -> None:
    """Makes a file's content survive a power cut, or a folder's entries after a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"))


def _sweep(root: Path, holding: Path) -> None:
    """Removes what killed preparations left: a partial folder has no owner when nobody holds its lock."""
    for folder in root.glob(f".*{_PARTIAL}"):
        final = folder.with_name(folder.name.removeprefix(".").rsplit(".", 2)[0])
        if final == holding:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            with _lock(final).acquire(blocking=False):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "scipy", "scikit-image", "pillow", "nibabel")}
    return {"python": platform.python_version()} | packages

"""A check of a data set before hours are spent on it: counts, sizes, classes, foreground beside the paper's,
problems."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trials.errors import ExpectedError
from trials.splits import Split
from workers.datasets.cases import read_and_preprocess
from workers.datasets.coverage import (
    coverage_warnings,
    divided_groups,
    emptied_masks,
    missing_classes,
    refuse_absent_classes,
)
from workers.datasets.formats import has_orientation_tag
from workers.datasets.parallel import each, processes_for
from workers.datasets.preprocessing import canonical_order, times
from workers.datasets.reader import CaseFiles, Excluded, ExcludedCaseError, Reader, Table1Row, listed
from workers.datasets.regions import count_pixels
from workers.datasets.similarity import Pairs, Thumbnail, across, alike, alike_warnings, thumbnail
from workers.datasets.sources import hash_files, look_through, provenance, unmatched_files, unmatched_note
from workers.errors import DataError, InputError, shortened


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a case: an `error` stops a preparation, a `warning` is for a person to look at."""

    severity: Literal["error", "warning"]
    case: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in a data set's folder.

    Attributes:
        name: data set.
        source: its folder.
        provenance: real or synthetic.
        cases: usable cases.
        partitions: cases per official partition; empty without one.
        groups: number of patients or sequences, 0 when unknown.
        shapes: original shape, as (z, y, x) for volumes, to number of cases, the most frequent first.
        spacings: lowest and highest voxel size along z, y and x, mm; None for 2D.
        foreground: per foreground class, the mean percentage of an image's voxels on the original grid, as in Table 1.
        table1: the paper's row, where there is one.
        excluded: id and reason of each case that is left out.
        problems: errors first.
        turned: cases of which an image or mask was turned by its orientation tag.
    """

    name: str
    source: Path
    provenance: Literal["real", "synthetic"]
    cases: int
    partitions: dict[str, int]
    groups: int
    shapes: dict[tuple[int, ...], int]
    spacings: tuple[tuple[float, float], ...] | None
    foreground: dict[str, float]
    table1: Table1Row | None
    excluded: tuple[Excluded, ...]
    problems: tuple[Problem, ...]
    turned: int = 0

    @property
    def ok(self) -> bool:
        """Whether the data set can be prepared."""
        return self.cases > 0 and not any(problem.severity == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        values = asdict(self)
        values["source"] = str(self.source)
        values["shapes"] = [{"shape": list(shape), "cases": count} for shape, count in self.shapes.items()]
        return values | {"ok": self.ok}

    def text(self) -> str:
        """Lines for a terminal."""
        paper = self.table1
        lines = [f"{self.name} in {self.source}" + (" (SYNTHETIC)" if self.provenance == "synthetic" else "")]
        lines.append(f"  cases: {self.cases}" + (f" (paper: {paper.images})" if paper else ""))
        if self.partitions:
            lines.append("  official partition: " + ", ".join(f"{k} {v}" for k, v in sorted(self.partitions.items())))
        if self.groups:
            lines.append(f"  groups (patients or sequences): {self.groups}")
        sizes = [f"{times(shape)} ({count})" for shape, count in self.shapes.items()]
        lines.append(f"  sizes: {shortened(sizes, 5)}")
        if self.turned:
            lines.append(f"  turned by their orientation tag: {self.turned} of {self.cases}")
        if self.spacings is not None:
            lines.append("  spacing: " + " × ".join(f"{low:.3g}–{high:.3g}" for low, high in self.spacings) + " mm")
        for i, (label, share) in enumerate(self.foreground.items()):
            lines.append(
                f"  {label}: {share:.2f}% of an image" + (f" (paper: {paper.foreground[i]:g}%)" if paper else "")
            )
        lines += [f"  excluded {line}" for line in listed(self.excluded)]
        lines += [f"  {problem.severity} {problem.case}: {problem.message}" for problem in self.problems]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Seen:
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    shares: tuple[float, ...]
    voxels: tuple[int, ...] = ()
    native_voxels: tuple[int, ...] = ()
    thumbnail: Thumbnail = field(default_factory=lambda: np.zeros(1, np.float32))
    excluded: str = ""
    turned: bool = False
    channels: int = 0
    notes: tuple[str, ...] = ()


class _Counted(NamedTuple):
    id: str
    voxels: tuple[int, ...]
    native_voxels: tuple[int, ...]


def check(
    reader: Reader,
    source: Path,
    *,
    exclude: Sequence[str] = (),
    processes: int | None = None,
    cache: Path | None = None,
    split: Callable[[Sequence[CaseFiles], Pairs], Collection[Split]] | None = None,
    launch: Callable[[Sequence[CaseFiles]], None] | None = None,
) -> CheckReport:
    """Reads and preprocesses every case of a folder, keeps nothing, and reports what is there and what is wrong.

    Args:
        reader: the data set with its options.
        source: its folder.
        exclude: ids of cases to leave out.
        processes: how many cases at once; None: one per core, or a single one for a small source.
        cache: folder in which a preparation keeps the hashes of source files; finds copies more quickly.
        split: makes the splits of the usable cases, given those that look alike. Of the splits is told which classes
            their parts lack, and which groups and near-duplicates they divide.
        launch: refuses usable cases with which a launch would fail.

    Raises:
        DataError: the folder as a whole is not this data set (single bad cases are problems in the report).
        ParameterError: an excluded case does not exist.
        WorkerLostError: a process was killed.
    """
    reader = reader.at(source) if source.is_dir() else reader
    found = look_through(reader, source, exclude)
    cases, excluded = found.cases, found.excluded
    problems = _duplicates(cases, cache)
    seen: dict[str, _Seen] = {}
    for case, outcome in each(partial(_look, reader), cases, processes_for(reader, cases, processes)):
        if isinstance(outcome, DataError):
            problems.append(Problem("error", case.id, str(outcome)))
        elif isinstance(outcome, Exception):
            raise outcome
        elif outcome.excluded:
            excluded.append(Excluded(case.id, outcome.excluded))
        else:
            seen[case.id] = outcome
            if not any(outcome.shares):
                problems.append(Problem("warning", case.id, f"{case.label}: the mask is empty"))
            elif not outcome.native_voxels[0]:
                problems.append(Problem("warning", case.id, f"{case.label}: the mask is all foreground"))
    problems = _once(problems, {case.id for case in cases if case.part})
    if note := unmatched_note(unmatched_files(reader, source, found)):
        problems.append(Problem("warning", "files", note))
    usable = [case for case in cases if case.id in seen]
    counted = [_Counted(case.id, seen[case.id].voxels, seen[case.id].native_voxels) for case in usable]
    try:
        if launch is not None and usable:
            launch(usable)
        if usable:
            refuse_absent_classes(reader.name, reader.classes, [case.voxels for case in counted])
    except ExpectedError as error:
        problems.append(Problem("error", "launch", str(error)))
    pairs = alike(usable, {case.id: seen[case.id].thumbnail for case in usable})
    problems += _coverage(reader, usable, counted, pairs, split)
    problems += _headers(usable, seen)
    shares = np.array([seen[case.id].shares for case in usable]).reshape(len(usable), len(reader.classes) - 1)
    spacings = np.array([seen[case.id].spacing for case in usable])
    return CheckReport(
        name=reader.name,
        source=source,
        provenance=provenance(source),
        cases=len(usable),
        partitions=dict(Counter(case.partition for case in usable if case.partition)),
        groups=len({case.group for case in usable if case.group}),
        shapes=dict(Counter(seen[case.id].shape for case in usable).most_common()),
        spacings=_ranges(spacings) if reader.dimensions == 3 and usable else None,
        foreground=dict(zip(reader.classes[1:], (100 * shares).mean(axis=0).tolist(), strict=True)) if usable else {},
        table1=reader.about.table1,
        turned=sum(seen[case.id].turned for case in usable),
        excluded=tuple(sorted(excluded)),
        problems=tuple(sorted(problems, key=lambda problem: (problem.severity, problem.case))),
    )


def _look(reader: Reader, files: CaseFiles) -> _Seen:
    """Reads one case and tries its preprocessing, with the checks of a preparation."""
    try:
        case, done = read_and_preprocess(reader, files)
    except ExcludedCaseError as error:
        return _Seen((), (), (), excluded=str(error))
    counts = count_pixels(case.label, len(reader.classes), reader.members)
    shape, spacing = case.label.shape, case.spacing
    if case.affine is not None:
        shape, spacing = canonical_order(shape, case.affine), canonical_order(spacing, case.affine)
    shares = tuple(count / case.label.size for count in counts[1:])
    voxels = count_pixels(done.label, len(reader.classes), reader.members)
    turned = reader.turns and any(map(has_orientation_tag, files.files))
    return _Seen(
        shape,
        spacing,
        shares,
        voxels,
        counts,
        thumbnail(done.image),
        channels=done.image.shape[-1],
        notes=case.notes,
        turned=turned,
    )


def _once(problems: Sequence[Problem], parts: Collection[str]) -> list[Problem]:
    """What is wrong with a file of which many slices or blocks are cases is said of the first, with their number."""
    same: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in sorted(problems, key=lambda problem: problem.case):
        of_file = problem.message.removeprefix(f"case {problem.case!r}: ")
        same[problem.severity, of_file if problem.case in parts else f"{problem.case} {of_file}"].append(problem)
    return [
        replace(first, message=f"{first.message} (and in {len(more)} more of its parts)") if more else first
        for first, *more in same.values()
    ]


def _headers(usable: Sequence[CaseFiles], seen: Mapping[str, _Seen]) -> list[Problem]:
    """What headers leave open or contradict, each once with the number of such cases; and channels that differ."""
    noted: dict[str, list[CaseFiles]] = defaultdict(list)
    for case in usable:
        for note in seen[case.id].notes:
            noted[note].append(case)
    problems = [
        Problem("warning", cases[0].id, f"{cases[0].images[0]}: {note}" + _and_more(len(cases) - 1, cases[0]))
        for note, cases in noted.items()
    ]
    channels = {seen[case.id].channels: case for case in reversed(usable)}
    if len(channels) > 1:
        found = ", ".join(f"{count} in {case.id}" for count, case in channels.items())
        problems.append(Problem("error", "channels", f"the images have different numbers of channels: {found}"))
    return problems


def _and_more(count: int, case: CaseFiles) -> str:
    return f" (and {count} more {'parts and volumes' if case.part else 'cases'})" if count else ""


def _coverage(
    reader: Reader,
    usable: Sequence[CaseFiles],
    counted: Sequence[_Counted],
    pairs: Pairs,
    split: Callable[[Sequence[CaseFiles], Pairs], Collection[Split]] | None,
) -> list[Problem]:
    """What masks lose by resizing, and what the splits lack."""
    missing: dict[tuple[str, str], int] = {}
    leaks: list[str] = []
    try:
        if split is not None and usable:
            splits = list(split(usable, pairs))
            missing = missing_classes(counted, reader.classes, splits)
            leaks = [*divided_groups(usable, splits), *alike_warnings(across(pairs, splits))]
    except InputError as error:
        return [Problem("error", "split", str(error))]
    emptied = emptied_masks(counted, reader.classes)
    return [
        *(Problem("warning", case, f"class {label!r} is in the mask, and lost by resizing") for case, label in emptied),
        *(Problem("warning", "masks", text) for text in coverage_warnings({}, emptied)),
        *(Problem("warning", "split", text) for text in (*coverage_warnings(missing, []), *leaks)),
    ]


def _duplicates(cases: Sequence[CaseFiles], cache: Path | None) -> list[Problem]:
    """Cases whose images are the same bytes: with one in training and one in the test set every score is too high."""
    # Of a DICOM series the first slice, and of a pair of header and voxels the header, may be the same in two images.
    first = {case.id: (case.images[0], *case.companions) for case in cases if not case.part}
    hashes = hash_files({path for files in first.values() for path in files}, cache)
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case, files in first.items():
        same[tuple(hashes[path] for path in files)].append(case)
    return [
        Problem("warning", ids[0], f"the same image as {', '.join(ids[1:])}: exclude all but one")
        for ids in same.values()
        if len(ids) > 1
    ]


def _ranges(values: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((float(low), float(high)) for low, high in zip(values.min(axis=0), values.max(axis=0), strict=True))

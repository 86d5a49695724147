"""Which files belong to which case in a folder of 2D images: one image and one mask, or several of either.

A case may have several images, its channels, and several masks: one for each class, or one for each lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from workers.datasets.patterns import GROUP, match_apart, match_groups, pair, require_partners, single, wrong_folder
from workers.datasets.reader import About, CaseFiles
from workers.errors import DataError, ParameterError


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a case are.

    Attributes:
        images: a pattern for each image file of a case.
        masks: each pattern of a mask, with the class that it marks; 0 where the file holds the classes' values.
        unite: whether a pattern may match several masks of an image, which are put together.
        missing: what the absence of a class's file means: an error, or that the class is not there.
        unlabelled: what becomes of images without any mask.

    Raises:
        ParameterError: `{group}` is in some of the patterns alone.
    """

    images: tuple[str, ...]
    masks: tuple[tuple[int, str], ...]
    unite: bool = False
    missing: Literal["refuse", "empty"] = "refuse"
    unlabelled: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        if not self.images or not self.masks:
            raise ParameterError("images and masks: give at least one pattern of each")
        if len(set(self.patterns)) < len(self.patterns):
            raise ParameterError(f"images and masks {list(self.patterns)}: a pattern is there twice")
        if len({GROUP in pattern for pattern in self.patterns}) > 1:
            raise ParameterError(f"images and masks {list(self.patterns)}: {GROUP} belongs into each of them")

    @property
    def patterns(self) -> tuple[str, ...]:
        return (*self.images, *(pattern for _, pattern in self.masks))


def find_cases(source: Path, layout: Layout) -> list[CaseFiles]:
    """The cases of a folder, in the order of their ids; with `{group}`, each with its group.

    Raises:
        DataError: there are no images, a file has no partner, or a case has two files where one is expected.
    """
    masks: list[tuple[int, str, dict[str, tuple[Path, ...]]]] = []
    first = _images(source, layout, 0, {})
    for index, pattern in layout.masks:
        found = match_apart(source, pattern, _others(layout, pattern), first)
        if not layout.unite:
            single(found, source, pattern)
        masks.append((index, pattern, found))
    labelled = {case: paths[0] for _, _, found in masks for case, paths in found.items()}
    first = _images(source, layout, 0, labelled)
    groups = match_groups(source, layout.images[0])
    expected = f"Expected {', '.join(layout.images)} and {', '.join(pattern for _, pattern in layout.masks)}."
    cases = pair(first, labelled, source, expected, layout.unlabelled)
    channels = _further_images(source, layout, {case.id: case.images[0] for case in cases})
    return [
        _with_masks(
            replace(case, images=tuple(files[case.id] for files in channels), group=groups.get(case.id)),
            source,
            layout,
            masks,
        )
        for case in cases
    ]


def excerpt(source: Path, ending: str, beginnings: tuple[str, ...], about: About) -> list[CaseFiles]:
    """The cases of a public set that lie in the folders `images` and `masks`, under the set's own names; none without
    such folders.

    Raises:
        DataError: the names are others, so that this is not the set.
    """
    if not (source / "images").is_dir():
        return []
    cases = find_cases(source, Layout((f"images/{{id}}{ending}",), ((0, "masks/{id}.png"),)))
    if not all(case.id.startswith(beginnings) for case in cases):
        raise wrong_folder(source, about.title, about.layout)
    return cases


def _images(source: Path, layout: Layout, position: int, partners: Mapping[str, Path]) -> dict[str, Path]:
    pattern = layout.images[position]
    return single(match_apart(source, pattern, _others(layout, pattern), partners), source, pattern)


def _others(layout: Layout, pattern: str) -> list[str]:
    return [other for other in layout.patterns if other != pattern]


def _further_images(source: Path, layout: Layout, first: dict[str, Path]) -> list[dict[str, Path]]:
    """The files of each pattern of images, of the cases that have the first."""
    channels = [first]
    for position, pattern in enumerate(layout.images[1:], start=1):
        files = _images(source, layout, position, first)
        require_partners(first, files, f"file {pattern}", source)
        channels.append(files)
    return channels


def _with_masks(
    case: CaseFiles, source: Path, layout: Layout, masks: Sequence[tuple[int, str, Mapping[str, tuple[Path, ...]]]]
) -> CaseFiles:
    lacking = [pattern for _, pattern, found in masks if case.id not in found]
    if lacking and layout.missing == "refuse":
        raise DataError(
            f"{source}: case {case.id!r} has no file {lacking[0]}; add it, or let a class without a file be absent: "
            'options.missing_masks = "empty"'
        )
    files = tuple((index, path) for index, _, found in masks for path in found.get(case.id, ()))
    alone = len(files) == 1 and files[0][0] == 0
    return replace(case, label=files[0][1], masks=() if alone else files)

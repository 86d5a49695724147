"""Nested regions, such as whole tumour ⊃ core ⊃ enhancing: which class each region is, and which pixels belong to it.

A network is trained on exclusive classes: a pixel has the class of the innermost region that it lies in. What is
counted, scored, drawn and written is the region: all pixels of its own class and of the classes within it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from workers.datasets.preprocessing import Label
from workers.errors import ParameterError

Members = tuple[tuple[int, ...], ...]
"""For each class index the classes whose pixels belong to it, itself among them; empty where classes are not nested."""


class LabelOptions:
    """What readers by pattern have in common: the options `regions` and `ignore_label`, which say what a value means.

    A mixin without fields of its own, since fields of a reader are hashed by name and in their place.
    """

    classes: tuple[str, ...]
    regions: dict[str, tuple[int, ...]]
    ignore_label: int | str | None

    @property
    def ignores(self) -> bool:
        return self.ignore_label is not None

    @property
    def members(self) -> Members:
        return members_of(self.ordered_regions) if self.regions else ()

    @property
    def ordered_regions(self) -> dict[str, tuple[int, ...]]:
        """The regions in the order of the classes."""
        return {name: self.regions[name] for name in self.classes[1:]} if self.regions else {}


def check_regions(regions: Mapping[str, Sequence[int]]) -> None:
    """Refuses regions that are not nested: of each two, one lies in the other, or they have nothing in common.

    Raises:
        ParameterError: they are not, or a region has no values, or the background's.
    """
    for name, values in regions.items():
        if not name or name == "background" or not values or 0 in values:
            raise ParameterError(f"regions: {name!r} = {list(values)}: a name, and mask values other than 0")
    names = list(regions)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            one, other = set(regions[first]), set(regions[second])
            if one == other:
                raise ParameterError(f"regions: {first!r} and {second!r} are the same values {sorted(one)}")
            if one & other and not one < other and not other < one:
                raise ParameterError(
                    f"regions: {first!r} {sorted(one)} and {second!r} {sorted(other)} overlap, and neither lies in the "
                    "other; a pixel has one class, so that regions must be nested"
                )


def values_of(regions: Mapping[str, Sequence[int]]) -> dict[int, int]:
    """Mask value to the index of the innermost region that has it; 0 is the background. Empty without regions."""
    innermost = sorted(enumerate(regions.values(), start=1), key=lambda entry: -len(entry[1]))
    if not regions:
        return {}
    return {0: 0} | {value: index for index, values in innermost for value in sorted(values)}


def members_of(regions: Mapping[str, Sequence[int]]) -> Members:
    """The classes of each region by index; the background is a class of its own."""
    values = [frozenset[int](), *(frozenset(own) for own in regions.values())]
    within = [tuple(i for i, own in enumerate(values) if i and own <= region) for region in values[1:]]
    return ((0,), *within)


def belongs(label: npt.NDArray[np.integer], index: int, members: Members) -> npt.NDArray[np.bool_]:
    """Where a class, or the region of that index, is."""
    mask: npt.NDArray[np.bool_] = np.isin(label, members[index]) if members else label == index
    return mask


def count_pixels(label: Label, classes: int, members: Members = ()) -> tuple[int, ...]:
    """Pixels of each class, or of each region; ignored ones are of none."""
    # A histogram would copy the label into numbers of eight bytes.
    counts = [int(np.count_nonzero(label == index)) for index in range(classes)]
    return tuple(sum(counts[i] for i in own) for own in members) if members else tuple(counts)

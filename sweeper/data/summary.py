"""What a sweep remembers of its data sets, for its report and for a resume."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.data.preparation import ReadyDataset
from sweeper.grids.details import DatasetDetails, Groups, SplitSizes
from workers.datasets.coverage import shared_groups


def describe(readies: Mapping[str, ReadyDataset]) -> dict[str, DatasetDetails]:
    """What a sweep remembers of its data sets."""
    return {
        name: DatasetDetails(
            prepared=one.prepared.key,
            provenance=one.identity.provenance,
            cases=len(one.prepared.cases),
            split=SplitSizes(len(one.split.train), len(one.split.validation), len(one.split.test)),
            split_hash=one.split.hash,
            split_settings=_split_settings(one),
            excluded=tuple((case, reason) for case, reason in one.prepared.excluded),
            groups=_groups(one),
            ungrouped=one.ungrouped,
            images=one.images,
            voxels=one.voxels,
            missing=tuple(one.missing),
            emptied=tuple(one.emptied),
            alike=len(one.alike),
            unmatched=one.unmatched,
        )
        for name, one in readies.items()
    }


def _split_settings(one: ReadyDataset) -> dict[str, object]:
    """The settings of the first split, and what tells the others from it."""
    settings = dict(one.split.settings)
    if len({fold for _, fold in one.splits}) > 1:
        settings["fold"] = None
    if len({one.splits[place].hash for place in one.splits if place[1] in (None, 0)}) > 1:
        settings["resplit"] = True
    return settings


def _groups(one: ReadyDataset) -> Groups:
    """Patients or sequences that the files name, and how many of them lie both in a test set and outside of it."""
    group = {case.id: case.group for case in one.prepared.cases}
    splits = one.different_splits
    known = {group[case] for own in splits for case in (*own.train, *own.validation, *own.test)} - {None}
    shared = shared_groups(one.prepared.cases, splits)
    return Groups(known=len(known), shared=len(shared), partial=bool(known and one.ungrouped))

"""What a sweep remembers beside its grid: its prepared data, its plug-ins and its searches.

Storage keeps it as one JSON object; here it is typed. A field that an older version did not store has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from storage.records import IMPORTED, Sweep
from sweeper.search.details import SearchDetails
from trials.messages import PluginSource


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """How many cases train, validate and test."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Patients or sequences: how many are known, and how many lie both in the test set and outside of it.

    `partial`: some images have none, or a group is less than a patient, such as a volume; `ungrouped` says which.
    """

    known: int = 0
    shared: int = 0
    partial: bool = False


_PAIRS = ("excluded", "missing", "emptied")
"""The fields of `DatasetDetails` that hold pairs."""


@dataclass(frozen=True, slots=True)
class DatasetDetails:
    """A data set as it was prepared for the sweep. No paths.

    Attributes:
        prepared: key of the prepared arrays.
        provenance: `real` or `synthetic`.
        cases: how many there are.
        split, split_hash, split_settings: how they were split.
        excluded: cases that were left out, each with the reason.
        groups: patients or sequences in the split.
        ungrouped: why the split knows no groups, where it should.
        missing: part of the split (`training`, `validation`, `test`) and class of which no image there has a pixel.
        alike: how many pairs of images look alike and lie in different parts of the split.
        emptied: case and class of each mask that lost the class by resizing.
        unmatched: which image files of the source belong to no case; "" where none.
        images, voxels: how many train, and how large one is; what the predicted times depend on.
    """

    prepared: str = ""
    provenance: str = "real"
    cases: int = 0
    split: SplitSizes | None = None
    split_hash: str = ""
    split_settings: Mapping[str, object] = field(default_factory=dict)
    excluded: tuple[tuple[str, str], ...] = ()
    groups: Groups = Groups()
    ungrouped: str = ""
    images: int = 0
    voxels: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    emptied: tuple[tuple[str, str], ...] = ()
    alike: int = 0
    unmatched: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the stored form."""
        values = {**asdict(self), **{name: [list(one) for one in getattr(self, name)] for name in _PAIRS}}
        if not self.groups.partial:
            del values["groups"]["partial"]
        if not self.alike:
            del values["alike"]
        if not self.unmatched:
            del values["unmatched"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; reads every stored form."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        if split := known.get("split"):
            known["split"] = SplitSizes(**split)
        known["groups"] = Groups(**known.get("groups", {}))
        for pairs in _PAIRS:
            known[pairs] = tuple((first, second) for first, second in known.get(pairs, ()))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class SweepDetails:
    """Data sets by name, plug-ins, and searches by the name of their study.

    Attributes:
        data, plugins, searches: see above.
        imported: whether the sweep was made elsewhere, so that its plug-ins do not run unless they are allowed.
        allowed: the hashes of those plug-ins of an imported sweep that a person has allowed to run here.
    """

    data: Mapping[str, DatasetDetails] = field(default_factory=dict)
    plugins: tuple[PluginSource, ...] = ()
    searches: Mapping[str, SearchDetails] = field(default_factory=dict)
    imported: bool = False
    allowed: tuple[str, ...] = ()

    @property
    def runnable(self) -> tuple[PluginSource, ...]:
        """The plug-ins that may run: all of an own sweep; of an imported one those that were allowed."""
        return tuple(plugin for plugin in self.plugins if not self.imported or plugin.source in self.allowed)

    @property
    def inert(self) -> tuple[PluginSource, ...]:
        """The plug-ins that came with an imported sweep and may not run."""
        return tuple(plugin for plugin in self.plugins if plugin not in self.runnable)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the stored form."""
        searches = {name: search.to_dict() for name, search in self.searches.items()}
        return {
            **({"search": searches} if searches else {}),
            "data": {name: one.to_dict() for name, one in self.data.items()},
            "plugins": [plugin.to_dict() for plugin in self.plugins],
            **({IMPORTED: {"allowed": list(self.allowed)}} if self.imported else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; reads every stored form."""
        return cls(
            data={name: DatasetDetails.from_dict(one) for name, one in values.get("data", {}).items()},
            plugins=tuple(map(PluginSource.from_dict, values.get("plugins", ()))),
            searches={name: SearchDetails.from_dict(one) for name, one in values.get("search", {}).items()},
            imported=IMPORTED in values,
            allowed=tuple(values.get(IMPORTED, {}).get("allowed", ())),
        )


def details_of(sweep: Sweep) -> SweepDetails:
    """What a stored sweep remembers."""
    return SweepDetails.from_dict(sweep.details)

"""A split of a data set: which cases train a network, which validate it, and which test it. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trials.identity import AlwaysHashed, hashed_fields
from trials.spec import content_hash


@dataclass(frozen=True, slots=True)
class Split:
    """Case ids of each partition, sorted; `settings` says how it was made."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """16 hex digits over the cases of each partition. `settings` move no number and stay out of it.

        A field that is added is left out while it has its default (`trials.identity`).
        """
        hashed = hashed_fields(self, _ALWAYS_HASHED)
        return content_hash({name: value for name, value in hashed.items() if name != "settings"})

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "train": list(self.train),
            "validation": list(self.validation),
            "test": list(self.test),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Split:
        """The inverse of `to_dict`."""
        train, validation, test = (tuple(values[name]) for name in ("train", "validation", "test"))
        return cls(train, validation, test, dict(values["settings"]))


_ALWAYS_HASHED: AlwaysHashed = {Split: ("train", "validation", "test")}

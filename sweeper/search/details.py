"""What a sweep remembers of its searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from sweeper.search.samplers import SearchSettings
from sweeper.search.space import Domain, domain_of


@dataclass(frozen=True, slots=True)
class SearchDetails:
    """A search as it was when the sweep was stored.

    Attributes:
        dataset, loss: what it is about.
        settings: how it searches.
        hash: `SearchSettings.hash` of the settings.
        points: how many points it tries at most.
        domains: what is chosen from.
        family: see `sweeper.search.space.family`.
        seeds: the seed of each repeat.
        optuna: the version of Optuna.
    """

    dataset: str
    loss: str
    settings: SearchSettings
    hash: str
    points: int
    domains: tuple[Domain, ...]
    family: str
    seeds: tuple[int, ...]
    optuna: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the searched parameters."""
        return tuple(domain.name for domain in self.domains)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the stored form."""
        return {
            "dataset": self.dataset,
            "loss": self.loss,
            "settings": {**asdict(self.settings), "optuna": self.optuna},
            "hash": self.hash,
            "points": self.points,
            "domains": [domain.to_dict() for domain in self.domains],
            "family": self.family,
            "seeds": list(self.seeds),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; reads every stored form."""
        settings, known = values["settings"], {field.name for field in fields(SearchSettings)}
        return cls(
            dataset=values["dataset"],
            loss=values["loss"],
            settings=SearchSettings(**{name: value for name, value in settings.items() if name in known}),
            hash=values.get("hash", ""),
            points=values["points"],
            domains=tuple(map(domain_of, values["domains"])),
            family=values["family"],
            seeds=tuple(values["seeds"]),
            optuna=settings.get("optuna", ""),
        )

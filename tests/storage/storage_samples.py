"""Small records for the tests of storage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select, update

from storage.database import Database
from storage.models import LeaseRow, SplitRow
from storage.records import Lease, NewTrial
from storage.repository import Repository
from tests.results import result, scored
from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.splits import Split


def trial_hash(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()[:16]


def new_trials(count: int, *, prefix: str = "", study: str | None = None) -> list[NewTrial]:
    return [
        NewTrial(
            hash=trial_hash(f"{prefix}{index}"),
            spec=spec(index / 10),
            label=f"nuclei · focal · γ={index / 10:g}",
            dataset="nuclei",
            loss="focal",
            gamma=index / 10,
            repeat=0,
            seed=2**40 + index,
            results_version=1,
            study=study,
        )
        for index in range(count)
    ]


def spec(gamma: float) -> TrialSpec:
    return TrialSpec(DataSpec("nuclei", ("background", "kidney", "tumour"), 2), LossSpec("focal", {"gamma": gamma}))


def epoch(number: int, *, loss: float = 0.5, steps: int = 10) -> Epoch:
    return Epoch(number, loss, loss / 2, 0.25, 0.1, steps, 1.5, waited=0.25)


def scores(images: int = 2, classes: Sequence[str] = ("kidney", "tumour")) -> tuple[Score, ...]:
    """The last image's patient is known, and has a name that formats like to lose."""
    return tuple(
        replace(
            scored(partition, f"case-{image:03d}", label, 0.75, 0.6, 0.5, None, hd95=math.inf, asd=1.25),
            group='é,"\n' if image == images - 1 else "",
        )
        for partition in ("test", "validation")
        for image in range(images)
        for label in classes
    )


def outcome(epochs: int = 3, *, images: int = 2, resumed_from: int = 0) -> TrialResult:
    return result(
        "",
        scores(images),
        (epoch(number, loss=1 / number) for number in range(1, epochs + 1)),
        best_epoch=max(epochs, 1),
        steps=10 * (epochs - resumed_from),
        resumed_from=resumed_from,
        parameters=31_000_000_000,
        environment={"python": "3.11", "device": "cpu"},
    )


def stored_splits(repository: Repository) -> list[tuple[str, str, Split]]:
    """Data set, key of the prepared data, and split of every stored split, by data set and hash."""

    def work(connection: Connection) -> list[tuple[str, str, Split]]:
        rows = connection.execute(select(*SplitRow.__table__.c).order_by(SplitRow.dataset, SplitRow.hash))
        return [
            (r.dataset, r.prepared, Split(tuple(r.train), tuple(r.validation), tuple(r.test), r.settings)) for r in rows
        ]

    return repository.database.read(work)


def let_lease_run_out(database: Database, sweep_id: int, seconds: float = 100_000) -> None:
    """Moves the end of the sweep's lease into the past, as time would, or a clock."""
    past = update(LeaseRow).where(LeaseRow.sweep_id == sweep_id).values(expires_at=LeaseRow.expires_at - seconds)
    database.write(lambda connection: connection.execute(past))


def make_sweep(
    repository: Repository, count: int = 3, name: str = "study", seconds: float = 1000, process: str = ""
) -> Lease:
    repository.create_sweep(name, grid={"losses": ["focal"]}, trials=new_trials(count))
    return repository.acquire_lease(name, f"holder of {name}", seconds, process=process)

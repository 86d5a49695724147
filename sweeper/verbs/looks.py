"""Verbs that look: the sweeps, how one stands, its results, what it could find, one trial."""

from __future__ import annotations

from storage.errors import UnknownSweepError
from sweeper.verbs.declaration import File, Role, verb
from sweeper.verbs.host import Host, Start
from sweeper.verbs.requests import CompareRequest, HashPrefix, ResultsRequest, StatusRequest, SweepName
from sweeper.views.objects import (
    ComparedObject,
    Counts,
    PowerObject,
    Results,
    SweepPower,
    SweepStatus,
    SweepSummary,
    TrialObject,
)
from sweeper.views.result_tables import results_object, results_parquet
from sweeper.views.status import status_of, summaries, trial_of

PARQUET = "application/vnd.apache.parquet"


@verb("list", "GET", "/sweeps", Role.READ, command="list")
def list_sweeps(host: Host) -> list[SweepSummary]:
    """Every sweep, newest first."""
    stored = summaries(host.repository)
    known = {one.sweep for one in stored}
    return [*(_not_stored(start) for start in host.starts.all() if start.sweep not in known), *stored]


@verb("status", "GET", "/sweeps/{sweep}", Role.READ, command="status")
def status(host: Host, sweep: SweepName, asked: StatusRequest) -> SweepStatus:
    """How a sweep stands, trial by trial."""
    start = host.starts.of(sweep)
    try:
        found = status_of(host.repository, sweep, brief=asked.brief)
    except UnknownSweepError:
        if start is None:
            raise
        line = _not_stored(start)
        return SweepStatus(
            sweep=line.sweep,
            state=line.state,
            reason=line.reason,
            rehearsal=line.rehearsal,
            counts=line.counts,
            failures={},
            again={},
            lease=None,
            trials=[],
        )
    if start is not None and (found.lease is None or found.lease.expired):
        found.reason = _reason(start)
    return found


@verb("results", "GET", "/sweeps/{sweep}/results", Role.READ, command="results", file=PARQUET)
def results(host: Host, sweep: SweepName, asked: ResultsRequest) -> Results | File:
    """The trials and their scores per image and class, so far."""
    if asked.format == "json":
        return Results.model_validate(results_object(host.repository, sweep))
    return File(f"{sweep}-{asked.table}.parquet", results_parquet(host.repository, sweep, asked.table))


@verb("power", "GET", "/sweeps/{sweep}/power", Role.READ, command="power")
def power(host: Host, sweep: SweepName) -> SweepPower:
    """Which difference between losses such a sweep finds, and how many repeats find a small one."""
    from sweeper.run.power import power_of_sweep

    found = power_of_sweep(host.repository, host.name(sweep))
    return SweepPower(sweep=sweep, power=[PowerObject.model_validate(one.to_dict()) for one in found])


@verb("compare", "GET", "/sweeps/{sweep}/compare", Role.READ, command="compare")
def compare(host: Host, sweep: SweepName, asked: CompareRequest) -> ComparedObject:
    """Which trials sweeps share, which settings differ, and how the same losses score in each."""
    from sweeper.run.compared import compare_sweeps  # with the analysis

    names = [sweep, *(name.strip() for name in asked.others.split(","))]
    return compare_sweeps(host.repository, [host.name(name) for name in names])


@verb("trial", "GET", "/trials/{hash}", Role.READ, command="show")
def trial(host: Host, hash: HashPrefix) -> TrialObject:
    """Everything about one trial, by the first digits of its hash."""
    return trial_of(host.repository, hash)


def _not_stored(start: Start) -> SweepSummary:
    return SweepSummary(
        sweep=start.sweep,
        state="starting" if start.failure is None else "failed",
        reason=_reason(start),
        rehearsal=bool((start.grid or {}).get("rehearsal", False)),
        counts=Counts.of({}),
        created_at=start.at,
        finished_at=None,
    )


def _reason(start: Start) -> str:
    return "being started" if start.failure is None else f"could not be started: {start.failure}"

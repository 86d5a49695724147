"""Prometheus metrics of all coordinators, from the database alone: whichever machine they run on.

Labels take few values: the states and kinds of failure, and the names of open sweeps, at most `MOST_SWEEPS` of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from storage.database import Database
from storage.totals import Totals, read_totals

MOST_SWEEPS = 50
BOUNDS = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0, 48 * 3600.0)
"""Of the histogram of a trial's seconds: from the demo's trials to those of 3D volumes."""


class Collector:
    """What Prometheus asks for, read when it asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Nothing is known before the first look, and registering must not need the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        totals = read_totals(self._database, BOUNDS, most_sweeps=MOST_SWEEPS)
        yield from families(totals)


def families(totals: Totals) -> Iterator[Metric]:
    """The metrics of one moment."""
    sweeps = GaugeMetricFamily("sweeper_sweeps", "Sweeps by state.", labels=["state"])
    for state, count in totals.sweeps.items():
        sweeps.add_metric([state.value], count)
    yield sweeps
    trials = GaugeMetricFamily(
        "sweeper_trials", f"Trials by state, of the newest {MOST_SWEEPS} open sweeps.", labels=["sweep", "state"]
    )
    lease = GaugeMetricFamily(
        "sweeper_lease_seconds",
        "Seconds until the coordinator's lease expires; below 0: the coordinator is lost.",
        labels=["sweep"],
    )
    for sweep in totals.open:
        for trial_state, count in sweep.trials.items():
            trials.add_metric([sweep.name, trial_state.value], count)
        if sweep.lease_seconds is not None:
            lease.add_metric([sweep.name], sweep.lease_seconds)
    yield trials
    yield lease
    running = sum(count for state, count in totals.attempts.items() if state == "running")
    yield GaugeMetricFamily("sweeper_attempts_running", "Attempts at trials that run now.", value=running)
    ended = CounterMetricFamily("sweeper_attempts_ended", "Attempts at trials that have ended.", labels=["state"])
    for attempt_state, count in totals.attempts.items():
        if attempt_state != "running":
            ended.add_metric([attempt_state.value], count)
    yield ended
    failures = CounterMetricFamily("sweeper_failures", "Attempts that failed or were lost.", labels=["kind"])
    for kind, count in totals.failures.items():
        failures.add_metric([kind.value], count)
    yield failures
    seconds = HistogramMetricFamily("sweeper_trial_seconds", "Training and evaluation of finished trials.")
    buckets = [(f"{bound:g}", float(count)) for bound, count in zip(BOUNDS, totals.trial_seconds, strict=True)]
    seconds.add_metric([], [*buckets, ("+Inf", float(totals.trials_timed))], totals.trial_seconds_sum)
    yield seconds


def exposition(database: Database) -> bytes:
    """The metrics as the text that Prometheus reads.

    Raises:
        DatabaseUnavailableError: the database is unreachable.
    """
    registry = CollectorRegistry()
    registry.register(Collector(database))
    return generate_latest(registry)

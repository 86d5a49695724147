"""Reads of all epochs and all scores of a sweep, by column: a large study has millions of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, func, literal, or_, select, type_coerce

from storage._leases import LeaseMethods
from storage._statements import AnySelect, sweep_row
from storage.models import EpochRow, MembershipRow, ScoreRow, TrialRow
from trials import metrics

SCORE_KEYS = ("trial", "partition", "case", "label")
"""What tells one score from another."""

SCORE_TEXTS = (*SCORE_KEYS, "group")
"""The columns of `ResultColumnMethods.score_columns` that hold text; all others are metrics."""

EPOCH_COLUMNS = ("trial", "epoch", "loss", "val_loss", "val_dsc", "learning_rate", "steps", "seconds", "waited")


class ResultColumnMethods(LeaseMethods):
    """The part of `Repository` that reads results by column."""

    def epoch_columns(self, sweep_name: str) -> Mapping[str, list[Any]]:
        """The histories of all trials of the sweep by column, in the order of its grid: `trial` and `Epoch`'s fields.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        statement = (
            select(*(EpochRow.__table__.c[name] for name in EPOCH_COLUMNS))
            .join(MembershipRow, MembershipRow.trial == EpochRow.trial)
            .join(TrialRow, TrialRow.hash == EpochRow.trial)
            .where(in_history())
            .order_by(MembershipRow.position, EpochRow.epoch)
        )
        return self._columns(sweep_name, statement, EPOCH_COLUMNS)

    def score_columns(self, sweep_name: str, trials: Sequence[str] | None = None) -> Mapping[str, list[Any]]:
        """The scores of the sweep's finished trials, or of these of them, by column, in the order of its grid, then
        partition, case and label by code point.

        The columns are trial, partition, case, label, group (empty where it is not known), then every metric that is
        computed without being asked for and every other one that is stored, in the order of the registry, then those
        that are stored and not registered here. None is a value that is undefined, or was not computed.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        # As plain text: all of it is, and a look at each value takes a while with a million rows.
        texts: list[ColumnElement[Any]] = [
            type_coerce(ScoreRow.__table__.c[name], Text) for name in (*SCORE_TEXTS, "metrics")
        ]
        statement = (
            select(*texts)
            .join(MembershipRow, MembershipRow.trial == ScoreRow.trial)
            .order_by(MembershipRow.position, ScoreRow.partition, ScoreRow.case, ScoreRow.label)
        )
        if trials is not None:
            statement = statement.where(ScoreRow.trial.in_(trials))
        with _no_collection():
            columns = dict(self._columns(sweep_name, statement, (*SCORE_TEXTS, "metrics")))
            # All texts are parsed at once: with a large study that takes a third of the time.
            values = json.loads(f"[{','.join(columns.pop('metrics'))}]")
            names = metrics.in_order([*metrics.listed(), *dict.fromkeys(chain.from_iterable(values))])
            return {**columns, **{name: [row.get(name) for row in values] for name in names}}

    def knows_groups(self, sweep_name: str) -> bool:
        """Whether any score of the sweep has the group of its image.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> bool:
            sweep = sweep_row(connection, sweep_name)
            known = select(literal(1)).join(MembershipRow, MembershipRow.trial == ScoreRow.trial)
            known = known.where(MembershipRow.sweep_id == sweep.id, ScoreRow.group != "").limit(1)
            return connection.execute(known.select_from(ScoreRow)).first() is not None

        return self.database.read(work)

    def scores_pulse(self, sweep_name: str) -> str:
        """A text that differs when a trial of the sweep got scores, or was scored by another metric.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> str:
            sweep = sweep_row(connection, sweep_name)
            sizes = select(func.count(), func.sum(func.length(type_coerce(ScoreRow.metrics, Text))))
            own = sizes.join(MembershipRow, MembershipRow.trial == ScoreRow.trial).where(
                MembershipRow.sweep_id == sweep.id
            )
            count, size = connection.execute(own.select_from(ScoreRow)).one()
            return f"{sweep.id} {count} {size}"

        return self.database.read(work)

    def stored_metrics(self, sweep_name: str, partition: str = "test") -> dict[str, frozenset[str]]:
        """The metrics that every image and class of a finished trial was scored by, undefined values too; by trial.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        statement = (
            select(*(ScoreRow.__table__.c[name] for name in ("trial",)), type_coerce(ScoreRow.metrics, Text))
            .join(MembershipRow, MembershipRow.trial == ScoreRow.trial)
            .where(ScoreRow.partition == partition)
        )
        columns = self._columns(sweep_name, statement, ("trial", "metrics"))
        found: dict[str, frozenset[str]] = {}
        for trial, text in zip(columns["trial"], columns["metrics"], strict=True):
            names = frozenset(json.loads(text))
            found[trial] = found.get(trial, names) & names
        return found

    def _columns(self, sweep_name: str, statement: AnySelect, names: tuple[str, ...]) -> Mapping[str, list[Any]]:
        def work(connection: Connection) -> Mapping[str, list[Any]]:
            sweep = sweep_row(connection, sweep_name)
            rows = connection.execute(statement.where(MembershipRow.sweep_id == sweep.id)).fetchall()
            columns = zip(*rows, strict=True) if rows else ([] for _ in names)
            return {name: list(column) for name, column in zip(names, columns, strict=True)}

        return self.database.read(work)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: over the rows of a large study it takes as long as to read them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def in_history() -> ColumnElement[bool]:
    """Whether an epoch counts. One beyond the end is left from an attempt that was lost; the trial's own end counts."""
    return or_(TrialRow.finished_at.is_(None), EpochRow.epoch <= TrialRow.epochs)

"""Reads: what dashboards, the analysis and the coordinator see. None of them locks or changes anything."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, Select, case, func, literal, select

from storage._leases import end_of, lease_columns
from storage._result_columns import ResultColumnMethods, in_history
from storage._statements import (
    attempt_columns,
    request_columns,
    sweep_row,
    to_attempt,
    to_request,
    to_sweep,
    to_trial,
    trial_columns,
)
from storage.columns import part
from storage.errors import UnknownTrialError
from storage.models import (
    AttemptRow,
    EnvironmentRow,
    EpochRow,
    LeaseRow,
    MembershipRow,
    RequestRow,
    SweepRow,
    TrialRow,
)
from storage.records import Attempt, Request, Sweep, SweepProgress, TrainingTime, Trial
from trials.results import Epoch
from trials.spec import DataSpec, ModelSpec, TrainingSpec, read_part
from trials.states import AttemptState, FailureKind, TrialState

AT_ONCE = 1000
"""So many keys are looked up by one statement."""


class ReadMethods(ResultColumnMethods):
    """The part of `Repository` that only reads."""

    def sweep(self, name: str) -> Sweep:
        """The sweep `name`.

        Raises:
            UnknownSweepError: there is none; the message names the nearest.
        """
        return self.database.read(lambda connection: to_sweep(sweep_row(connection, name)))

    def sweeps(self) -> list[Sweep]:
        """All sweeps, oldest first."""
        statement = select(*SweepRow.__table__.c).order_by(SweepRow.id)
        return self.database.read(lambda c: [to_sweep(row) for row in c.execute(statement)])

    def progress(self) -> list[SweepProgress]:
        """Every sweep with the counts of its trials, oldest first: three reads, however many sweeps and trials."""

        def work(connection: Connection) -> list[SweepProgress]:
            counts: dict[int, dict[TrialState, int]] = {}
            ended: dict[int, float] = {}
            statement = (
                select(MembershipRow.sweep_id, TrialRow.state, func.count(), func.max(TrialRow.finished_at))
                .join(TrialRow, TrialRow.hash == MembershipRow.trial)
                .group_by(MembershipRow.sweep_id, TrialRow.state)
            )
            for sweep, state, count, last in connection.execute(statement):
                counts.setdefault(sweep, {})[TrialState(state)] = count
                ended[sweep] = max(ended.get(sweep, 0.0), last or 0.0)
            leases = connection.execute(lease_columns().where(LeaseRow.holder != ""))
            held = {row.sweep_id for row in leases if end_of(row) > row.now}
            sweeps = connection.execute(select(*SweepRow.__table__.c).order_by(SweepRow.id))
            return [
                SweepProgress(to_sweep(row), counts.get(row.id, {}), row.id in held, ended.get(row.id, 0.0))
                for row in sweeps
            ]

        return self.database.read(work)

    def trials(
        self, sweep_name: str, at_most: int | None = None, *, datasets: Collection[str] | None = None
    ) -> list[Trial]:
        """The sweep's trials in the order of its grid: all, or so many, which one would look for first.

        Those are the ones that are neither finished nor queued; then the finished. `datasets`: only those on them.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> list[Trial]:
            sweep = sweep_row(connection, sweep_name)
            statement = trial_columns().where(MembershipRow.sweep_id == sweep.id)
            if datasets is not None:
                statement = statement.where(TrialRow.dataset.in_(datasets))
            if at_most is not None:
                calm = case({TrialState.FINISHED: 1, TrialState.QUEUED: 2}, value=TrialRow.state, else_=0)
                statement = statement.order_by(calm).limit(at_most)
            found = connection.execute(statement.order_by(MembershipRow.position))
            return sorted(map(to_trial, found), key=lambda trial: trial.position)

        return self.database.read(work)

    def trial(self, hash_prefix: str, sweep_name: str | None = None) -> Trial:
        """The one trial whose hash starts so, as `sweep_name` or else the oldest sweep that has it sees it.

        Raises:
            UnknownSweepError: there is no such sweep.
            UnknownTrialError: there is no such trial, or more than one.
        """

        def work(connection: Connection) -> Trial:
            statement = trial_columns()
            where = ""
            if sweep_name is not None:
                statement = statement.where(MembershipRow.sweep_id == sweep_row(connection, sweep_name).id)
                where = f" in sweep {sweep_name!r}"
            found: dict[str, Trial] = {}
            # A whole hash is found by its key; for the first digits of one, the database reads every trial.
            for matches in (TrialRow.hash == hash_prefix, TrialRow.hash.startswith(hash_prefix, autoescape=True)):
                ordered = statement.where(matches).order_by(TrialRow.hash, MembershipRow.sweep_id)
                for row in connection.execute(ordered):
                    found.setdefault(row.hash, to_trial(row))
                if found:
                    break
            if len(found) == 1 and hash_prefix:
                return next(iter(found.values()))
            if not found or not hash_prefix:
                raise UnknownTrialError(f"no trial's hash starts with {hash_prefix!r}{where}; see: sweeper status")
            raise UnknownTrialError(
                f"{len(found)} trials{where} have hashes that start with {hash_prefix!r}: "
                f"{', '.join(list(found)[:5])}{', …' if len(found) > 5 else ''}; give more digits"
            )

        return self.database.read(work)

    def trials_by_hash(self, hashes: Sequence[str]) -> dict[str, Trial]:
        """Those of these trials that are stored, each as the oldest sweep that has it sees it."""

        def work(connection: Connection) -> dict[str, Trial]:
            found: dict[str, Trial] = {}
            for start in range(0, len(hashes), AT_ONCE):
                some = trial_columns().where(TrialRow.hash.in_(hashes[start : start + AT_ONCE]))
                for row in connection.execute(some.order_by(MembershipRow.sweep_id)):
                    if row.hash not in found:
                        found[row.hash] = to_trial(row)
            return found

        return self.database.read(work)

    def trials_of_loss(self, dataset: str, loss: str) -> list[Trial]:
        """The trials of a loss on a data set in every sweep, once each, as the oldest sweep that has it sees it."""
        statement = trial_columns().where(TrialRow.dataset == dataset, TrialRow.loss == loss)
        statement = statement.order_by(MembershipRow.sweep_id, MembershipRow.position)

        def work(connection: Connection) -> list[Trial]:
            found: dict[str, Trial] = {}
            for row in connection.execute(statement):
                found.setdefault(row.hash, to_trial(row))
            return list(found.values())

        return self.database.read(work)

    def counts(self, sweep_name: str) -> dict[TrialState, int]:
        """How many of the sweep's trials are in each state; every state is there.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        found: Counter[TrialState] = Counter()
        for (state, _), count in self.ends(sweep_name).items():
            found[state] += count
        return {state: found[state] for state in TrialState}

    def ends(self, sweep_name: str) -> dict[tuple[TrialState, FailureKind | None], int]:
        """How many of the sweep's trials are in each state, the failed ones by what ended them.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> dict[tuple[TrialState, FailureKind | None], int]:
            sweep = sweep_row(connection, sweep_name)
            statement = (
                select(TrialRow.state, TrialRow.failure, func.count().label("trials"))
                .join(MembershipRow, MembershipRow.trial == TrialRow.hash)
                .where(MembershipRow.sweep_id == sweep.id)
                .group_by(TrialRow.state, TrialRow.failure)
            )
            return {
                (TrialState(row.state), None if row.failure is None else FailureKind(row.failure)): row.trials
                for row in connection.execute(statement)
            }

        return self.database.read(work)

    def attempts(self, trial_hash: str) -> list[Attempt]:
        """All attempts at a trial, of whatever sweep, oldest first."""
        statement = attempt_columns().where(AttemptRow.trial == trial_hash).order_by(AttemptRow.number)
        return self.database.read(lambda c: [to_attempt(row) for row in c.execute(statement)])

    def attempts_of_sweep(self, sweep_name: str) -> list[Attempt]:
        """All attempts at the sweep's trials, of whatever sweep, in the order in which they began.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> list[Attempt]:
            sweep = sweep_row(connection, sweep_name)
            statement = (
                attempt_columns()
                .join(MembershipRow, MembershipRow.trial == AttemptRow.trial)
                .where(MembershipRow.sweep_id == sweep.id)
                .order_by(AttemptRow.id)
            )
            return [to_attempt(row) for row in connection.execute(statement)]

        return self.database.read(work)

    def setbacks(self, sweep_name: str, *, but_of: TrialState | None = None) -> dict[str, dict[FailureKind, int]]:
        """How many attempts at each of the sweep's trials failed or were lost, by kind, in the order in which they
        began. Trials without any are left out, and those that are in the state `but_of`.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> dict[str, dict[FailureKind, int]]:
            sweep = sweep_row(connection, sweep_name)
            statement = (
                select(AttemptRow.trial, AttemptRow.kind)
                .join(MembershipRow, MembershipRow.trial == AttemptRow.trial)
                .where(MembershipRow.sweep_id == sweep.id, AttemptRow.kind.is_not(None))
                .order_by(AttemptRow.id)
            )
            if but_of is not None:
                statement = statement.join(TrialRow, TrialRow.hash == AttemptRow.trial).where(TrialRow.state != but_of)
            found: dict[str, dict[FailureKind, int]] = {}
            for row in connection.execute(statement):
                counts, kind = found.setdefault(row.trial, {}), FailureKind(row.kind)
                counts[kind] = counts.get(kind, 0) + 1
            return found

        return self.database.read(work)

    def epochs(self, trial_hash: str) -> list[Epoch]:
        """The trial's history. After its end, the one it ended with; of a running one, what was reported so far."""
        columns = [EpochRow.__table__.c[f.name] for f in dataclasses.fields(Epoch)]
        statement = select(*columns).where(EpochRow.trial == trial_hash, in_history()).order_by(EpochRow.epoch)
        statement = statement.join(TrialRow, TrialRow.hash == EpochRow.trial)
        return self.database.read(lambda c: [Epoch(**row._mapping) for row in c.execute(statement)])

    def epochs_of(self, trials: Sequence[str]) -> dict[str, list[Epoch]]:
        """The history of each of these trials, as `epochs` gives it; at most `AT_ONCE` of them."""
        columns = [EpochRow.__table__.c[f.name] for f in dataclasses.fields(Epoch)]
        statement = select(EpochRow.trial, *columns).where(EpochRow.trial.in_(trials), in_history())
        statement = statement.join(TrialRow, TrialRow.hash == EpochRow.trial).order_by(EpochRow.trial, EpochRow.epoch)

        def work(connection: Connection) -> dict[str, list[Epoch]]:
            found: dict[str, list[Epoch]] = {}
            for row in connection.execute(statement):
                values = dict(row._mapping)
                found.setdefault(values.pop("trial"), []).append(Epoch(**values))
            return found

        return self.database.read(work)

    def training_times(self) -> list[TrainingTime]:
        """What the training of each finished trial took, once for every sweep that has the trial."""
        statement = (
            select(
                SweepRow.name,
                *(part(TrialRow.spec, literal(name)) for name in ("data", "model", "training")),
                TrialRow.epochs,
                TrialRow.train_seconds,
                TrialRow.environment,
            )
            .join(MembershipRow, MembershipRow.trial == TrialRow.hash)
            .join(SweepRow, SweepRow.id == MembershipRow.sweep_id)
            .where(TrialRow.train_seconds.is_not(None), TrialRow.epochs > 0)
            .order_by(SweepRow.id, MembershipRow.position)
        )
        return self.database.read(
            lambda c: [
                TrainingTime(
                    sweep,
                    read_part(DataSpec, data),
                    read_part(ModelSpec, model),
                    read_part(TrainingSpec, training),
                    *times,
                )
                for sweep, data, model, training, *times in c.execute(statement)
            ]
        )

    def newest_epochs(self, sweep_name: str) -> dict[str, Epoch]:
        """The newest epoch of each running attempt at the sweep's trials that has one, by the trial's hash.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> dict[str, Epoch]:
            newest = _newest_epochs(sweep_row(connection, sweep_name).id).subquery()
            columns = [EpochRow.__table__.c[f.name] for f in dataclasses.fields(Epoch)]
            statement = select(EpochRow.trial, *columns).join(
                newest, (newest.c.trial == EpochRow.trial) & (newest.c.epoch == EpochRow.epoch)
            )
            rows = [dict(row._mapping) for row in connection.execute(statement)]
            return {row.pop("trial"): Epoch(**row) for row in rows}

        return self.database.read(work)

    def pulse(self, sweep_name: str) -> str:
        """A text that differs whenever something about the sweep has changed that a page of it shows.

        Far cheaper than the reads it replaces: a page asks for it again and again, and reads the trials only when it
        differs from the last one. It tells a change of the sweep's state, of its trials, attempts, the epochs of
        running trials, the holder (also that the lease has run out) and the requests.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> str:
            sweep = sweep_row(connection, sweep_name)
            own = MembershipRow.sweep_id == sweep.id
            trials = (
                select(
                    TrialRow.state,
                    func.count(),
                    func.sum(MembershipRow.position),
                    func.sum(TrialRow.attempts),
                    func.max(TrialRow.finished_at),
                    func.count(TrialRow.mlflow_run),
                )
                .join(MembershipRow, MembershipRow.trial == TrialRow.hash)
                .where(own)
                .group_by(TrialRow.state)
                .order_by(TrialRow.state)
            )
            epochs = _newest_epochs(sweep.id).subquery()
            attempts = (
                select(func.max(AttemptRow.id), func.count(AttemptRow.pid), func.count(AttemptRow.device))
                .join(MembershipRow, MembershipRow.trial == AttemptRow.trial)
                .where(own, AttemptRow.state == AttemptState.RUNNING)
            )
            asked = select(func.count(), func.count(RequestRow.done_at)).where(RequestRow.sweep_id == sweep.id)
            lease = connection.execute(lease_columns().where(LeaseRow.sweep_id == sweep.id)).one()
            seen = [
                (sweep.id, sweep.state, sweep.reason, sweep.description, sweep.mlflow_run),
                (lease.holder, lease.fencing, end_of(lease) > lease.now),
            ]
            for statement in (trials, select(func.sum(epochs.c.epoch)), attempts, asked):
                seen += [tuple(row) for row in connection.execute(statement)]
            return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

        return self.database.read(work)

    def environments(self) -> dict[str, Mapping[str, str]]:
        """Versions, device and revision, by the hash that `Trial.environment` holds."""
        statement = select(EnvironmentRow.hash, EnvironmentRow.details).order_by(EnvironmentRow.hash)
        return self.database.read(lambda c: {row.hash: row.details for row in c.execute(statement)})

    def requests(self, sweep_name: str) -> list[Request]:
        """All requests to the sweep's holder, done or not, oldest first.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> list[Request]:
            sweep = sweep_row(connection, sweep_name)
            statement = request_columns().where(RequestRow.sweep_id == sweep.id).order_by(RequestRow.id)
            return [to_request(row) for row in connection.execute(statement)]

        return self.database.read(work)


def _newest_epochs(sweep_id: int) -> Select[str, int]:
    """SELECT of each running trial of a sweep with the number of its running attempt's newest epoch."""
    return (
        select(EpochRow.trial, func.max(EpochRow.epoch).label("epoch"))
        .join(AttemptRow, AttemptRow.id == EpochRow.attempt_id)
        .join(MembershipRow, MembershipRow.trial == AttemptRow.trial)
        .where(MembershipRow.sweep_id == sweep_id, AttemptRow.state == AttemptState.RUNNING)
        .group_by(EpochRow.trial)
    )

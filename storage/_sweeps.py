"""Sweeps: making and extending them, their state, their requests, their splits and significance tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy import insert as plain_insert

from storage._leases import LeaseMethods, require_lease
from storage._statements import insert, insert_absent, request_columns, sweep_row, to_request, to_sweep
from storage.columns import now
from storage.errors import SweepConflictError
from storage.models import LeaseRow, MembershipRow, RequestRow, SignificanceRow, SplitRow, SweepRow, TrialRow
from storage.records import IMPORTED, Lease, NewTrial, Request, SignificanceTest, Sweep
from trials.splits import Split
from trials.states import SweepState, TrialState

_ENDED = (SweepState.FINISHED, SweepState.STOPPED, SweepState.BROKEN)


class SweepMethods(LeaseMethods):
    """The part of `Repository` about sweeps."""

    def create_sweep(
        self,
        name: str,
        *,
        grid: Mapping[str, object],
        trials: Sequence[NewTrial],
        rehearsal: bool = False,
        description: str = "",
        details: Mapping[str, object] | None = None,
        extend: bool = False,
    ) -> Sweep:
        """Makes the sweep with its trials, or nothing. A trial that exists is shared with its result, never changed.

        The same name with the same set of trials gives the existing sweep. With `extend`, trials that the sweep lacks
        are added behind the others, and none is taken away; the grid and the details become those given, even where
        no trial is new (a search whose budget grew).

        Raises:
            SweepConflictError: the name exists with another set of trials and `extend` is False, or a trial appears
                twice.
        """
        hashes = [trial.hash for trial in trials]
        if len(set(hashes)) != len(hashes):
            twice = sorted({h for h in hashes if hashes.count(h) > 1})
            raise SweepConflictError(f"sweep {name!r}: the grid has trial {twice[0]} twice ({len(twice)} such trials)")

        def work(connection: Connection) -> Sweep:
            made = connection.execute(
                insert(connection, SweepRow)
                .values(
                    name=name,
                    state=SweepState.QUEUED,
                    reason="",
                    grid=dict(grid),
                    rehearsal=rehearsal,
                    description=description,
                    created_at=now(),
                    details=dict(details or {}),
                )
                .on_conflict_do_nothing()
                .returning(SweepRow.id)
            ).scalar_one_or_none()
            sweep = sweep_row(connection, name)
            if made is not None:
                connection.execute(
                    insert(connection, LeaseRow).values(sweep_id=made, holder="", fencing=0, expires_at=0.0, token="")
                )
                _add_trials(connection, made, trials, first=0)
                return to_sweep(sweep)
            lock = select(LeaseRow.fencing).where(LeaseRow.sweep_id == sweep.id).with_for_update()
            connection.execute(lock).one()
            members = select(MembershipRow.trial).where(MembershipRow.sweep_id == sweep.id)
            known = set(connection.execute(members).scalars())
            if known != set(hashes) or (extend and sweep.grid != dict(grid)):
                new = [trial for trial in trials if trial.hash not in known]
                if not extend:
                    raise SweepConflictError(
                        f"sweep {name!r} exists with other trials: {len(new)} of this grid's {len(hashes)} are not"
                        f" in it, "
                        f"{len(known - set(hashes))} of its {len(known)} are not in this grid; "
                        "give another name, or extend it"
                    )
                _add_trials(connection, sweep.id, new, first=_next_position(connection, sweep.id))
                values: dict[str, object] = {"grid": dict(grid)}
                if details is not None:
                    values["details"] = dict(details)
                connection.execute(update(SweepRow).where(SweepRow.id == sweep.id).values(**values))
                sweep = sweep_row(connection, name)
            return to_sweep(sweep)

        return self.database.write(work)

    def add_trials(self, lease: Lease, trials: Sequence[NewTrial]) -> list[str]:
        """Puts trials that the sweep lacks behind its others; says which these were. Doing it again changes nothing.

        A trial that exists is shared with its result, never changed, as by `create_sweep`.

        Raises:
            LeaseLostError: see `hold`.
        """

        def work(connection: Connection) -> list[str]:
            require_lease(connection, lease)
            members = select(MembershipRow.trial).where(MembershipRow.sweep_id == lease.sweep_id)
            known = set(connection.execute(members).scalars())
            new = [trial for trial in {t.hash: t for t in trials}.values() if trial.hash not in known]
            if new:
                _add_trials(connection, lease.sweep_id, new, first=_next_position(connection, lease.sweep_id))
            return [trial.hash for trial in new]

        return self.database.write(work)

    def set_sweep_state(self, lease: Lease, state: SweepState, reason: str = "") -> None:
        """Sets the sweep's state; a final one also sets `finished_at`, another clears it.

        Raises:
            LeaseLostError: see `hold`.
        """
        finished_at = now() if state in _ENDED else None
        self._update_sweep(lease, state=state, reason=reason, finished_at=finished_at)

    def set_grid(self, lease: Lease, grid: Mapping[str, object]) -> None:
        """Replaces a sweep's grid by one that has the same trials.

        Raises:
            LeaseLostError: see `hold`.
        """
        self._update_sweep(lease, grid=dict(grid))

    def allow_plugins(self, sweep_name: str, sources: Iterable[str]) -> None:
        """Notes that a person lets these plug-ins of an imported sweep run, by the hash of their source.

        It needs no lease, since it moves nothing that a coordinator writes.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        wanted = list(sources)

        def work(connection: Connection) -> None:
            sweep_id = sweep_row(connection, sweep_name).id
            lock = select(LeaseRow.fencing).where(LeaseRow.sweep_id == sweep_id).with_for_update()
            connection.execute(lock).one()
            details = dict(sweep_row(connection, sweep_name).details)
            if IMPORTED in details:
                allowed = dict.fromkeys([*details[IMPORTED].get("allowed", ()), *wanted])
                details[IMPORTED] = {"allowed": list(allowed)}
                connection.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(details=details))

        self.database.write(work)

    def set_mlflow_run(self, lease: Lease, run_id: str, *, trial: str | None = None) -> None:
        """Notes the MLflow run of the sweep, or of one of its trials.

        Raises:
            LeaseLostError: see `hold`.
        """
        if trial is None:
            self._update_sweep(lease, mlflow_run=run_id)
            return

        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            connection.execute(update(TrialRow).where(_member(lease, [trial])).values(mlflow_run=run_id))

        self.database.write(work)

    def retry(self, lease: Lease, hashes: Iterable[str]) -> list[str]:
        """Queues those of the trials again that failed, were pruned or stopped; their attempts stay. Returns their
        hashes.

        Raises:
            LeaseLostError: see `hold`.
        """
        ended = (TrialState.FAILED, TrialState.PRUNED, TrialState.STOPPED)
        values = {"state": TrialState.QUEUED, "failure": None, "error": None, "finished_at": None}
        return self._move(lease, hashes, ended, values)

    def add_request(self, sweep_name: str, verb: str, arguments: Mapping[str, object] | None = None) -> Request:
        """Asks the sweep's holder for something; needs no lease.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        token = uuid4().hex

        def work(connection: Connection) -> Request:
            row = {
                "sweep_id": sweep_row(connection, sweep_name).id,
                "token": token,
                "verb": verb,
                "arguments": dict(arguments or {}),
                "created_at": now(),
            }
            connection.execute(insert(connection, RequestRow).values(row).on_conflict_do_nothing())
            return to_request(connection.execute(request_columns().where(RequestRow.token == token)).one())

        return self.database.write(work)

    def pending_requests(self, lease: Lease) -> list[Request]:
        """Requests that are not done, oldest first."""
        pending = request_columns().where(RequestRow.sweep_id == lease.sweep_id, RequestRow.done_at.is_(None))
        return self.database.read(lambda c: [to_request(row) for row in c.execute(pending.order_by(RequestRow.id))])

    def complete_request(self, lease: Lease, request_id: int, outcome: str) -> None:
        """Says what came of a request. The first outcome stays.

        Raises:
            LeaseLostError: see `hold`.
        """

        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            connection.execute(
                update(RequestRow)
                .where(
                    RequestRow.id == request_id,
                    RequestRow.sweep_id == lease.sweep_id,
                    RequestRow.done_at.is_(None),
                )
                .values(done_at=now(), outcome=outcome)
            )

        self.database.write(work)

    def save_split(self, dataset: str, prepared: str, split: Split) -> None:
        """Stores a split of the prepared data set with the key `prepared`. A split that is stored stays as it is."""
        row = {"hash": split.hash, "dataset": dataset, "prepared": prepared, **split.to_dict()}
        self.database.write(lambda connection: insert_absent(connection, SplitRow, [row]))

    def replace_significance(self, sweep_name: str, tests: Sequence[SignificanceTest]) -> None:
        """Puts `tests` in place of the sweep's; derived, so no lease is needed and the old ones are not kept.

        Raises:
            UnknownSweepError: there is no such sweep.
        """

        def work(connection: Connection) -> None:
            sweep = sweep_row(connection, sweep_name)
            lock = select(SweepRow.id).where(SweepRow.id == sweep.id).with_for_update()
            connection.execute(lock).one()
            connection.execute(delete(SignificanceRow).where(SignificanceRow.sweep_id == sweep.id))
            rows = [
                {"sweep_id": sweep.id, "position": position, **dataclasses.asdict(test)}
                for position, test in enumerate(tests)
            ]
            if rows:
                connection.execute(plain_insert(SignificanceRow), rows)

        self.database.write(work)

    def significance(self, sweep_name: str) -> list[SignificanceTest]:
        """The sweep's stored tests, in the order in which they were given.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        columns = [SignificanceRow.__table__.c[f.name] for f in dataclasses.fields(SignificanceTest)]

        def work(connection: Connection) -> list[SignificanceTest]:
            sweep = sweep_row(connection, sweep_name)
            statement = select(*columns).where(SignificanceRow.sweep_id == sweep.id).order_by(SignificanceRow.position)
            return [SignificanceTest(**row._mapping) for row in connection.execute(statement)]

        return self.database.read(work)

    def _update_sweep(self, lease: Lease, **values: object) -> None:
        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            connection.execute(update(SweepRow).where(SweepRow.id == lease.sweep_id).values(values))

        self.database.write(work)

    def _move(
        self, lease: Lease, hashes: Iterable[str], origins: Sequence[TrialState], values: Mapping[str, object]
    ) -> list[str]:
        wanted = list(hashes)

        def work(connection: Connection) -> list[str]:
            require_lease(connection, lease)
            moved = connection.execute(
                update(TrialRow)
                .where(_member(lease, wanted), TrialRow.state.in_(origins))
                .values(values)
                .returning(TrialRow.hash)
            ).scalars()
            return sorted(moved, key=wanted.index)

        return self.database.write(work)


def _member(lease: Lease, hashes: Sequence[str]) -> ColumnElement[bool]:
    members = select(MembershipRow.trial).where(MembershipRow.sweep_id == lease.sweep_id)
    return TrialRow.hash.in_(list(hashes)) & TrialRow.hash.in_(members)


def _next_position(connection: Connection, sweep_id: int) -> int:
    last = select(func.max(MembershipRow.position)).where(MembershipRow.sweep_id == sweep_id)
    position = connection.execute(last).scalar_one()
    return 0 if position is None else int(position) + 1


def _add_trials(connection: Connection, sweep_id: int, trials: Sequence[NewTrial], *, first: int) -> None:
    rows = [
        {
            "hash": trial.hash,
            "spec": trial.spec.to_dict(),
            "label": trial.label,
            "dataset": trial.dataset,
            "loss": trial.loss,
            "gamma": trial.gamma,
            "repeat": trial.repeat,
            "seed": trial.seed,
            "results_version": trial.results_version,
            "state": TrialState.QUEUED,
            "attempts": 0,
            "epochs": 0,
        }
        for trial in trials
    ]
    if not rows:
        return
    # By hash, so that two sweeps made at once lock the rows that they share in the same order.
    rows.sort(key=lambda row: str(row["hash"]))
    connection.execute(insert(connection, TrialRow).values(created_at=now()).on_conflict_do_nothing(), rows)
    connection.execute(
        insert(connection, MembershipRow),
        [
            {"sweep_id": sweep_id, "trial": t.hash, "position": position, "study": t.study, "cost": t.cost}
            for position, t in enumerate(trials, start=first)
        ],
    )

"""The one interface to what is remembered. Its docstring is the contract; the private modules hold the parts."""

from __future__ import annotations

from storage._attempts import AttemptMethods
from storage._reads import ReadMethods
from storage._removal import RemovalMethods
from storage._result_columns import SCORE_KEYS, SCORE_TEXTS
from storage._sweeps import SweepMethods


class Repository(SweepMethods, AttemptMethods, ReadMethods, RemovalMethods):
    """Sweeps, trials, attempts, scores and the lease, in SQLite or Postgres.

    Atomic: every method is one transaction; it happens wholly or not at all, and a reader sees it before or after,
    never between. A method that reads sees one moment.

    Ownership: only the holder of a sweep's lease writes its trials, attempts, epochs and scores. Each such method takes
    the `Lease` and checks, in its own transaction, that holder and fencing number are still the stored ones and that
    the lease has not run out; else `LeaseLostError`, and nothing is written. A take-over waits for such a transaction
    to end. Anybody may create sweeps, add requests, save splits and replace the derived significance tests. A trial
    belongs to no sweep: sweeps that contain the same hash share it, at most one attempt of it runs at any time, and its
    result is never overwritten: metrics that its scores lack may be added (`add_metrics`).

    Clock: the database's. Leases are compared with it and all times are from it (seconds since the epoch); a wrong
    clock on a worker or on the coordinator's machine moves nothing. With SQLite it is the clock of the machine.

    Repeats: a lost connection, a lock or a serialisation failure is retried for `Database.retry_for` seconds, then
    `DatabaseUnavailableError`. A retry after a commit whose acknowledgement was lost is recognised: nothing is done
    twice. Reporting the same thing again (epoch, end of an attempt, outcome of a request) changes nothing.

    States: queued → running → finished, failed, pruned or stopped. Only `retry` leaves a final state, and never
    `finished`. Each claim makes an attempt. What is stored is deleted only with its whole sweep (`delete_sweep`), which
    nobody may hold then; beside that, at most the significance tests are replaced.

    Args:
        database: from `open_database`; safe to share between threads.
    """


__all__ = ["SCORE_KEYS", "SCORE_TEXTS", "Repository"]

"""The Optuna studies that live in our database: each finished trial recorded once, readable by any Optuna tool.

Optuna has no unique key for a trial of ours, so one process at a time looks whether the trial's hash is there and adds
it, under a lock that dies with its holder. Optuna adds a trial in one transaction: a kill leaves all of it or nothing.
Optuna is imported when first needed, for it costs half a second.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from storage.database import Database
from storage.errors import DatabaseUnavailableError, InvalidScoreError, SchemaMismatchError
from storage.faults import explain

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import FloatDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage

HASH_ATTRIBUTE = "hash"
"""The user attribute that holds the trial's hash."""

GAMMA_RANGE = (0.0, 0.99)
"""Range of γ in every study: at 1 the exponent 1 - γ of the Tversky part is 0 and its gradient gone."""

_LOCK = 7_305_128_002
"""Key of the Postgres advisory lock (any fixed number)."""


class Studies:
    """Optuna studies in the database of `Database`, each maximising a score over γ.

    Args:
        database: where; Optuna makes its own tables there on first use.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mutex = threading.Lock()

    @property
    def optuna_url(self) -> str:
        """URL for `optuna-dashboard`, with the password if there is one: not fit for messages or logs."""
        return self._database.connect_url

    def record(
        self,
        study_name: str,
        *,
        trial_hash: str,
        gamma: float | None,
        value: float | None,
        user_attrs: Mapping[str, Any] | None = None,
    ) -> bool:
        """Adds a finished trial to the study unless it is there; says whether it was added.

        Killed at any point and called again, or called by two processes at once, it adds the trial once.

        Args:
            study_name: made on first use, with direction maximise.
            trial_hash: the trial's identity; stored as user attribute `hash`.
            gamma: γ in [0, 0.99], None for a loss without one.
            value: the score in [0, 1]; None or NaN records the trial as failed in Optuna's sense.
            user_attrs: further attributes, JSON values.

        Raises:
            InvalidScoreError: γ or the value is outside its range.
            DatabaseUnavailableError: see `Database`.
        """
        from optuna.trial import TrialState, create_trial

        low, high = GAMMA_RANGE
        if gamma is not None and not low <= gamma <= high:
            raise InvalidScoreError(f"trial {trial_hash}: γ is {gamma!r}, a study takes γ in [{low}, {high}] or None")
        if value is not None and not math.isnan(value) and not 0.0 <= value <= 1.0:
            raise InvalidScoreError(f"trial {trial_hash}: the study's value is {value!r}, expected one in [0, 1]")
        known = value is not None and not math.isnan(value)
        frozen = create_trial(
            state=TrialState.COMPLETE if known else TrialState.FAIL,
            value=value if known else None,
            params={} if gamma is None else {"gamma": float(gamma)},
            distributions={} if gamma is None else {"gamma": self.gamma_distribution},
            user_attrs={**(user_attrs or {}), HASH_ATTRIBUTE: trial_hash},
        )
        with self._exclusive():
            study = self._study(study_name, None)
            if any(t.user_attrs.get(HASH_ATTRIBUTE) == trial_hash for t in study.get_trials(deepcopy=False)):
                return False
            study.add_trial(frozen)
            return True

    def values(self, study_name: str) -> dict[str, tuple[float | None, float | None]]:
        """(γ, value) of each recorded trial by its hash, in the order of recording; empty if there is no such study."""
        study = self.study(study_name)
        return {
            trial.user_attrs[HASH_ATTRIBUTE]: (
                trial.params.get("gamma"),
                trial.value if trial.values is not None else None,
            )
            for trial in study.get_trials(deepcopy=False)
            if HASH_ATTRIBUTE in trial.user_attrs
        }

    def study(self, study_name: str, sampler: BaseSampler | None = None) -> Study:
        """The Optuna study, made if it is not there. Ask a sampler for γ by it; tell it results by `record`."""
        with self._exclusive():
            return self._study(study_name, sampler)

    @cached_property
    def gamma_distribution(self) -> FloatDistribution:
        """The distribution of γ in every study."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(*GAMMA_RANGE)

    def _study(self, study_name: str, sampler: BaseSampler | None) -> Study:
        import optuna

        return optuna.create_study(
            storage=self._storage,
            study_name=study_name,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler,
        )

    @cached_property
    def _storage(self) -> RDBStorage:
        from optuna.storages import RDBStorage

        options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
        if self._database.dialect == "sqlite":
            options["connect_args"] = {"timeout": self._database.retry_for}
        try:
            return RDBStorage(self.optuna_url, engine_kwargs=options)
        except RuntimeError as error:
            raise SchemaMismatchError(
                f"{self._database.url}: {error} (Optuna's own tables; run: optuna storage upgrade --storage URL)"
            ) from error

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process, one thread at a time; the lock goes when its holder dies."""
        from optuna.exceptions import StorageInternalError

        try:
            with self._mutex, self._process_lock():
                yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = error if isinstance(error, SQLAlchemyError) else error.__cause__
            meaning = explain(cause, self._database.url) if isinstance(cause, SQLAlchemyError) else None
            if meaning is None:
                raise
            raise meaning from error

    @contextmanager
    def _process_lock(self) -> Iterator[None]:
        if self._database.dialect == "postgresql":
            with self._database.engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                yield
            return
        # SQLite has one writer, which must be Optuna here: the lock stands beside the database.
        path = f"{Path(make_url(self.optuna_url).database or '').resolve()}.optuna-lock"
        try:
            with FileLock(path, timeout=self._database.retry_for):
                yield
        except Timeout as error:
            raise DatabaseUnavailableError(
                f"{path}: another process has held it for {self._database.retry_for:.0f} s; end that one"
            ) from error

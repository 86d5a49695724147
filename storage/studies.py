"""The Optuna studies that live in our database: each finished trial recorded once, readable by any Optuna tool.

Optuna has no unique key for a trial of ours, so one process at a time looks whether the trial's hash is there and adds
it, under a lock that dies with its holder. Optuna adds a trial in one transaction: a kill leaves all of it or nothing.
Optuna is imported when first needed, for it costs half a second.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text

from storage import _optuna_rows
from storage.database import Database
from storage.errors import DatabaseUnavailableError, InvalidScoreError, SchemaMismatchError
from storage.records import Trial
from trials.states import TrialState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import FloatDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial

T = TypeVar("T")

HASH_ATTRIBUTE = "hash"
"""The user attribute that holds the trial's hash."""

GAMMA_RANGE = (0.0, 0.99)
"""Range of γ in every study: at 1 the exponent 1 - γ of the Tversky part is 0 and its gradient gone."""

BATCH = 100
"""Trials that are added to a study under one lock."""

_LOCK = 7_305_128_002
"""Key of the Postgres advisory lock (any fixed number)."""


@dataclass(frozen=True, slots=True)
class StudyParameter:
    """A parameter that a search chose: its value, and the range [low, high] or logarithmic scale it was chosen on."""

    value: float
    low: float
    high: float
    log: bool = False


@dataclass(slots=True)
class _Recorded:
    """Hashes that a study holds, as far as they were read, and the id of the last trial that was."""

    last: int = -1
    hashes: set[str] = field(default_factory=set)


class Studies:
    """Optuna studies in the database of `Database`, each maximising a score over γ and whatever else was searched.

    Args:
        database: where; Optuna makes its own tables there on first use.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mutex = threading.Lock()
        self._rdb: RDBStorage | None = None
        self._cached: BaseStorage | None = None
        self._bulk = False
        self._recorded: dict[int, _Recorded] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        user_attrs: Mapping[str, object] | None = None,
        parameters: Mapping[str, StudyParameter] | None = None,
        intermediate: Mapping[int, float] | None = None,
        pruned: bool = False,
    ) -> bool:
        """Adds a finished or pruned trial to the study unless it is there; says whether it was added.

        Killed at any point and called again, or called by two processes at once, it adds the trial once.

        Args:
            study_name: made on first use, with direction maximise.
            trial_hash: the trial's identity; stored as user attribute `hash`.
            gamma: γ in [0, 0.99], None for a loss without one.
            value: the score in [0, 1]; None or NaN records the trial as failed in Optuna's sense. Of a pruned trial it
                is not asked for: Optuna takes the last intermediate one.
            user_attrs: further attributes, JSON values.
            parameters: what was searched besides γ, by name.
            intermediate: the score after each epoch, by epoch.
            pruned: the search gave the trial up after its last intermediate score.

        Raises:
            InvalidScoreError: γ or the value is outside its range.
            DatabaseUnavailableError: see `Database`.
        """
        frozen = self._frozen(
            trial_hash,
            gamma=gamma,
            value=value,
            user_attrs=user_attrs or {},
            parameters=parameters or {},
            intermediate=intermediate or {},
            pruned=pruned,
        )
        return self._add(study_name, {trial_hash: frozen}) == 1

    def record_finished(self, trials: Iterable[Trial]) -> int:
        """Records each finished trial that has a study; says how many were not there yet.

        The value is the validation DSC; attributes are the trial's hash, test DSC, MLflow run and label.

        Raises:
            DatabaseUnavailableError: see `Database`.
        """
        studies: dict[str, dict[str, FrozenTrial]] = {}
        for trial in trials:
            if trial.state != TrialState.FINISHED or trial.study is None:
                continue
            low, high = GAMMA_RANGE
            # Another loss's γ, such as the exponent of the focal loss, has a range of its own.
            other = trial.gamma is not None and not low <= trial.gamma <= high
            studies.setdefault(trial.study, {})[trial.hash] = self._frozen(
                trial.hash,
                gamma=None if other else trial.gamma,
                value=trial.val_dsc,
                parameters={"gamma": StudyParameter(trial.gamma, low, max(trial.gamma, 10.0))}
                if other and trial.gamma is not None
                else {},
                user_attrs={"test_dsc": trial.test_dsc, "mlflow_run": trial.mlflow_run, "label": trial.label},
            )
        return sum(self._add(study, frozen) for study, frozen in studies.items())

    def describe(self, study_name: str, attributes: Mapping[str, object]) -> None:
        """Sets user attributes of the study, which is made if it is not there; JSON values."""

        def work() -> None:
            study = self._study(study_name, None)
            known = study.user_attrs
            for key, value in attributes.items():
                if known.get(key) != value:
                    study.set_user_attr(key, value)

        self._exclusively(work)

    def values(self, study_name: str) -> dict[str, tuple[float | None, float | None]]:
        """(γ, value) of each recorded trial by its hash, in the order of recording. Makes a missing study."""

        def work() -> dict[str, tuple[float | None, float | None]]:
            trials = self._study(study_name, None).get_trials(deepcopy=False)
            return {
                trial.user_attrs[HASH_ATTRIBUTE]: (trial.params.get("gamma"), trial.values[0] if trial.values else None)
                for trial in trials
                if HASH_ATTRIBUTE in trial.user_attrs
            }

        return self._exclusively(work)

    def study(self, study_name: str, sampler: BaseSampler | None = None) -> Study:
        """The Optuna study, made if it is not there. Ask a sampler for γ by it; tell it results by `record`."""
        return self._exclusively(lambda: self._study(study_name, sampler))

    def close(self) -> None:
        """Closes Optuna's connections; the next use opens them again."""
        with self._mutex:
            if self._rdb is not None:
                self._rdb.remove_session()
                self._rdb.engine.dispose()
            self._rdb = self._cached = None
            self._recorded.clear()

    @cached_property
    def gamma_distribution(self) -> FloatDistribution:
        """The distribution of γ in every study."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(*GAMMA_RANGE)

    def _frozen(
        self,
        trial_hash: str,
        *,
        gamma: float | None,
        value: float | None,
        user_attrs: Mapping[str, object],
        parameters: Mapping[str, StudyParameter],
        intermediate: Mapping[int, float] = MappingProxyType({}),
        pruned: bool = False,
    ) -> FrozenTrial:
        """Optuna's record of a trial; arguments and errors as for `record`."""
        from optuna.distributions import FloatDistribution
        from optuna.trial import TrialState as OptunaState
        from optuna.trial import create_trial

        steps = {step: score for step, score in sorted(intermediate.items()) if not math.isnan(score)}
        if pruned:
            value = next(reversed(steps.values()), None)
        low, high = GAMMA_RANGE
        if gamma is not None and not low <= gamma <= high:
            raise InvalidScoreError(f"trial {trial_hash}: γ is {gamma!r}, a study takes γ in [{low}, {high}] or None")
        if value is not None and not math.isnan(value) and not 0.0 <= value <= 1.0:
            raise InvalidScoreError(f"trial {trial_hash}: the study's value is {value!r}, expected one in [0, 1]")
        known = value is not None and not math.isnan(value)
        return create_trial(
            state=OptunaState.PRUNED if pruned else OptunaState.COMPLETE if known else OptunaState.FAIL,
            value=value if known else None,
            params={
                **({} if gamma is None else {"gamma": float(gamma)}),
                **{name: p.value for name, p in parameters.items()},
            },
            distributions={
                **({} if gamma is None else {"gamma": self.gamma_distribution}),
                **{name: FloatDistribution(p.low, p.high, log=p.log) for name, p in parameters.items()},
            },
            user_attrs={**user_attrs, HASH_ATTRIBUTE: trial_hash},
            intermediate_values=steps,
        )

    def _add(self, study_name: str, trials: Mapping[str, FrozenTrial]) -> int:
        """Adds those of the trials, by hash, that the study lacks, and says how many those were."""

        def work(wanted: Mapping[str, FrozenTrial]) -> int:
            study = self._study(study_name, None)
            study_id = self._storage.get_study_id_from_name(study_name)
            if self._bulk:
                return self._database.write(lambda connection: self._add_rows(connection, study_id, wanted))
            there = {t.user_attrs.get(HASH_ATTRIBUTE) for t in study.get_trials(deepcopy=False)}
            lacking = [frozen for trial_hash, frozen in wanted.items() if trial_hash not in there]
            for frozen in lacking:
                study.add_trial(frozen)
            return len(lacking)

        added = 0
        left = dict(trials)
        while left:
            # In parts: nobody else can record while the lock is held.
            part = dict(islice(left.items(), BATCH))
            added += self._exclusively(partial(work, part))
            left = {trial_hash: frozen for trial_hash, frozen in left.items() if trial_hash not in part}
        return added

    def _add_rows(self, connection: Connection, study_id: int, wanted: Mapping[str, FrozenTrial]) -> int:
        """The same within one transaction, by rows of Optuna's tables. Only who holds the lock adds trials with a
        hash, so that those of an id which was seen before need not be read again."""
        recorded = self._recorded.setdefault(study_id, _Recorded())
        for trial_id, trial_hash in _optuna_rows.attribute_since(connection, study_id, HASH_ATTRIBUTE, recorded.last):
            recorded.last = trial_id
            recorded.hashes.add(trial_hash)
        lacking = [frozen for trial_hash, frozen in wanted.items() if trial_hash not in recorded.hashes]
        if lacking:
            _optuna_rows.add(connection, study_id, lacking)
        return len(lacking)

    def _study(self, study_name: str, sampler: BaseSampler | None) -> Study:
        import optuna

        try:
            return optuna.load_study(study_name=study_name, storage=self._storage, sampler=sampler)
        except KeyError:
            return optuna.create_study(
                study_name=study_name, storage=self._storage, sampler=sampler, direction="maximize"
            )

    @property
    def _storage(self) -> BaseStorage:
        if self._cached is None:
            from optuna import logging
            from optuna.storages import RDBStorage, get_storage

            # Else Optuna writes a line to stderr for each study that it makes, into the midst of a progress display.
            logging.set_verbosity(logging.WARNING)

            options: dict[str, object] = {"pool_pre_ping": True, "hide_parameters": True}
            if self._database.dialect == "sqlite":
                options["connect_args"] = {"timeout": self._database.retry_for}
            try:
                self._rdb = RDBStorage(self.optuna_url.replace("{", "%7B").replace("}", "%7D"), engine_kwargs=options)
            except RuntimeError as error:
                raise SchemaMismatchError(
                    f"{self._database.url}: {error} Otherwise, if MLflow keeps its tables in this database, give it "
                    "another: it and Optuna both use the table alembic_version. To upgrade Optuna's tables: "
                    "optuna storage upgrade --storage URL"
                ) from error
            self._bulk = self._rdb.get_current_version() == _optuna_rows.VERSION
            self._cached = get_storage(self._rdb)  # with Optuna's cache of finished trials before it
        return self._cached

    def _exclusively(self, work: Callable[[], T]) -> T:
        """`work()` by one process and one thread at a time, retried as a transaction is."""
        from optuna.exceptions import StorageInternalError

        def once() -> T:
            try:
                with self._mutex, self._process_lock():
                    return work()
            except StorageInternalError as error:
                # Optuna's wrapping hides from the retry what kind of fault it was.
                raise (error.__cause__ or error) from error

        return self._database.retried(once)

    @contextmanager
    def _process_lock(self) -> Iterator[None]:
        if self._database.dialect == "postgresql":
            with self._database.engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                yield
            return
        # SQLite has one writer, which must be Optuna here: the lock file is beside the database.
        path = f"{self._database.path}.optuna-lock"
        try:
            with FileLock(path, timeout=self._database.retry_for):
                yield
        except Timeout as error:
            raise DatabaseUnavailableError(
                f"{path}: another process has held it for {self._database.retry_for:.0f} s; end that one"
            ) from error

"""All access to MLflow: its client, the first start of its store, and which of its errors are retried.

MLflow is imported here on first use, never at import time: it takes a second or more and 160 MiB.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from trials.addresses import hide_password
from workers.tracking.errors import (
    REBUILD,
    TrackingDamagedError,
    TrackingFullError,
    TrackingInputError,
    TrackingUnavailableError,
)
from workers.tracking.sqlite_store import make_store, refuse_damaged

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

_SQLITE = "sqlite:///"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # The spool waits; a call that hangs would only delay the end of a sweep.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_FINAL_CODES = {"INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}
"""Errors that a retry does not change. Others (no connection, 5xx, 401, 403, a proxy's 404) can be fixed outside."""

_MISSING_CODE = "RESOURCE_DOES_NOT_EXIST"


_FULL = ("database or disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_DAMAGED = ("file is not a database", "disk image is malformed", "no such table", "Can't locate revision")
"""What SQLite and Alembic say of a file that is no MLflow store (any more)."""


class RefusedError(TrackingInputError):
    """MLflow answers that it refuses this record; `missing` if it does not know the run or experiment."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


@lru_cache(maxsize=8)
def connect(tracking_uri: str) -> MlflowClient:
    """The client of a tracking URI, made once per process.

    Raises:
        TrackingInputError: the URI is one that MLflow cannot use.
        TrackingDamagedError: the SQLite file is no MLflow store (any more).
        TrackingUnavailableError: a database behind the URI cannot be opened now.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    check_uri(tracking_uri)
    from mlflow import MlflowClient

    if tracking_uri.startswith(_SQLITE):
        call(partial(make_store, _file_of(tracking_uri)), "making its store")
        refuse_damaged(_file_of(tracking_uri))
    elif not tracking_uri.startswith(("http", "databricks")):
        call(partial(_probe, tracking_uri), "connecting")
    return call(lambda: MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri), "connecting")


def _probe(database_uri: str) -> None:
    """Opens the database once: MLflow itself would wait for it for an hour before it raised."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(database_uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def check_uri(tracking_uri: str) -> None:
    """Refuses what MLflow 3 cannot use, and an SQLite file whose folder is not there or not writable.

    Raises:
        TrackingInputError: names the URI and the fix.
    """
    schemes = ("sqlite:///", "postgresql", "mysql", "mssql", "http://", "https://", "databricks")
    if not tracking_uri.startswith(schemes):
        raise TrackingInputError(
            f"MLflow tracking URI {hide_password(tracking_uri)!r} cannot be used; set MLFLOW_TRACKING_URI to "
            "sqlite:///FILE, http://HOST:PORT or a postgresql:// address (a plain folder is not supported by MLflow 3)"
        )
    if tracking_uri.startswith(_SQLITE):
        file = _file_of(tracking_uri)
        target = file if file.exists() else file.parent
        if not target.exists():
            raise TrackingInputError(f"MLflow store {file}: the folder {file.parent} does not exist; create it")
        if not os.access(target, os.W_OK):
            raise TrackingInputError(f"MLflow store {file}: no permission to write {target}")


def _file_of(sqlite_uri: str) -> Path:
    from sqlalchemy import make_url

    return Path(make_url(sqlite_uri).database or "")


def sqlite_store_of(tracking_uri: str) -> Path | None:
    """The file of a store in SQLite; None for another one."""
    return _file_of(tracking_uri) if tracking_uri.startswith(_SQLITE) else None


def ensure_store(
    tracking_uri: str, *, experiment: str = "sweeper", artifact_root: Path | None = None, description: str = ""
) -> str:
    """Creates an MLflow store and returns the experiment's id. Called once, before any worker starts.

    The first use of a database by MLflow creates its tables, which takes seconds. An experiment that exists is not
    changed.

    Args:
        tracking_uri: `sqlite:///…`, a database's or a server's address.
        experiment: its name.
        artifact_root: where a new experiment keeps its artifacts. Needed for SQLite; a server has its own.
        description: markdown that the UI shows above the experiment's runs.

    Raises:
        TrackingInputError: the URI or the experiment's name cannot be used.
        TrackingDamagedError: the store is damaged, or the experiment was deleted in the UI.
        TrackingUnavailableError: no answer from the server or database.
    """
    if tracking_uri.startswith(_SQLITE):
        _file_of(tracking_uri).parent.mkdir(parents=True, exist_ok=True)
    client = connect(tracking_uri)
    found = call(lambda: client.get_experiment_by_name(experiment), f"looking up experiment {experiment!r}")
    if found is None:
        location = None
        if artifact_root is not None and not tracking_uri.startswith("http"):
            artifact_root.mkdir(parents=True, exist_ok=True)
            location = (artifact_root.resolve() / _folder_name(experiment)).as_uri()
        try:
            identity = call(
                lambda: client.create_experiment(experiment, location), f"creating experiment {experiment!r}"
            )
        except RefusedError:  # another coordinator was faster
            found = call(lambda: client.get_experiment_by_name(experiment), f"looking up experiment {experiment!r}")
            if found is None:
                raise
    if found is not None:
        if found.lifecycle_stage != "active":
            raise TrackingDamagedError(f"MLflow's experiment {experiment!r} was deleted; restore it with: {REBUILD}")
        identity = found.experiment_id
    # Without its kind the UI takes an experiment for one of language models and hides the runs behind traces.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if description:
        tags["mlflow.note.content"] = description
    for key, value in tags.items():
        call(partial(client.set_experiment_tag, identity, key, value), "describing the experiment")
    return str(identity)


def artifacts_at(location: str, tracking_uri: str) -> Any:
    """Where MLflow keeps the files of a run or model: the repository that its client makes, which would ask the store
    for the location first."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

    known = add_databricks_profile_info_to_artifact_uri(location, tracking_uri)  # type: ignore[no-untyped-call]
    return get_artifact_repository(known, tracking_uri=tracking_uri)


def call(function: Callable[[], T], doing: str, *, attempts: int = 1, patience: float = 0.0) -> T:
    """Calls MLflow and turns its errors into ours; retries after 0.2, 0.4, … s.

    Args:
        function: the call.
        doing: what it does, for the message.
        attempts, patience: it fails only after so many calls, and after so many seconds.

    Raises:
        RefusedError: MLflow refuses this; a retry would not help.
        TrackingUnavailableError: MLflow, its database or its artifact store could not be reached.
    """

    def may_pass(error: BaseException) -> bool:
        return type(error) is TrackingUnavailableError

    retrying = tenacity.Retrying(
        stop=tenacity.stop_all(tenacity.stop_after_attempt(attempts), tenacity.stop_after_delay(patience)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        retry=tenacity.retry_if_exception(may_pass),
        reraise=True,
    )
    result: T = retrying(_translated, function, doing)
    return result


def _translated(function: Callable[[], T], doing: str) -> T:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return function()
    except MlflowException as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        lasting = any(words in str(error) for words in (*_FULL, *_DAMAGED))  # of SQLite: MLflow calls them bad requests
        if not lasting and (error.error_code in _FINAL_CODES or error.error_code == _MISSING_CODE):
            missing = error.error_code == _MISSING_CODE
            raise RefusedError(f"MLflow refuses {doing}: {hide_password(text)}", missing=missing) from error
        raise _unavailable(doing, text, str(error)) from error
    except (OSError, SQLAlchemyError) as error:  # requests' errors are OSErrors
        raise _unavailable(doing, str(error)) from error


def _unavailable(doing: str, said: str, all_said: str = "") -> TrackingUnavailableError:
    """What MLflow says when it does not do what was asked, in one line, as the kind of error that it is."""
    first, text = hide_password(said.strip().partition("\n")[0]), f"{said}\n{all_said}"
    if any(words in text for words in _FULL):
        return TrackingFullError(f"MLflow's disk is full, as it said while {doing}: {first}; make room (sweeper gc)")
    if any(words in text for words in _DAMAGED):
        return TrackingDamagedError(
            f"MLflow's store is damaged, as it said while {doing}: {first}; make it anew with: {REBUILD}"
        )
    return TrackingUnavailableError(f"MLflow could not be reached while {doing}: {first}")


def _folder_name(experiment: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in experiment)

"""Where things are on this machine, from the environment. One object, read once at the edge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sweeper.errors import SettingsError

_HOME_FIX = "set SWEEPER_HOME to a folder that you may write"


class Settings(BaseSettings):
    """Settings of one process. With none set, everything is local: SQLite, a local MLflow store, a local Ray.

    Environment: SWEEPER_HOME, SWEEPER_DATA, SWEEPER_DATABASE_URL, SWEEPER_READER_URL, SWEEPER_LEASE_SECONDS,
    SWEEPER_NOTIFY, SWEEPER_STALL_SECONDS, SWEEPER_LOG_FORMAT, SWEEPER_MLFLOW_URL, SWEEPER_BOARD_URL,
    MLFLOW_TRACKING_URI, RAY_ADDRESS.
    """

    model_config = SettingsConfigDict(env_prefix="SWEEPER_", extra="ignore", frozen=True, populate_by_name=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".sweeper")
    data: Path | None = None
    database_url: str = ""
    reader_url: str = ""
    mlflow_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    ray_address: str = Field(default="", validation_alias="RAY_ADDRESS")
    lease_seconds: float = Field(default=30.0, ge=1.0)
    notify: str = ""
    stall_seconds: float = Field(default=3600.0, ge=1.0)
    mlflow_url: str = ""
    board_url: str = ""
    log_format: Literal["text", "json"] = "text"

    @property
    def database(self) -> str:
        """The database's URL: SQLite in the home folder unless set."""
        return self.database_url or _sqlite_url(self.home / "sweeper.db")

    @property
    def reader(self) -> str:
        """The database's URL for what only reads: a role that may not write, if there is one."""
        return self.reader_url or self.database

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database, None for a server."""
        from storage.database import sqlite_file

        return sqlite_file(self.database)

    @property
    def mlflow(self) -> str:
        """MLflow's tracking URI: SQLite in the home folder unless set."""
        return self.mlflow_uri or _sqlite_url(self.home / "mlflow.db")

    @property
    def artifacts(self) -> Path:
        """Where the embedded MLflow store keeps its files."""
        return self.home / "mlartifacts"

    @property
    def data_root(self) -> Path:
        """The folder in which each data set is looked for under its name."""
        return self.data or self.home / "data"

    def check_data_folder(self) -> None:
        """Refuses a data folder that was named and does not exist, or cannot be read.

        Raises:
            SettingsError: see above. The default folder in the home folder may be missing.
        """
        if self.data is not None and not self.data.is_dir():
            raise SettingsError(
                f"the data folder {self.data} (--data or SWEEPER_DATA) is not a folder; name the one that holds each "
                "data set under its name (`sweeper data list`)"
            )
        if self.data is not None and not os.access(self.data, os.R_OK | os.X_OK):
            raise SettingsError(
                f"the data folder {self.data} (--data or SWEEPER_DATA) may not be read by user {os.getuid()}; fix it "
                f"with: chmod -R a+rX {self.data}"
            )

    @property
    def prepared(self) -> Path:
        return self.home / "prepared"

    @property
    def trials(self) -> Path:
        return self.home / "trials"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def plugins(self) -> Path:
        return self.home / "plugins"

    def make_home(self) -> None:
        """Makes the home folder where it is missing, for its user alone: networks, predictions and a token are in it.

        Raises:
            SettingsError: it cannot be made or written.
        """
        self.check_home()
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"SWEEPER_HOME={self.home} cannot be made ({error.strerror}); {_HOME_FIX}") from error

    def check_home(self) -> None:
        """Makes sure that the home folder can be written, or made; makes nothing.

        Raises:
            SettingsError: it cannot.
        """
        if (fault := write_fault(self.home)) is not None:
            raise SettingsError(f"SWEEPER_HOME={self.home} cannot be written: {fault}; {_HOME_FIX}")


def _sqlite_url(file: Path) -> str:
    from storage.database import sqlite_url  # SQLAlchemy: a third of a second that not every command needs

    return sqlite_url(file)


def existing_part(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists."""
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def write_fault(folder: Path) -> str | None:
    """Why a folder, which need not exist yet, cannot be written; None if it can."""
    place = existing_part(folder)
    if not place.is_dir():
        return f"{place} is not a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"no permission to write {place}"
    return None


def load_settings(*, data: Path | None = None, notify: str | None = None) -> Settings:
    """Settings from the environment; `data` (the option `--data`) wins over SWEEPER_DATA, `notify` over SWEEPER_NOTIFY.

    Raises:
        SettingsError: a variable's value cannot be used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"SWEEPER_{name}={first['input']} cannot be used: {first['msg']}") from error
    changes: dict[str, Path | str] = {"home": settings.home.expanduser().absolute()}
    if (folder := data if data is not None else settings.data) is not None:
        changes["data"] = folder.expanduser().absolute()
    if notify is not None:
        changes["notify"] = notify
    return settings.model_copy(update=changes)

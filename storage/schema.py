"""The version of a database's tables: read, checked, and brought to the newest by Alembic without an `alembic.ini`.

The version is in the table `sweeper_schema`, because Optuna keeps its own in the same database, in
`alembic_version`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)

from storage.errors import DatabaseURLError, SchemaMismatchError
from storage.models import Base

if TYPE_CHECKING:
    from alembic.config import Config

    from storage.database import Database

# Alembic is imported where a schema is changed, not where one is read: that would be a fifth of `sweeper status`.

NEWEST = "0006"
"""The version that this program writes: that of the last file in `migrations/versions`."""

VERSION_TABLE = "sweeper_schema"
_VERSION = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""As Alembic makes it."""

_UPGRADE_LOCK = 7_305_128_001
"""Key of the Postgres advisory lock under which one process at a time changes the schema (any fixed number)."""


def current(connection: Connection) -> str | None:
    """The version of the tables that `connection` sees, None if they were never made."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def ensure(database: Database, *, create: bool) -> None:
    """Makes the tables of an empty database, and refuses any schema but the newest.

    Raises:
        DatabaseURLError: the database is empty and `create` is False.
        SchemaMismatchError: older or newer tables, or tables of our names that are not ours.
    """
    version = database.read(current)
    if version is None:
        if not create:
            raise DatabaseURLError(f"{database.url} holds no Sweeper tables; check the URL, or launch a sweep first")
        upgrade(database)
    elif version != NEWEST:
        _refuse_newer(database, version)
        raise SchemaMismatchError(
            f"{database.url} has schema {version}, this program needs {NEWEST}; "
            "make a backup, then run: sweeper db upgrade"
        )


def upgrade(database: Database) -> str:
    """Brings the tables to the newest version in one transaction, one process at a time; returns that version."""
    database.use_write_ahead_log()

    def work(connection: Connection) -> None:
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        version = current(connection)  # another process may have been faster
        if version is None:
            _refuse_strangers(database, connection)
        else:
            _refuse_newer(database, version)
        if version is None:
            # As all migrations would make them, in a tenth of the time.
            Base.metadata.create_all(connection, checkfirst=False)
            _VERSION.create(connection)
            connection.execute(insert(_VERSION).values(version_num=NEWEST))
        else:
            from alembic import command

            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    database.write(work)
    return NEWEST


def _refuse_newer(database: Database, version: str) -> None:
    from alembic.script import ScriptDirectory

    if version not in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}:
        raise SchemaMismatchError(
            f"{database.url} has schema {version}, which is newer than this program's {NEWEST}; "
            "update the program: pip install --upgrade sweeper"
        )


def _refuse_strangers(database: Database, connection: Connection) -> None:
    strangers = sorted(set(Base.metadata.tables) & set(inspect(connection).get_table_names()))
    if strangers:
        raise SchemaMismatchError(
            f"{database.url} has tables of another program under our names ({', '.join(strangers)}); "
            "name an empty database in the URL"
        )


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config

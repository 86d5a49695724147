"""The demo's database of an earlier revision, and what that revision said of it (`tests/fixtures/README.md`)."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config

from storage import schema
from storage.database import connect

FOLDER = Path(__file__).parent / "fixtures" / "demo-0002"
SCHEMA = "0002"


def restore(file: Path) -> None:
    """Makes the SQLite file that the earlier revision had."""
    connection = sqlite3.connect(file)
    connection.executescript(gzip.decompress((FOLDER / "sweeper.sql.gz").read_bytes()).decode())
    connection.close()


def copy_rows(file: Path, url: str) -> None:
    """Makes tables of the same schema in another database and copies the rows of ours, Optuna's left out."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))

    def make(connection: sqlalchemy.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, SCHEMA)

    def fill(connection: sqlalchemy.Connection) -> None:
        tables = sqlalchemy.MetaData()
        tables.reflect(connection)
        old = sqlite3.connect(file)
        old.row_factory = sqlite3.Row
        for table in tables.sorted_tables:
            if table.name == schema.VERSION_TABLE:
                continue
            booleans = [column.name for column in table.columns if isinstance(column.type, sqlalchemy.Boolean)]
            rows = [dict(row) for row in old.execute(f"SELECT * FROM {table.name}")]  # noqa: S608 - our own names
            for row in rows:
                row.update({name: bool(row[name]) for name in booleans})
            if rows:
                connection.execute(table.insert(), rows)
        old.close()

    with connect(url, create=True, retry_for=5) as database:
        database.write(make)
        database.write(fill)


def stored_specs(url: str) -> dict[str, dict[str, Any]]:
    """Hash to spec, as they stand in the database."""
    with connect(url, create=False, retry_for=5) as database:
        rows = database.read(lambda c: c.execute(sqlalchemy.text("SELECT hash, spec FROM trial")).all())
    return {row.hash: json.loads(row.spec) for row in rows}


def scores() -> list[dict[str, str | float | None]]:
    """The earlier revision's scores by trial, partition, case and class."""
    with (FOLDER / "scores.csv").open(newline="", encoding="utf-8") as file:
        return [
            {
                name: value if name in ("trial", "partition", "case", "label") else float(value) if value else None
                for name, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def answers() -> dict[str, Any]:
    """What the earlier revision computed."""
    found: dict[str, Any] = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
    return found

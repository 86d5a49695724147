"""Column types and the clock that make SQLite and Postgres give back exactly what was written.

SQLite stores NaN as NULL, Postgres refuses NUL characters in text and NaN in JSON, and each has its own clock; this is
the only module that knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, Double, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code point on every database, whatever the server's language."""


class Real(TypeDecorator[float]):
    """A double that keeps NaN apart from NULL. SQLite gets NaN as the text `nan`, which its REAL columns keep."""

    impl = Double
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], float | str | None]:
        # Not `process_bind_param`, after which Double would make a float of the text again.
        nan = "nan" if dialect.name == "sqlite" else math.nan

        def bind(value: Any) -> float | str | None:
            if value is None:
                return None
            number = float(value)
            return nan if math.isnan(number) else number

        return bind

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        return float(value) if isinstance(value, str) else value


class Json(TypeDecorator[Any]):
    """JSON as ASCII text: NaN, NUL and lone surrogates survive on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, default=dict, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Words(TypeDecorator[str]):
    """Text from outside (error messages, a worker's stderr): what UTF-8 or Postgres cannot hold becomes an escape."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")

    def process_result_value(self, value: object, dialect: Dialect) -> str | None:
        return None if value is None else str(value)


class now(FunctionElement[float]):  # noqa: N801 (reads as the SQL function that it is)
    """Seconds since the epoch by the database's own clock, in the moment of the statement."""

    type = Double()
    inherit_cache = True


class part(FunctionElement[str]):  # noqa: N801 (reads as the SQL function that it is)
    """What a `Json` column has under a name, as JSON: `part(SweepRow.grid, literal("losses"))`; NULL where nothing."""

    type = Text()
    inherit_cache = True


@compiles(part, "sqlite")
def _part_sqlite(element: part, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, name = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"json_extract({column}, '$.' || {name})"


@compiles(part, "postgresql")
def _part_postgres(element: part, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, name = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"CAST(CAST({column} AS JSON) -> CAST({name} AS TEXT) AS TEXT)"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kwargs: object) -> str:
    # unixepoch('subsec') needs SQLite 3.42, and Debian 12 has 3.40; julianday is exact to the millisecond everywhere.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgres(element: now, compiler: SQLCompiler, **kwargs: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"

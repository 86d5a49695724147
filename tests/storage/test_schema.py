"""Versions of the schema: made, upgraded, refused; and models and migrations that agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from children import create, run_together
from sqlalchemy import Connection, inspect, text
from storage_samples import outcome, trial_hash

from storage import schema
from storage.database import connect, open_database, schema_version, upgrade
from storage.errors import DatabaseURLError, SchemaMismatchError
from storage.models import Base
from storage.records import SignificanceTest
from storage.repository import Repository
from storage.studies import Studies

FIXTURES = Path(__file__).parent / "fixtures"


def run(url: str, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    with connect(url, create=True, retry_for=5) as database:
        database.write(work)


def upgrade_to(url: str, revision: str) -> None:
    """A database as an older program made it."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    with connect(url, create=True, retry_for=5) as database:
        database.write(work)


def load(url: str, script: Path) -> None:
    """Runs a file of SQL statements."""
    statements = [s for s in script.read_text(encoding="utf-8").split(";\n") if s.strip()]
    with connect(url, create=True, retry_for=5) as database:
        database.write(lambda connection: [connection.exec_driver_sql(s) for s in statements])


def test_an_empty_database_gets_the_newest(empty_url: str) -> None:
    open_database(empty_url).close()
    assert schema_version(empty_url) == schema.NEWEST == "0006"
    open_database(empty_url, create=False).close()


def test_an_empty_database_is_left_empty_without_create(empty_url: str) -> None:
    with connect(empty_url, create=True, retry_for=5) as database:
        assert database.read(schema.current) is None
    with pytest.raises(DatabaseURLError, match="holds no Sweeper tables"):
        open_database(empty_url, create=False)
    assert schema_version(empty_url) is None


@pytest.mark.parametrize("made", [lambda url: upgrade_to(url, "head"), lambda url: open_database(url).close()])
def test_models_and_migrations_agree(empty_url: str, made: Callable[[str], None]) -> None:
    made(empty_url)
    with open_database(empty_url, create=False) as database:

        def work(connection: Connection) -> None:
            ours = set(Base.metadata.tables)
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table": schema.VERSION_TABLE,
                    "include_object": lambda o, name, kind, *_: kind != "table" or name in ours,
                    "compare_type": True,
                },
            )
            assert compare_metadata(context, Base.metadata) == []
            found = inspect(connection)
            assert set(found.get_table_names()) == {*ours, schema.VERSION_TABLE}
            for name, table in Base.metadata.tables.items():
                assert found.get_pk_constraint(name)["name"] == table.primary_key.name or database.dialect == "sqlite"
                assert {fk["name"] for fk in found.get_foreign_keys(name)} == {
                    constraint.name for constraint in table.foreign_key_constraints
                }

        database.read(work)


def test_models_and_migrations_would_disagree(empty_url: str) -> None:
    """The comparison above sees a missing column and a missing index."""
    with open_database(empty_url) as database:
        run(empty_url, "DROP INDEX ix_epoch_attempt_id", "ALTER TABLE trial DROP COLUMN mlflow_run")

        def work(connection: Connection) -> list[str]:
            context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
            return sorted(change[0] for change in compare_metadata(context, Base.metadata))

        assert {"add_column", "add_index"} <= set(database.read(work))


def test_an_older_schema_is_refused_and_upgraded_with_all_its_rows(empty_url: str) -> None:
    upgrade_to(empty_url, "0001")
    load(empty_url, FIXTURES / "schema-0001.sql")
    with pytest.raises(SchemaMismatchError, match=r"has schema 0001, this program needs 0006; .* sweeper db upgrade"):
        open_database(empty_url)
    assert schema_version(empty_url) == "0001"
    assert upgrade(empty_url) == "0006"
    assert upgrade(empty_url) == "0006"
    with open_database(empty_url, create=False) as database:
        repository = Repository(database)
        finished, failed, queued = repository.trials("old study")
        assert (finished.val_dsc, finished.attempts, finished.environment) == (0.75, 2, "e1")
        assert {epoch.waited for epoch in repository.epochs(finished.hash)} == {None}
        assert repository.score_columns("old study")["dsc"] == [0.9, None]
        assert [a.state.value for a in repository.attempts(finished.hash)] == ["lost", "finished"]
        assert (failed.state.value, failed.error) == ("failed", "NaN in epoch 2")
        test = SignificanceTest("nuclei", "l", "dsc", "t", "a", "b", 3, 0.5, None, None, 0.1, None, 1.0, "h")
        repository.replace_significance("old study", [test])
        lease = repository.acquire_lease("old study", "h", 100)
        assert lease.fencing == 3
        attempt = repository.claim(lease, queued.hash)
        assert attempt is not None
        repository.finish(lease, attempt.id, outcome())


def test_scores_without_groups_are_kept_and_their_groups_are_unknown(empty_url: str) -> None:
    upgrade_to(empty_url, "0003")
    load(empty_url, FIXTURES / "schema-0003.sql")
    assert upgrade(empty_url) == upgrade(empty_url) == schema.NEWEST
    with open_database(empty_url, create=False) as database:
        columns = Repository(database).score_columns("old study")
    assert (columns["case"], columns["group"]) == (["a", "b"], ["", ""])
    assert (columns["dsc"], columns["recall"], columns["betti"]) == ([0.9, None], [None, None], [None, -2.5])


def test_a_newer_schema_is_refused_everywhere(empty_url: str) -> None:
    open_database(empty_url).close()
    run(empty_url, "UPDATE sweeper_schema SET version_num = '9999'")
    for call in (open_database, upgrade):
        with pytest.raises(SchemaMismatchError, match=r"has schema 9999, which is newer .* 0006; update the program"):
            call(empty_url)
    assert schema_version(empty_url) == "9999"


def test_tables_of_another_program_are_left_alone(empty_url: str) -> None:
    run(empty_url, "CREATE TABLE trial (x integer)")
    with pytest.raises(SchemaMismatchError, match=r"tables of another program under our names \(trial\)"):
        open_database(empty_url)
    assert schema_version(empty_url) is None


def test_a_failed_upgrade_leaves_the_old_schema(empty_url: str) -> None:
    upgrade_to(empty_url, "0001")
    run(empty_url, "CREATE TABLE significance (x integer)")
    with pytest.raises(Exception, match="significance"):
        upgrade(empty_url)
    assert schema_version(empty_url) == "0001"


def test_optuna_tables_in_the_same_database_do_not_matter(empty_url: str) -> None:
    with open_database(empty_url) as database, Studies(database) as studies:
        studies.record("s", trial_hash="a", gamma=0.5, value=0.5)
    with open_database(empty_url) as database, Studies(database) as studies:
        assert studies.values("s") == {"a": (0.5, 0.5)}
    assert schema_version(empty_url) == "0006"


@pytest.mark.slow
def test_several_processes_may_open_it_first(empty_url: str) -> None:
    run_together(*((create, empty_url, f"s{n}") for n in range(4)))
    with open_database(empty_url) as database:
        assert {sweep.name for sweep in Repository(database).sweeps()} == {f"s{n}" for n in range(4)}
        assert Repository(database).trial(trial_hash(1)).position == 1


def test_upgrade_of_a_missing_database_makes_it(new_url: Callable[[], str]) -> None:
    assert upgrade(new_url()) == "0006"

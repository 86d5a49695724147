"""Export and import: lossless by Parquet between both databases, and refusals that name the file."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from storage_samples import epoch, let_lease_run_out, new_trials, outcome, scores, spec, stored_splits

from storage.database import open_database
from storage.errors import SweepConflictError, TransferError, UnknownSweepError
from storage.records import Lease, NewTrial, SignificanceTest
from storage.repository import Repository
from storage.transfer import Imported, export_sweep, import_sweep
from trials.results import Epoch
from trials.splits import Split
from trials.states import AttemptState, FailureKind, SweepState, TrialState


@pytest.fixture
def other(new_url: Callable[[], str]) -> Iterator[Repository]:
    with open_database(new_url()) as database:
        yield Repository(database)


def trials_of(count: int, study: str | None = None) -> list[NewTrial]:
    """Trials whose hash is that of their spec, as it is of every trial that a grid makes."""
    made = []
    for trial in new_trials(count, study=study):
        own = dataclasses.replace(spec(trial.gamma or 0.0), seed=2**62)
        made.append(dataclasses.replace(trial, spec=own, hash=own.hash, seed=own.seed, cost=1.5))
    return made


def trial_hash(index: int) -> str:
    return trials_of(index + 1)[index].hash


def fill(repository: Repository) -> None:
    """A sweep with every kind of row, and values that formats like to lose."""
    trials = trials_of(6, "study/nuclei/focal")
    repository.create_sweep("study", grid={"gamma": [0.1], "x": math.nan}, trials=trials, details={"a": None})
    lease = repository.acquire_lease("study", "h", 1000)
    ids = []
    for index in range(5):
        attempt = repository.claim(lease, trial_hash(index), host="h,1\n\"'", device="cpu")
        assert attempt is not None
        ids.append(attempt.id)
    odd = (Epoch(1, math.nan, math.inf, -math.inf, 5e-324, 2**40, -0.0), epoch(2))
    given = scores()
    odd_scores = (
        dataclasses.replace(given[0], values={"dsc": None, "iou": 0.6, "hd95": math.inf}, case='é\n,";'),
        dataclasses.replace(given[1], values={**given[1].values, "dsc": 0.1 + 0.2, "iou": 0.0, "hd95": 0.0}),
        *given[2:],
    )
    repository.finish(lease, ids[0], dataclasses.replace(outcome(2), history=odd, scores=odd_scores))
    repository.record_epoch(lease, ids[1], odd[0])
    repository.fail(lease, ids[1], FailureKind.DIVERGED, "NaN in epoch 1", "tail\x00\udcff", requeue=False)
    repository.fail(lease, ids[2], FailureKind.LOST, "gone", requeue=True, state=AttemptState.LOST)
    repository.prune(lease, ids[3], "slow")
    repository.record_epoch(lease, ids[4], epoch(1))
    repository.set_sweep_state(lease, SweepState.STOPPED, "by hand")
    repository.add_request("study", "retry", {"trial": None})
    repository.save_split("nuclei", "p", Split(("a",), ("b",), ("c", "é"), {"n": 1}))
    test = SignificanceTest("nuclei", "l", "dsc", "t", "a", "b", 3, math.nan, None, -math.inf, 0.1, None, 1.0, "h")
    repository.replace_significance("study", [test])


def let_go_on(repository: Repository) -> Lease:
    let_lease_run_out(repository.database, repository.sweep("study").id)
    return repository.acquire_lease("study", "another", 1000)


def everything(repository: Repository, name: str = "study") -> str:
    """All that is stored of a sweep, as text (in which NaN equals NaN); database numbers and what an import ends aside.

    An attempt that ran, a trial that ran and a request that waited end with the import.
    """

    def attempt_of(a: Any) -> Any:
        ended = {"state": AttemptState.LOST, "kind": FailureKind.LOST, "error": None, "ended_at": None}
        ran = a.state in (AttemptState.RUNNING, AttemptState.LOST)
        return dataclasses.replace(a, id=0, sweep_id=0, **(ended if ran else {}))

    def trial_of(t: Any) -> Any:
        return dataclasses.replace(t, state=TrialState.QUEUED) if t.state is TrialState.RUNNING else t

    return repr(
        (
            dataclasses.replace(repository.sweep(name), id=0, details={}),
            [trial_of(trial) for trial in repository.trials(name)],
            [attempt_of(a) for a in repository.attempts_of_sweep(name)],
            [repository.epochs(trial.hash) for trial in repository.trials(name)],
            repository.score_columns(name),
            repository.environments(),
            stored_splits(repository),
            repository.significance(name),
            [dataclasses.replace(r, id=0, sweep_id=0, done_at=0, outcome="") for r in repository.requests(name)],
        )
    )


def test_parquet_loses_nothing(repository: Repository, other: Repository, tmp_path: Path) -> None:
    fill(repository)
    folder = export_sweep(repository, "study", tmp_path / "new" / "export")
    assert import_sweep(other, folder) == Imported("study", taken=6, kept=0)
    assert everything(other) == everything(repository)
    text = everything(other)
    assert set(other.score_columns("study")["group"]) == {"", 'é,"\n'}
    assert "nan" in text
    assert "inf" in text
    assert import_sweep(other, folder).kept == 5
    assert everything(other) == everything(repository)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["export"]


def test_the_umask_decides_who_may_read_an_export(repository: Repository, tmp_path: Path) -> None:
    fill(repository)
    old = os.umask(0o027)
    try:
        folder = export_sweep(repository, "study", tmp_path / "export")
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def test_an_export_from_before_there_were_groups_is_read(
    repository: Repository, other: Repository, tmp_path: Path
) -> None:
    fill(repository)
    folder = export_sweep(repository, "study", tmp_path / "export")
    file, manifest = folder / "score.parquet", json.loads((folder / "sweep.json").read_text())
    pq.write_table(pq.read_table(file).drop_columns(["group"]), file)
    manifest["files"]["score.parquet"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "sweep.json").write_text(json.dumps({**manifest, "version": 2}))
    assert import_sweep(other, folder).taken == 6
    before, after = repository.score_columns("study"), other.score_columns("study")
    assert set(after["group"]) == {""}
    assert {**after, "group": before["group"]} == before


def test_an_export_from_before_waits_for_input_were_measured_is_read(
    repository: Repository, other: Repository, tmp_path: Path
) -> None:
    fill(repository)
    folder = export_sweep(repository, "study", tmp_path / "export")
    file, manifest = folder / "epoch.parquet", json.loads((folder / "sweep.json").read_text())
    pq.write_table(pq.read_table(file).drop_columns(["waited"]), file)
    manifest["files"]["epoch.parquet"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "sweep.json").write_text(json.dumps({**manifest, "version": 3}))
    assert import_sweep(other, folder).taken == 6
    before, after = repository.epoch_columns("study"), other.epoch_columns("study")
    assert set(before["waited"]) == {0.25, None}
    assert set(after["waited"]) == {None}
    assert str({**after, "waited": before["waited"]}) == str(before)


def test_an_imported_sweep_goes_on(repository: Repository, other: Repository, tmp_path: Path) -> None:
    fill(repository)
    import_sweep(other, export_sweep(repository, "study", tmp_path / "export"))
    lease = other.acquire_lease("study", "new holder", 100)
    assert lease.fencing == 2
    # What ran when it was exported is lost here, and queues again.
    assert other.attempts(trial_hash(4))[0].state == AttemptState.LOST
    queued = [trial.hash for trial in other.trials("study") if trial.state is TrialState.QUEUED]
    assert queued == [trial_hash(2), trial_hash(4), trial_hash(5)]
    attempt = other.claim(lease, queued[0])
    assert attempt is not None
    assert attempt.number == 2
    other.finish(lease, attempt.id, outcome())


def test_what_this_database_tried_stays(repository: Repository, other: Repository, tmp_path: Path) -> None:
    fill(repository)
    other.create_sweep("mine", grid={}, trials=trials_of(2))
    lease = other.acquire_lease("mine", "h", 100)
    attempt = other.claim(lease, trial_hash(0))
    assert attempt is not None
    other.finish(lease, attempt.id, outcome(1))
    mine = other.trials("mine")[0]
    result = import_sweep(other, export_sweep(repository, "study", tmp_path / "export"))
    assert (result.taken, result.kept) == (5, 1)
    assert dataclasses.replace(other.trials("mine")[0]) == mine
    assert other.trials("mine")[1].state == TrialState.FAILED
    assert len(other.epochs(trial_hash(0))) == 1
    assert len(other.trials("study")) == 6


def test_attempts_of_a_sweep_that_is_here_stay_with_it(
    repository: Repository, other: Repository, tmp_path: Path
) -> None:
    fill(repository)
    let_lease_run_out(repository.database, repository.sweep("study").id)
    repository.create_sweep("second", grid={}, trials=trials_of(6))
    repository.set_sweep_state(repository.acquire_lease("second", "h", 100), SweepState.STOPPED)
    first = export_sweep(repository, "study", tmp_path / "first")
    second = export_sweep(repository, "second", tmp_path / "second")
    import_sweep(other, first)
    import_sweep(other, second)
    assert {trial.sweep for trial in other.trials("second")} == {"study", None}
    assert everything(other, "second") == everything(repository, "second")


def test_another_sweep_of_that_name_is_refused(repository: Repository, other: Repository, tmp_path: Path) -> None:
    fill(repository)
    other.create_sweep("study", grid={}, trials=trials_of(3))
    with pytest.raises(SweepConflictError, match="'study' is in this database with other trials"):
        import_sweep(other, export_sweep(repository, "study", tmp_path / "export"))
    assert {trial.state for trial in other.trials("study")} == {TrialState.QUEUED}


def test_csv_is_for_reading(repository: Repository, tmp_path: Path) -> None:
    fill(repository)
    folder = export_sweep(repository, "study", tmp_path / "csv", "csv")
    with (folder / "score.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["case"] for row in rows} == {'é\n,";', "case-000", "case-001"}
    assert {row["dsc"] for row in rows} == {"", "0.30000000000000004", "0.75"}
    assert {row["hd95"] for row in rows} == {"inf", "0"}
    assert {row["group"] for row in rows} == {"", 'é,"\n'}
    with pytest.raises(TransferError, match="CSV, which is for reading only"):
        import_sweep(repository, folder)


def test_what_ran_or_waited_comes_in_as_stopped_and_nothing_is_asked_of_a_coordinator(
    repository: Repository, other: Repository, tmp_path: Path
) -> None:
    fill(repository)
    repository.set_sweep_state(let_go_on(repository), SweepState.RUNNING)
    import_sweep(other, export_sweep(repository, "study", tmp_path / "export"))
    sweep = other.sweep("study")
    assert (sweep.state, sweep.reason) == (
        SweepState.STOPPED,
        "imported while running; run it with: sweeper resume study",
    )
    assert {t.state for t in other.trials("study")} == {TrialState.FINISHED, TrialState.FAILED, TrialState.QUEUED,
                                                        TrialState.PRUNED}  # fmt: skip
    assert all(a.state is not AttemptState.RUNNING for a in other.attempts_of_sweep("study"))
    assert other.pending_requests(other.acquire_lease("study", "h", 100)) == []


def test_an_own_sweep_gets_no_trials_by_its_name_alone(
    repository: Repository, other: Repository, tmp_path: Path
) -> None:
    """Another's folder may say that its trials are of a sweep that happens to have the name of an own one."""
    fill(repository)
    let_lease_run_out(repository.database, repository.sweep("study").id)
    repository.create_sweep("second", grid={}, trials=trials_of(6))
    other.create_sweep("study", grid={}, trials=[])
    import_sweep(other, export_sweep(repository, "second", tmp_path / "second"))
    assert other.attempts_of_sweep("study") == []
    assert {trial.sweep for trial in other.trials("second")} == {"second", None}


class TestRefusals:
    def test_unknown_sweep_and_format(self, repository: Repository, tmp_path: Path) -> None:
        with pytest.raises(UnknownSweepError):
            export_sweep(repository, "nope", tmp_path / "x")
        with pytest.raises(TransferError, match="unknown format 'xlsx'"):
            export_sweep(repository, "nope", tmp_path / "x", "xlsx")  # type: ignore[arg-type]

    def test_a_folder_with_something_in_it(self, repository: Repository, tmp_path: Path) -> None:
        fill(repository)
        (tmp_path / "x").write_text("")
        with pytest.raises(TransferError, match="is not an empty folder"):
            export_sweep(repository, "study", tmp_path)
        with pytest.raises(TransferError, match="is not an empty folder"):
            export_sweep(repository, "study", tmp_path / "x")
        with pytest.raises(TransferError, match="File exists"):
            export_sweep(repository, "study", tmp_path / "x" / "y")

    def test_an_empty_folder_is_filled(self, repository: Repository, tmp_path: Path) -> None:
        fill(repository)
        (tmp_path / "x").mkdir()
        assert (export_sweep(repository, "study", tmp_path / "x") / "sweep.json").is_file()

    def test_a_damaged_or_missing_file(self, repository: Repository, other: Repository, tmp_path: Path) -> None:
        fill(repository)
        folder = export_sweep(repository, "study", tmp_path / "x")
        scores_file = folder / "score.parquet"
        scores_file.write_bytes(scores_file.read_bytes()[:-1])
        with pytest.raises(TransferError, match=r"score\.parquet is missing or damaged"):
            import_sweep(other, folder)
        scores_file.unlink()
        with pytest.raises(TransferError, match=r"score\.parquet is missing or damaged"):
            import_sweep(other, folder)
        assert other.sweeps() == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [(None, "cannot be read"), ("{", "cannot be read"), ("[]", "not the manifest"), ("{}", "not the manifest")],
    )
    def test_no_export(self, repository: Repository, tmp_path: Path, text: str | None, says: str) -> None:
        if text is not None:
            (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(TransferError, match=says):
            import_sweep(repository, tmp_path)

    def test_a_newer_export(self, repository: Repository, tmp_path: Path) -> None:
        fill(repository)
        folder = export_sweep(repository, "study", tmp_path / "x")
        manifest = json.loads((folder / "sweep.json").read_text())
        (folder / "sweep.json").write_text(json.dumps({**manifest, "version": 99}))
        with pytest.raises(
            TransferError, match="has export version 99, this program reads up to 4; update the program"
        ):
            import_sweep(repository, folder)

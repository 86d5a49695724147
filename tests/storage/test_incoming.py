"""What an imported folder may not say: each is one line of text, and nothing of the folder is imported."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from storage_samples import new_trials, outcome

from storage.database import open_database, sqlite_url
from storage.errors import TransferError
from storage.repository import Repository
from storage.transfer import export_sweep, import_sweep
from trials.spec import content_hash
from trials.splits import Split

Rows = list[dict[str, Any]]
Change = Callable[[Rows], object]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with a row in every table."""
    folder = tmp_path_factory.mktemp("export")
    with open_database(sqlite_url(folder / "x.db")) as database:
        repository = Repository(database)
        trials = [replace(t, seed=0, hash=t.spec.hash, study="study/a") for t in new_trials(2)]
        repository.create_sweep("study", grid={"name": "study"}, trials=trials)
        lease = repository.acquire_lease("study", "h", 1000)
        attempt = repository.claim(lease, trials[0].hash)
        assert attempt is not None
        repository.finish(lease, attempt.id, outcome(2))
        repository.add_request("study", "stop", {"now": True})
        repository.save_split("nuclei", "p", Split(("a",), ("b",), ("c",)))
        return export_sweep(repository, "study", folder / "out")


@pytest.fixture
def changed(export: Path, tmp_path: Path) -> Callable[[str, Change], Path]:
    """Gives the export with another content of one of its tables, and a manifest that fits it."""

    def make(table: str, change: Change) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(export, folder)
        manifest = json.loads((folder / "sweep.json").read_text())
        if table == "sweep":
            change([manifest["sweep"]])
        else:
            path = folder / f"{table}.parquet"
            old = pq.read_table(path)
            rows = old.to_pylist()
            change(rows)
            fields = [field for field in old.schema if not rows or field.name in rows[0]]
            pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            manifest["files"][path.name] = {"rows": len(rows), "sha256": digest}
        (folder / "sweep.json").write_text(json.dumps(manifest))
        return folder

    return make


def refused(folder: Path, tmp_path: Path) -> str:
    with open_database(sqlite_url(tmp_path / "here.db")) as database:
        with pytest.raises(TransferError) as caught:
            import_sweep(Repository(database), folder)
        assert Repository(database).sweeps() == []
        assert Repository(database).environments() == {}
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(**values: object) -> Change:
    return lambda rows: rows[0].update(values)


def spec(change: Callable[[dict[str, Any]], object], *, hashed: bool) -> Change:
    """Changes a spec, with or without the hash that then belongs to it."""

    def work(rows: Rows) -> None:
        table = json.loads(rows[0]["spec"])
        change(table)
        rows[0]["spec"] = json.dumps(table)
        if hashed:
            rows[0]["hash"] = content_hash(table)

    return work


WRONG: dict[str, tuple[str, Change, str]] = {
    "a state that is none": ("sweep", put(state="nonsense"), "sweep.state = 'nonsense'"),
    "a sweep's name that leads out": ("sweep", put(name="../../x"), "sweep.name = '../../x'"),
    "a key that is none": ("sweep", put(hacked=1), "unknown key 'hacked'"),
    "no grid": ("sweep", put(grid=[1]), "sweep.grid = [1]; expected a table"),
    "a lease beyond numbers": ("sweep", put(fencing=10**30), "sweep.fencing"),
    "a time beyond numbers": ("sweep", put(created_at=1e300), "sweep.created_at"),
    "a grid without an end": ("sweep", put(grid={"a": json.loads("[" * 500 + "]" * 500)}), "deep in each other"),
    "a trial's state": ("trial", put(state="done"), "trial.state = 'done'"),
    "a trial's hash that leads out": ("trial", put(hash="../../../x"), "trial.hash = '../../../x'"),
    "no spec": ("trial", put(spec="{}"), "its spec cannot be read"),
    "a spec that is no JSON": ("trial", put(spec="{"), "Expecting"),
    "a spec of another trial": ("trial", spec(lambda s: s.update(seed=5), hashed=False), "its spec has the hash"),
    "a spec with a wrong type": ("trial", spec(lambda s: s["data"].update(classes=5), hashed=True), "classes"),
    "a spec with a word for a number": (
        "trial", spec(lambda s: s["training"].update(epochs="9"), hashed=True), "training.epochs"
    ),
    "a copy that differs from its spec": ("trial", put(loss="dice"), "loss = 'dice', its spec says 'focal'"),
    "a mean DSC beyond 1": ("trial", put(test_dsc=7.5), "trial.test_dsc = 7.5"),
    "attempts that are not listed": ("trial", put(attempts=9), "9 attempts are counted"),
    "a trial less": ("trial", lambda rows: rows.pop(), "are not those that are listed"),
    "a trial twice": ("trial", lambda rows: rows.append(rows[0]), "is there twice"),
    "a study of another sweep": ("sweep_trial", put(study="mine/nuclei/focal"), "is not of sweep 'study'"),
    "a score beyond its metric": ("score", put(metrics='{"dsc": 7.5}'), "dsc is 7.5, expected"),
    "a score that is a word": ("score", put(metrics='{"dsc": "1"}'), "dsc is '1'"),
    "a metric without a name": ("score", put(metrics='{"": 1}'), "is no name of a metric"),
    "a part that is none": ("score", put(partition="train"), "partition = 'train'"),
    "a score of another trial": ("score", put(trial="0" * 16), "is not in the export"),
    "an epoch of another attempt": ("epoch", put(attempt=7), "has no attempt 7"),
    "an epoch twice": ("epoch", lambda rows: rows.append(rows[0]), "contradicts itself"),
    "an attempt's state": ("attempt", put(state="x"), "attempt.state = 'x'"),
    "an attempt of nobody": ("attempt", put(trial="0" * 16), "which is not listed"),
    "an environment of another hash": ("environment", put(details='{"a": "b"}'), "is not the hash of its details"),
    "a split of another hash": ("split", put(train='["z"]'), "is not the hash of its cases"),
    "a split's name that leads out": ("split", put(dataset="../x"), "split.dataset = '../x'"),
    "a request with wrong arguments": ("request", put(verb="scale", arguments="{}"), "wrong arguments"),
    "a missing value": ("trial", put(label=None), "label is missing"),
    "a missing column": ("trial", lambda rows: [row.pop("label") for row in rows], "column label is missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_could_not_have_been_written_here_is_refused(
    what: str, changed: Callable[[str, Change], Path], tmp_path: Path
) -> None:
    table, change, says = WRONG[what]
    assert says in refused(changed(table, change), tmp_path)


def manifest_of(export: Path, tmp_path: Path, change: Callable[[Any], object]) -> Path:
    shutil.copytree(export, tmp_path / "changed")
    manifest = json.loads((export / "sweep.json").read_text())
    change(manifest)
    (tmp_path / "changed" / "sweep.json").write_text(json.dumps(manifest))
    return tmp_path / "changed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.pop("files"), "needs the tables sweep and files"),
        (lambda m: m["files"].pop("score.parquet"), "does not list score.parquet"),
        (lambda m: m["files"]["trial.parquet"].update(rows=3), "it has 2 rows, the manifest says 3"),
        (lambda m: m["files"]["trial.parquet"].update(rows="2"), "rows of trial"),
        (lambda m: m.update(sweep=[]), "needs the tables sweep and files"),
        (lambda m: m.update(version=[1]), "export version [1]"),
    ],
)
def test_a_manifest_that_does_not_fit(export: Path, tmp_path: Path, change: Callable[[Any], object], says: str) -> None:
    assert says in refused(manifest_of(export, tmp_path, change), tmp_path)


def test_a_manifest_of_brackets_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("[" * 100_000)
    assert "cannot be read" in refused(tmp_path, tmp_path)


@pytest.mark.slow
def test_a_file_that_unpacks_to_far_more_memory_is_refused(
    changed: Callable[[str, Change], Path], export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kilobytes of Parquet may stand for any length of text."""
    monkeypatch.setattr("storage.transfer.MEMORY_MIB", 64)
    folder = changed("score", lambda rows: None)
    path = folder / "score.parquet"
    old = pq.read_table(path)
    row = {**old.slice(0, 1).to_pylist()[0], "group": "a" * 1_000_000}
    table = pa.table({n: pa.array([v] * 150, type=old.schema.field(n).type) for n, v in row.items()})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2_000_000
    manifest = json.loads((folder / "sweep.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["files"][path.name] = {"rows": 150, "sha256": digest}
    (folder / "sweep.json").write_text(json.dumps(manifest))
    assert "more memory than an import may have" in refused(folder, tmp_path)

"""What a stranger sends, at random: grids, exported sweeps, image files, bodies of requests.

Each is refused by one of our own errors or taken: never a traceback, never more than 2 GiB, never longer than 30 s.
In the tests, and so in CI, each kind gets a fixed number of examples, the same each time (EXAMPLES), however long they
take; `make fuzz` gives each its share of MINUTES (10), with a new seed each round.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel import MGHImage, Nifti1Image, Nifti1Pair
from PIL import Image

from storage.database import open_database, sqlite_url
from storage.records import NewTrial
from storage.repository import Repository
from storage.transfer import export_sweep
from sweeper.grids.expansion import DataIdentity, expand
from sweeper.grids.files import grid_of_text
from sweeper.grids.limits import check_trials
from sweeper.run.importing import bring_in
from sweeper.server.app import API, make_app
from sweeper.server.slowdown import Slowdown
from sweeper.server.tokens import load_tokens
from sweeper.settings import Settings
from sweeper.study import read_study
from sweeper.verbs import Host
from tests.results import result, scored
from trials.errors import ExpectedError
from trials.memory import limited_memory
from trials.results import Epoch
from workers.datasets.formats import ENDINGS
from workers.datasets.images import read_image
from workers.datasets.volumes import read_volume

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of libraries, about what is wrong with a file
]

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
KINDS = 4
EXAMPLES = 60
SECONDS = 30
MEMORY_MIB = 2048

EXTREMES = ("-1", "0", "1e400", "nan", "-inf", "9" * 30, "9" * 5000, '""', '"' + "x" * 5000 + '"', "[]", "{}", "true",
            "[[[[1]]]]", "1979-05-27", '"../../x"', '"\\u0000"', '"=1+1"', "[1, 'a']", "{low=0, high=1}")  # fmt: skip
JSON_EXTREMES = (None, -1, 0, 7.5, 1e300, float("nan"), float("inf"), 2**40, 10**30, "", "x", "../../x", "\x00",
                 "\ud800", [], {}, [[]], {"a": 1}, True, "a" * 2000)  # fmt: skip


@contextmanager
def bounded() -> Iterator[None]:
    """Time and memory of one example; a refusal by one of our own errors is what it may end with."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with limited_memory(MEMORY_MIB):
            yield
    except ExpectedError:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(strategy: st.SearchStrategy[Any], body: Callable[[Any], None], *, examples_in_ci: int = EXAMPLES) -> None:
    """Runs `body` on examples: a fixed number, or until this kind's share of the minutes is over."""
    everything = list(HealthCheck)
    common = {"deadline": None, "database": None, "suppress_health_check": everything, "max_examples": examples_in_ci}
    end = time.monotonic() + MINUTES * 60 / KINDS
    once = True
    while once or time.monotonic() < end:
        once = False

        @settings(**common, derandomize=not MINUTES)
        @given(strategy)
        def run(example: Any) -> None:
            with bounded():
                body(example)

        run()


def changed_bytes(data: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    """The data with some bytes replaced, each at a place between 0 and 1."""
    found = bytearray(data)
    for place, given_bytes, dropped in changes:
        start = int(place * len(found))
        found[start : start + dropped] = given_bytes
    return bytes(found)


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=12), st.integers(0, 40)), max_size=6)


# Grids.


def shipped_texts() -> list[str]:
    files = resources.files("sweeper.grids").iterdir()
    return sorted(file.read_text(encoding="utf-8") for file in files if file.name.endswith(".toml"))


KEY_SIGNS = "abc._-[]'\""


@st.composite
def grid_texts(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(shipped_texts()))
    lines = text.splitlines()
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "drop", "double", "key", "text"]))
        key, _, _ = lines[at].partition("=")
        if kind == "value":
            lines[at] = f"{key or 'a'} = {draw(st.sampled_from(EXTREMES))}"
        elif kind == "drop":
            del lines[at:]
            lines.append("")
        elif kind == "double":
            lines += lines[at:] * draw(st.sampled_from([1, 50]))
        elif kind == "key":
            lines[at] = draw(st.text(KEY_SIGNS, max_size=30)) + " = 1"
        else:
            lines.insert(at, draw(st.text(max_size=30)) * draw(st.sampled_from([1, 2000])))
    return "\n".join(lines)


def test_grids() -> None:
    def body(text: str) -> None:
        grid = grid_of_text(text)
        check_trials(grid, 3000, "this test")
        expand(grid, {one.name: DataIdentity(("a", "b"), 2) for one in grid.datasets})

    fuzz(grid_texts(), body)


# Exported sweeps.

GRID = """
name = "study"
[[datasets]]
name = "nuclei"
[[losses]]
name = "focal"
gamma = [1, 2]
"""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    grid = grid_of_text(GRID)
    specs = expand(grid, {"nuclei": DataIdentity(("background", "nucleus"), 2)})
    with open_database(sqlite_url(folder / "x.db")) as database:
        repository = Repository(database)
        rows = [
            NewTrial(spec.hash, spec, "a trial", "nuclei", "focal", spec.loss.gamma, 0, spec.seed, 1, "study/n/focal")
            for spec in specs
        ]
        repository.create_sweep("study", grid=grid.to_dict(), trials=rows)
        lease = repository.acquire_lease("study", "h", 1000)
        attempt = repository.claim(lease, rows[0].hash)
        assert attempt is not None
        outcome = result(
            scores=(scored(p, f"case-{p}", "nucleus", 0.75, 0.6, 0.7, 0.8) for p in ("validation", "test")),
            history=(Epoch(1, 0.5, 0.6, 0.7, 0.1, 19, 1.5),),
        )
        repository.finish(lease, attempt.id, replace(outcome, environment={"python": "3.11"}))
        repository.add_request("study", "stop", {"now": True})
        return export_sweep(repository, "study", folder / "out")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    open_database(sqlite_url(path)).close()
    return path


@st.composite
def folder_changes(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["bytes", "cell", "manifest", "rows"]))
    if kind == "bytes":
        return kind, (draw(st.integers(0, 9)), draw(CHANGES), draw(st.booleans()))
    place = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))
    return kind, (draw(st.integers(0, 8)), place, draw(st.sampled_from(JSON_EXTREMES)))


def put_deep(value: Any, place: list[int], new: object) -> Any:
    """The value with another one at a place in it, which the numbers choose."""
    if not place or not isinstance(value, dict | list) or not value:
        return new
    if isinstance(value, dict):
        key = sorted(value, key=str)[place[0] % len(value)]
        return {**value, key: put_deep(value[key], place[1:], new)}
    at = place[0] % len(value)
    return [*value[:at], put_deep(value[at], place[1:], new), *value[at + 1 :]]


def changed_table(path: Path, place: list[int], new: object, *, more: bool) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist() or [dict.fromkeys(table.schema.names)]
    if more:
        rows += rows[:1]
    row = rows[place[0] % len(rows)]
    name = sorted(row)[place[-1] % len(row)]
    old = row[name]
    if isinstance(old, str) and old.startswith(("{", "[")) and len(place) > 1:
        row[name] = json.dumps(put_deep(json.loads(old), place[1:], new))
    else:
        row[name] = new
    try:
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        pq.write_table(pa.table({name: pa.array([1.5] * len(rows))}), path)


def put(folder: Path, kind: str, values: Any) -> None:
    files = sorted(folder.iterdir())
    manifest = json.loads((folder / "sweep.json").read_text())
    if kind == "bytes":
        number, changes, fits = values
        path = files[number % len(files)]
        path.write_bytes(changed_bytes(path.read_bytes(), changes))
        if not fits or path.name == "sweep.json":
            return
    elif kind == "manifest":
        _, place, new = values
        (folder / "sweep.json").write_text(json.dumps(put_deep(manifest, place, new)))
        return
    else:
        number, place, new = values
        tables = [file for file in files if file.suffix == ".parquet"]
        path = tables[number % len(tables)]
        changed_table(path, place, new, more=kind == "rows")
    entry = {"rows": 0, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    try:
        entry["rows"] = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        entry["rows"] = 1
    manifest["files"][path.name] = entry
    (folder / "sweep.json").write_text(json.dumps(manifest))


def test_exported_sweeps(export: Path, empty: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "changed", tmp_path / "here.db"

    def body(change: tuple[str, Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(export, folder)
        put(folder, *change)
        for old in tmp_path.glob("here.db*"):
            old.unlink()
        shutil.copy(empty, file)
        with open_database(sqlite_url(file)) as database:
            repository = Repository(database)
            try:
                name = bring_in(repository, folder).done.sweep
            except ExpectedError:
                assert repository.sweeps() == []
                raise
            # What came in does not break what reads it.
            assert repository.sweep(name).state in ("stopped", "finished", "broken")
            host = Host(Settings(home=tmp_path), repository)
            from sweeper import verbs
            from sweeper.verbs.requests import ResultsRequest, StatusRequest

            verbs.status(host, name, StatusRequest())
            verbs.results(host, name, ResultsRequest())
            read_study(repository, name)

    fuzz(folder_changes(), body)


# Image files.


def picture(format_: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(mode)
    image.save(file, format=format_)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file whose header promises so many pixels, with the right checksum."""
    data = picture("PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def volumes(folder: Path) -> dict[str, dict[str, bytes]]:
    """A volume in each format: the files that it consists of, by their names; the first is the one that is read."""
    values = np.zeros((4, 4, 4), np.int16)
    for name, kind in (("nii", Nifti1Image), ("nii.gz", Nifti1Image), ("hdr", Nifti1Pair), ("img", Nifti1Pair)):
        of_format(folder, name, lambda path, kind=kind: nibabel.save(kind(values, np.eye(4)), path))
    for name in ("mgz", "mgh"):
        of_format(folder, name, lambda path: nibabel.save(MGHImage(values.astype(np.int32), np.eye(4)), path))
    of_format(folder, "npy", lambda path: np.save(path, values))
    itk = pytest.importorskip("SimpleITK")
    for name in ("mha", "mhd", "nrrd", "nhdr"):
        of_format(folder, name, lambda path: itk.WriteImage(itk.GetImageFromArray(values), str(path)))
    of_format(folder, "dcm", lambda path: itk.WriteImage(itk.GetImageFromArray(values[:1]), str(path)))
    found = {}
    for one in sorted(folder.iterdir()):
        files = sorted(one.iterdir(), key=lambda path: path.name != f"volume.{one.name}")
        found[f".{one.name}"] = {file.name: file.read_bytes() for file in files}
    return found


def of_format(folder: Path, name: str, save: Callable[[Path], object]) -> None:
    (folder / name).mkdir(parents=True)
    save(folder / name / f"volume.{name}")


def test_image_files(tmp_path: Path) -> None:
    pictures = {".png": "PNG", ".tif": "TIFF", ".jpg": "JPEG", ".bmp": "BMP", ".gif": "GIF"}
    whole = {ending: {f"file{ending}": picture(name)} for ending, name in pictures.items()}
    as_volumes = volumes(tmp_path / "volumes")
    whole |= as_volumes
    alike = {".jpeg", ".tiff"}  # other names of what is there
    assert set(whole) == set(ENDINGS) - alike, "each format that is read has a file here"
    sizes = st.sampled_from([0, 1, 8, 2**16, 2**20, 2**31 - 1, 2**32 - 1])

    def body(example: tuple[str, list[tuple[float, bytes, int]], tuple[int, int] | None, bool, int]) -> None:
        ending, changes, size, at_start, number = example
        folder = tmp_path / "now"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in whole[ending].items():
            (folder / name).write_bytes(content)
        names = list(whole[ending])
        path, changed = folder / names[0], folder / names[number % len(names)]
        data = png_of_size(*size) if size and ending == ".png" else whole[ending][changed.name]
        if at_start:  # where the header is
            changes = [
                (place * min(1.0, 352 / len(data)), given_bytes, dropped) for place, given_bytes, dropped in changes
            ]
        changed.write_bytes(changed_bytes(data, changes))
        (read_volume if ending in as_volumes else read_image)(path)

    examples = st.tuples(
        st.sampled_from(sorted(whole)), CHANGES, st.none() | st.tuples(sizes, sizes), st.booleans(), st.integers(0, 1)
    )
    fuzz(examples, body, examples_in_ci=2 * EXAMPLES)


# Bodies of requests.


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(EXTREMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("grid", "toml", "set", "name", "fresh", "rehearse", "extend", "limit", "now", "concurrency", "trials", "failed")
BODIES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=4)
PLANS = st.fixed_dictionaries(
    {},
    optional={"toml": grid_texts(), "set": st.lists(st.sampled_from(EXTREMES).map(lambda v: f"a.b={v}"), max_size=3)},
)
PATHS = ("/plan", "/sweeps", "/sweeps/study/stop", "/sweeps/study/scale", "/sweeps/study/retry", "/sweeps/study/resume",
         "/sweeps/..%2F..%2Fx/stop", "/sweeps/%00/retry")  # fmt: skip


def test_bodies_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    token = "f" * 32
    with open_database(sqlite_url(tmp_path / "sweeper.db")) as database:
        host = Host(Settings(home=tmp_path, data=tmp_path), Repository(database))
        app = make_app(host, load_tokens({"SWEEPER_TOKENS": f"full:{token}"}, own=None), slowdown=Slowdown(0.0))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        client = TestClient(
            app, "http://127.0.0.1:8080", headers=headers
        )  # which raises what the service does not catch

        def body(example: tuple[str, Any]) -> None:
            path, content = example
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            answer = client.post(f"{API}{path}", content=data)
            assert answer.status_code != 500
            assert answer.json() is not None

        anything = BODIES | st.binary(max_size=60) | VALUES
        fuzz(st.tuples(st.sampled_from(PATHS), anything) | st.tuples(st.just("/plan"), PLANS), body)

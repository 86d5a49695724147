"""The spool: what is written is read again, whatever was cut off or damaged."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.tracking.tracking_samples import epoch, trial, write_trial
from workers.tracking import Spool
from workers.tracking.records import (
    ArtifactRecord,
    MetricsRecord,
    ModelRecord,
    StartRecord,
    UnknownRecord,
    to_line,
)
from workers.tracking.spool import read_lines


def metrics(path: Path) -> list[MetricsRecord]:
    return [line.record for line in read_lines(path) if isinstance(line.record, MetricsRecord)]


OLD_LINES = """
{"n":1,"kind":"start","at":1795808400778,"name":"nuclei · tversky","tags":{"sweeper.trial":"25b5742767da7492"},\
"params":{"loss.alpha":"0.3"},"dataset":{"name":"nuclei","digest":"a3cb54fde5ee71ec"},"model_name":"nuclei · tversky"}
{"n":2,"kind":"metrics","at":1795808405997,"step":1,"values":{"loss":0.5,"val_loss":NaN}}
{"n":3,"kind":"artifact","at":1795808436019,"path":"segmentations.png","folder":"segmentations"}
{"n":4,"kind":"model","at":1795808436021,"path":"model.keras","input_shape":[128,null,3],"classes":["nucleus"],\
"input_example":null,"requirements":{"keras":"3.15.1"}}
{"n":5,"kind":"note","at":1795808436021,"text":"of a later version"}
{"n":6,"kind":"end","at":1795808436021,"status":"FINISHED","tags":{"state":"finished"},"step":1,"values":{"steps":19.0}}
"""


def test_a_spool_of_the_version_before_is_read_and_written_the_same(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_text(OLD_LINES.lstrip(), encoding="utf-8")
    lines = list(read_lines(path))
    assert [line.record.kind for line in lines] == ["start", "metrics", "artifact", "model", "note", "end"]
    start, model = lines[0].record, lines[3].record
    assert isinstance(start, StartRecord)
    assert (start.dataset.name, start.params["loss.alpha"]) == ("nuclei", "0.3")
    assert isinstance(model, ModelRecord)
    assert model.inside(tmp_path).path == tmp_path / "model.keras"
    again = [to_line(line.number, line.at, line.record) for line in lines if not isinstance(line.record, UnknownRecord)]
    old = [line for line in path.read_bytes().splitlines(keepends=True) if b"later version" not in line]
    assert again == old


def test_a_spool_numbers_its_records_and_keeps_relative_paths(tmp_path: Path) -> None:
    path = write_trial(tmp_path / "trial", trial())
    records = list(read_lines(path))
    assert [r.number for r in records] == [1, 2, 3, 4, 5, 6]
    assert [r.record.kind for r in records] == ["start", "metrics", "metrics", "metrics", "artifact", "end"]
    assert records[4].record == ArtifactRecord(Path("overlay.png"), "overlays")
    assert records[-1].end == path.stat().st_size
    assert all(a.at <= b.at for a, b in itertools.pairwise(records))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_spool_cut_anywhere_is_a_prefix_and_goes_on(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write_trial(folder, trial())
    whole = list(read_lines(path))
    cut = data.draw(st.integers(0, path.stat().st_size))
    os.truncate(path, cut)
    complete = [record for record in whole if record.end <= cut]
    assert list(read_lines(path)) == complete
    with Spool(path) as spool:
        assert spool.append(MetricsRecord(9, {})) == len(complete) + 1
    after = list(read_lines(path))
    assert after[:-1] == complete
    assert after[-1].number == len(complete) + 1


@pytest.mark.slow
def test_a_killed_writer_loses_no_complete_record(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from workers.tracking.records import MetricsRecord; from workers.tracking.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for i in itertools.count():\n"
        "    spool.append(MetricsRecord(i, {'loss': 1.0})); print(i, flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout:
        for _ in range(200):
            said = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    last = int((said + rest).split("\n")[-2])
    steps = [record.step for record in metrics(path)]
    assert steps == list(range(len(steps)))
    assert len(steps) > last >= 199


def test_a_repeated_epoch_is_written_once_unless_its_values_differ(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.epoch(epoch(1))
        spool.epoch(epoch(2, loss=math.nan))
    with Spool(path) as spool:  # a resumed trial repeats the epochs since its checkpoint
        spool.epoch(epoch(1))
        spool.epoch(epoch(2, loss=math.nan))
        spool.epoch(epoch(2, loss=0.25))
    losses = [record.values["loss"] for record in metrics(path)]
    assert losses[0] == 0.5
    assert math.isnan(losses[1])
    assert losses[2:] == [0.25]


def test_an_unreadable_line_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.epoch(epoch(1))
    with path.open("ab") as file:
        file.write(b"\x00\x00garbage\n[1]\n")
    with Spool(path) as spool:
        spool.epoch(epoch(2))
    assert [record.step for record in metrics(path)] == [1, 2]
    assert str(path) in caplog.text


@pytest.mark.slow
def test_reading_and_writing_need_neither_mlflow_nor_tensorflow() -> None:
    code = (
        "import sys, workers.tracking, workers.scoring.overlays; "
        "print([m for m in ('mlflow', 'tensorflow', 'keras', 'sqlalchemy', 'ray') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"

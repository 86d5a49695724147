"""What the doctor says of a machine with everything, and with each thing missing. It changes nothing."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import services as ray_services

from storage.database import open_database
from sweeper import doctor, services
from sweeper.doctor import Finding, examine
from sweeper.services import ray_fault
from sweeper.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("SWEEPER_DATA", "SWEEPER_DATABASE_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    return load_settings()


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the child that imports TensorFlow answers; importing it for real takes seconds."""
    answer = SimpleNamespace(returncode=0, stdout="2.21.0 [] False\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: answer)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return answer


def found(settings: Settings, words: str) -> Finding:
    matching = [finding for finding in examine(settings) if words in finding.what]
    assert len(matching) == 1, matching
    return matching[0]


def test_nothing_is_bad_here_and_nothing_is_made(settings: Settings, tensorflow: Any) -> None:
    findings = examine(settings)
    assert [f.what for f in findings if f.state == "bad"] == []
    assert all(f.fix for f in findings if f.state == "note")
    assert not settings.home.exists()
    assert found(settings, "SWEEPER_HOME /").what.endswith("GB free")
    assert "the first launch makes it" in found(settings, "database").what
    assert found(settings, "data set nuclei").state == "ok"


def test_missing_data_sets_are_one_note(settings: Settings, tensorflow: Any) -> None:
    note = found(settings, "drive")
    assert note.state == "note"
    assert "cvc_clinicdb, drive, bus2017, brats20, kits19" in note.what
    assert "sweeper data list" in note.fix


def test_a_database_that_is_there(settings: Settings, tensorflow: Any) -> None:
    with open_database(settings.database):
        pass
    assert found(settings, "database sqlite").state == "ok"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database_url": "foo"}, "not a database URL"),
        ({"mlflow_uri": "http://127.0.0.1:1"}, "no MLflow answers at MLFLOW_TRACKING_URI=http://127.0.0.1:1"),
        ({"ray_address": "127.0.0.1:1"}, "no Ray answers at RAY_ADDRESS=127.0.0.1:1"),
        ({"ray_address": "http://127.0.0.1:8265"}, "RAY_ADDRESS=http://127.0.0.1:8265 is not an address"),
        ({"home": Path("/dev/null/home")}, "/dev/null is not a folder"),
        ({"data": Path("/dev/null/data")}, "the data folder /dev/null/data"),
    ],
)
def test_settings_that_do_not_hold(settings: Settings, tensorflow: Any, changes: dict[str, Any], words: str) -> None:
    assert found(settings.model_copy(update=changes), words).state == "bad"


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("ConnectionError: Could not find any running Ray instance. Please …\n", "no Ray runs on this machine"),
        ("Traceback …\nRuntimeError: Version mismatch: 2.54\n\n", "(RuntimeError: Version mismatch: 2.54)"),
        ("…AuthenticationError: InvalidAuthToken: …\n", "refuses the token"),
    ],
)
def test_a_ray_that_is_looked_for(settings: Settings, tensorflow: Any, stderr: str, words: str) -> None:
    auto = settings.model_copy(update={"ray_address": "auto"})
    assert ray_fault(auto) is None
    tensorflow.returncode, tensorflow.stderr = 1, stderr
    fault = ray_fault(auto)
    assert fault is not None
    assert words in fault
    assert "RAY_ADDRESS=auto" in fault


def test_a_machine_that_is_too_busy_to_say_whether_it_has_a_ray(
    settings: Settings, tensorflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(command: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, 10.0)

    monkeypatch.setattr(services.subprocess, "run", late)
    auto = settings.model_copy(update={"ray_address": "auto"})
    monkeypatch.setattr(ray_services, "find_gcs_addresses", lambda: {"127.0.0.1:6379"})
    assert ray_fault(auto) is None
    monkeypatch.setattr(ray_services, "find_gcs_addresses", set)
    fault = ray_fault(auto)
    assert fault is not None
    assert "no Ray runs on this machine" in fault


def test_a_server_that_is_no_ray(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for scheme in ("", "ray://"):
            address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
            fault = ray_fault(settings.model_copy(update={"ray_address": address}))
            assert fault == f"no Ray answers at RAY_ADDRESS={address} (what listens there is something else); start it"


def test_no_tensorflow(settings: Settings, tensorflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    finding = found(settings, "TensorFlow is not installed")
    assert finding.state == "bad"
    assert "sweeper[cpu]" in finding.fix


def test_a_tensorflow_that_does_not_start(settings: Settings, tensorflow: Any) -> None:
    tensorflow.returncode, tensorflow.stderr = 1, "Traceback\nImportError: libx.so is missing\n"
    finding = found(settings, "TensorFlow cannot be imported")
    assert finding.state == "bad"
    assert "libx.so is missing" in finding.what


def test_gpus(settings: Settings, tensorflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(settings, "no GPU").state == "note"
    tensorflow.stdout = "2.21.0 ['/physical_device:GPU:0'] True\n"
    assert found(settings, "GPU:0").state == "ok"
    tensorflow.stdout = "2.21.0 [] False\n"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert found(settings, "sees no GPU").state == "bad"


def test_a_small_machine(settings: Settings, tensorflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(total=2 * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1e9))
    assert "resources" in found(settings, "2 GiB").fix
    assert "larger disk" in found(settings, "1 GB free").fix


def test_lines_are_plain() -> None:
    assert Finding("ok", "x").line() == "ok    x"
    assert Finding("bad", "x", "fix it").line() == "BAD   x\n      → fix it"

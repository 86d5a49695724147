"""Which part of a GPU's memory a training process keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.process.gpu_memory import CONTEXT_MIB, memory_limit

DRIVER = """#!/bin/sh
case "$*" in *--id=1) echo 81920;; *--id=*) exit 6;; *) printf '16384\\n81920\\n';; esac
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's tool on a machine with a small GPU 0 and a large GPU 1."""
    (tmp_path / "nvidia-smi").write_text(DRIVER)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("devices", "share", "limit"),
    [
        (None, 0.5, 8192 - CONTEXT_MIB),
        ("1", 0.25, 20480 - CONTEXT_MIB),  # the driver lists all GPUs, whatever this process may use
        ("1,0", 0.25, 20480 - CONTEXT_MIB),
        ("1", 1.0, None),
        ("1", None, None),
        (None, 0.01, 81),  # a part so small that CUDA itself takes more
        ("7", 0.5, None),  # the driver knows no such GPU
    ],
)
def test_it_is_the_share_of_the_gpu_that_the_process_sees(
    devices: str | None, share: float | None, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert memory_limit(share) == limit


def test_without_the_drivers_tool_no_limit_is_set_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory_limit(0.5) is None
    assert "the memory of GPU" in caplog.text

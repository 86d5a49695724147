"""`deploy/audit.py` tells vulnerabilities from an index that cannot be asked."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SAFE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_reports_are_read(audit: ModuleType) -> None:
    assert audit.read_report(report(SAFE, BAD, UNKNOWN)) == {"b 2": ["CVE-1", "CVE-2"]}
    assert audit.read_report(report(SAFE, UNKNOWN)) == {}


def test_an_index_that_knows_no_package_has_not_answered(audit: ModuleType) -> None:
    with pytest.raises(audit.Unanswered, match="not found"):
        audit.read_report(report(UNKNOWN, UNKNOWN))


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"canary": {"jinja2 3.1.2": ["X"]}, "dev": {}}, 0, "no known vulnerability"),
        ({"canary": {"jinja2 3.1.2": ["X"]}, "dev": {"b 2": ["CVE-1"]}}, 1, "b 2 has CVE-1"),
        ({"canary": {}, "dev": {}}, 3, "nobody could be asked"),
    ],
)
def test_an_index_that_is_silent_about_a_known_one_vouches_for_nothing(
    audit: ModuleType,
    told: dict[str, Any],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "vulnerabilities", lambda file: told[file.stem])
    assert audit.main([Path("dev.txt")]) == code
    assert words in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_network_it_says_so_and_ends_with_a_status_of_its_own() -> None:
    closed = "http://127.0.0.1:9"  # the port that nobody listens on
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HTTPS_PROXY": closed, "https_proxy": closed, "NO_PROXY": "", "no_proxy": ""},
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("audit: nobody could be asked for vulnerabilities, so none is ruled out (requests.ex")


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 1), (3, 0)])
def test_continuous_integration_goes_on_only_where_nobody_could_be_asked(
    status: int, ends: int, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "chromium", "pdflatex"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho audited with $1\nexit {status}\n")
    python.chmod(0o755)
    run = tmp_path / ".ci" / "run"
    run.parent.mkdir()
    run.write_bytes((SCRIPT.parents[1] / ".ci" / "run").read_bytes())
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(run)], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == ends
    assert done.stdout.splitlines()[-1] == "audited with deploy/audit.py"


@pytest.mark.slow
def test_a_lock_file_that_pip_audit_cannot_read_is_a_failure(audit: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("not a requirement ===\n")
    with pytest.raises(RuntimeError, match="pip-audit ended with 1"):
        audit.vulnerabilities(tmp_path / "bad.txt")

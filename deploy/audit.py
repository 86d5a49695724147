"""Asks whether packages of the lock files have known vulnerabilities (pip-audit): `make audit`.

Ends with 0 when none has, and with 1 when one has, or when pip-audit itself fails. Where nobody can be asked (no
network, or an index that knows no vulnerabilities) it says so and ends with 3: nothing is known to be safe then, which
continuous integration tells apart from a vulnerability. (make turns either into its own 2.)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ("dev", "gpu")  # cpu.txt holds nothing that dev.txt does not

CANARY = "jinja2==3.1.2"
"""Has known vulnerabilities (CVE-2024-22195 among them). Who does not tell of these tells of none."""

UNANSWERED = 3
"""The exit status where nobody can be asked."""

_NO_NETWORK = ("requests.exceptions.", "ConnectionError", "ServiceError", "Timeout")


class Unanswered(Exception):  # noqa: N818 (it is no fault)
    """Nobody could be asked; carries why."""


def vulnerabilities(requirements: Path) -> dict[str, list[str]]:
    """The known vulnerabilities of each pinned package that has any: `{"jinja2 3.1.2": ["PYSEC-…"]}`.

    Raises:
        Unanswered: there is no network, or the index knows none of the packages.
        RuntimeError: pip-audit failed otherwise; carries its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--no-deps"),
            *("--progress-spinner", "off", "--format", "json", "--output", str(report)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if report.exists():
            return read_report(report.read_text())
    last = (done.stderr.strip().splitlines() or ["no words"])[-1]
    if any(word in last for word in _NO_NETWORK):
        raise Unanswered(last)
    raise RuntimeError(f"pip-audit ended with {done.returncode}: {last}")


def read_report(text: str) -> dict[str, list[str]]:
    """What a report of pip-audit says; see `vulnerabilities`."""
    packages = json.loads(text)["dependencies"]
    skipped = [one for one in packages if "skip_reason" in one]
    if packages and len(skipped) == len(packages):
        raise Unanswered(skipped[0]["skip_reason"])
    return {f"{one['name']} {one['version']}": [v["id"] for v in one["vulns"]] for one in packages if one.get("vulns")}


def main(locks: Sequence[Path]) -> int:
    """Asks about each lock file; the exit status."""
    say = sys.stdout.write
    try:
        with tempfile.TemporaryDirectory() as folder:
            canary = Path(folder) / "canary.txt"
            canary.write_text(CANARY + "\n")
            if not vulnerabilities(canary):
                raise Unanswered(f"the index tells of no vulnerability of {CANARY}, which has some")
        found = {package: known for lock in locks for package, known in vulnerabilities(lock).items()}
    except Unanswered as why:
        say(f"audit: nobody could be asked for vulnerabilities, so none is ruled out ({why})\n")
        return UNANSWERED
    for package, known in sorted(found.items()):
        say(f"audit: {package} has {', '.join(known)}\n")
    if not found:
        say("audit: no known vulnerability\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([ROOT / "requirements" / f"{name}.txt" for name in LOCKS]))

"""The report as PDF: the same page, printed by a Chromium of this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from dashboards.errors import ReportError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT = 180


def browser() -> str:
    """The path of a Chromium.

    Raises:
        ReportError: none is installed.
    """
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise ReportError(
        f"--format pdf prints the page with Chromium, and none of {', '.join(BROWSERS)} is on the PATH; install it "
        "(Debian: apt-get install chromium), or print report.html from any browser"
    )


def print_pdf(page: Path, target: Path) -> Path:
    """Prints an HTML file.

    Raises:
        ReportError: there is no Chromium, or it failed.
    """
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={target.resolve()}",
            page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise ReportError(f"Chromium did not print {page} within {_TIMEOUT} s; print it by hand") from error
    if done.returncode or not target.is_file():
        raise ReportError(f"Chromium could not print {page} (exit {done.returncode}): {done.stderr.strip()[-500:]}")
    return target

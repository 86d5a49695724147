"""Debian's Chromium, driven by Playwright, and what both pages are tested for. Not a test module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECONDS = 60
"""How long anything on a page may take on a machine that does other work, too. Nothing is expected to take it."""

ARTIFACTS = Path(__file__).parents[1] / "artifacts" / "screens"
"""Pictures of the pages, for a person to look at, with SWEEPER_TEST_PICTURES=1; not in git."""

SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
"""A data set's name that would change the page's title if any page took it for HTML."""

GRAVE = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips where there is none, which CI says is wrong."""
    path = CHROMIUM if CHROMIUM.exists() else Path(shutil.which("chromium") or "")
    if not path.is_file():
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, *, width: int = 1280, dark: bool = False, faultless: bool = True, **options: Any
) -> Iterator[Page]:
    """A page of its own; fails at the end where the page had an error, or asked for anything elsewhere."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        locale="en-GB",
        **options,
    )
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith((origin(url), "data:", "blob:")) else faults.append(r.url))
    try:
        page.goto(url)
        yield page
        assert faults == [] or not faultless
    finally:
        context.close()


def grave_faults(page: Page) -> list[str]:
    """What axe-core finds that keeps people from using the page."""
    from axe_playwright_python.sync_playwright import Axe

    # Not inside of drawings, which are hidden from assistive technology and described beside.
    found = Axe().run(page, context={"exclude": [["svg"]]}).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node['html'][:200]} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def picture(page: Page, name: str) -> None:
    """Keeps a picture of the whole page, where somebody wants to look at it."""
    if not os.environ.get("SWEEPER_TEST_PICTURES"):
        return
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def wider_than_its_window(page: Page) -> int:
    """By how many pixels the page would have to be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def origin(url: str) -> str:
    """An address without what follows the host."""
    return url if url.startswith("file:") else "/".join(url.split("/")[:3])

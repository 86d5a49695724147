"""How soon a sweep of 5,000 trials stands on the live board, and how fast the page then answers.

Starts the real `sweeper board` on loopback over a database with 5,000 trials, half of them ended and eight running, and
opens it in Debian's Chromium. The first paint is that of the whole grid, every cell of it, and not of a page that says
"Loading"; an interaction is timed in the page, from the input until the browser has painted what follows from it.

    python -m benchmarks.board [--setting quick]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Setting, amount
from tests import many_trials
from tests.dashboards.browser import ARGUMENTS, CHROMIUM

PAINTED = """
new MutationObserver((changes, observer) => {
  if (document.querySelectorAll('#grid button').length < CELLS) return;
  observer.disconnect();
  // The frame after the one in which the cells came is the first that surely shows them.
  requestAnimationFrame(() => requestAnimationFrame(() => { window.gridPainted = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""

INTERACTIONS = """
async () => {
  const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
  const time = async (act, done) => {
    const begin = performance.now();
    act();
    while (!done()) {
      if (performance.now() - begin > 60000) throw new Error('an interaction had no effect');
      await new Promise(next => setTimeout(next, 1));
    }
    await painted();
    return performance.now() - begin;
  };
  const note = () => document.getElementById('grid-note').textContent;
  const state = name => [...document.querySelectorAll('#filter-state button')].find(b => b.textContent === name);
  const cell = document.querySelectorAll('#grid button')[30];
  const found = {};
  found['a cell shows its trials'] = await time(() => cell.click(), () => document.querySelector('#cell h3'));
  cell.focus();
  found['an arrow key moves'] = await time(
    () => cell.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true })),
    () => document.activeElement !== cell);
  found['the grid shows failed trials alone'] = await time(
    () => state('failed').click(), () => note().includes('match'));
  found['the grid shows all trials again'] = await time(() => state('all').click(), () => !note().includes('match'));
  const grid = document.getElementById('grid');
  found['the grid is scrolled'] = await time(() => { grid.scrollTop = 800; grid.scrollLeft = 1500; }, () => true);
  return found;
}
"""


def measure(setting: Setting) -> Measured:
    """Loads the page anew in each round, with an empty cache, after one load that nobody times."""
    gammas = 10 if setting is Setting.QUICK else many_trials.GAMMAS
    rounds = 1 if setting is Setting.QUICK else ROUNDS
    cells = many_trials.DATASETS * many_trials.LOSSES * gammas
    with tempfile.TemporaryDirectory() as folder:
        many_trials.write(Path(folder) / "sweeper.db", gammas=gammas)
        process, url = _start(Path(folder))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                loads = [_load(browser, url, cells) for _ in range(rounds + 1)][1:]
        finally:
            process.terminate()
            process.wait(60)
    size = f"{cells:,} cells, loopback"
    paints = [load["paint"] for load in loads]
    rows = [amount("the whole grid is painted", paints, "s", goal=("≤", 2.0), detail=size)]
    rows += [
        amount(what, [load["interactions"][what] for load in loads], "ms", goal=("≤", 200.0), detail=size)
        for what in loads[0]["interactions"]
    ]
    return Measured(rows, {"loads": loads})


def _start(home: Path) -> tuple[subprocess.Popen[str], str]:
    variables = {**os.environ, "SWEEPER_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "sweeper", "board", "large", "--port", "0"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    found = re.search(r"http://[\d.]+:\d+/[^;\s]*", line)
    if found is None:
        raise RuntimeError(f"the board did not start: {line!r}")
    return process, found.group()


def _load(browser: Browser, url: str, cells: int) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(PAINTED.replace("CELLS", str(cells)))
        page.goto(url)
        deadline = time.monotonic() + 120
        while (paint := page.evaluate("window.gridPainted || null")) is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the grid did not appear")
            page.wait_for_timeout(20)
        page.locator("#curves svg.main-svg").first.wait_for(timeout=120_000)
        page.wait_for_timeout(1000)  # what a person looks at first
        return {"paint": paint / 1000, "interactions": page.evaluate(INTERACTIONS)}
    finally:
        context.close()


if __name__ == "__main__":
    sys.exit(harness.main("board", __doc__, measure))

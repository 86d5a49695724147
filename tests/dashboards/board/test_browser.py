"""The board as a person uses it, in Chromium: a real database, the real command, a real `sweeper serve` behind it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from storage.database import open_database
from storage.records import Lease
from storage.repository import Repository
from tests.dashboards.browser import (
    SCRIPT,
    SECONDS,
    chromium,
    grave_faults,
    opened,
    origin,
    picture,
    wider_than_its_window,
)
from tests.live_sweeps import Planned, bring, mixed, outcome, store
from trials.states import AttemptState, FailureKind, SweepState, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.browser]

expect.set_options(timeout=SECONDS * 1000)
LONG = "a_very_long_name_" * 20
READY = re.compile(r"http://127\.0\.0\.1:\d+[^;\s]*")


@dataclass
class Board:
    """The page's address, the database behind it, and the leases of its sweeps."""

    url: str
    home: Path
    repository: Repository
    leases: dict[str, Lease]

    def address(self, sweep: str) -> str:
        return f"{self.home_page}?{urlencode({'sweep': sweep})}"

    @property
    def home_page(self) -> str:
        return self.url.partition("?")[0]

    @property
    def token(self) -> str:
        return (self.home / "server-token").read_text().strip()


@contextmanager
def program(home: Path, *words: str) -> Iterator[str]:
    """A `sweeper` command that serves, until the end of the block; the address that it printed."""
    kept = ("SWEEPER_DATABASE_URL", "SWEEPER_READER_URL", "SWEEPER_SERVER", "MLFLOW_TRACKING_URI", "SWEEPER_TOKENS")
    variables = {k: v for k, v in os.environ.items() if k not in kept}
    variables |= {"SWEEPER_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    if words[0] == "board":  # which only links to it
        variables["MLFLOW_TRACKING_URI"] = "http://mlflow.example:5000"
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", *words], env=variables, stdout=subprocess.PIPE, stderr=None, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = READY.search(line)
        assert found is not None, f"{words} said {line!r}, and ended with {process.poll()}"
        yield found.group()
    finally:
        process.terminate()
        process.wait(SECONDS)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    home = tmp_path_factory.mktemp("home")
    failed = [Planned(loss="ce", dataset=f"set{n}", state=TrialState.FAILED, failure=FailureKind.BUG) for n in range(3)]
    odd = [
        Planned(dataset=SCRIPT, loss="ce", state=TrialState.FINISHED),
        Planned(dataset=SCRIPT, loss=SCRIPT[:60], state=TrialState.FAILED, error=SCRIPT),
        *(Planned(dataset=LONG, loss=LONG[:200], gamma=g / 10, state=TrialState.FINISHED) for g in range(1, 6)),
        Planned(dataset="核" * 80, loss="損失", state=TrialState.RUNNING, epoch=3, host=LONG, device=LONG),
    ]
    sweeps = {
        "demo": mixed(),
        "changing": [*mixed(), Planned(loss="combo")],
        "asked": [*mixed(), Planned(loss="tversky")],
        "empty": [],
        "one": [Planned(loss="boundary", state=TrialState.FINISHED, dsc=0.5)],
        "failed": failed,
        f"{SCRIPT} {LONG}": odd,
    }
    with open_database(f"sqlite:///{home / 'sweeper.db'}") as database:
        repository = Repository(database)
        leases = {}
        for number, (name, planned) in enumerate(sweeps.items()):
            # Trials belong to no sweep: other repeats make them others.
            own = [Planned(**{**vars(p), "repeat": p.repeat + 10 * number}) for p in planned]
            leases[name] = store(repository, own, name, rehearsal=name == "one")
        repository.set_sweep_state(leases["failed"], SweepState.BROKEN, "10 trials in a row ended the same way (bug)")
        repository.release_lease(leases["failed"])
        with (
            program(home, "serve", "--port", "0") as service,
            program(home, "board", "demo", "--port", "0", "--server", origin(service)) as url,
        ):
            yield Board(url, home, repository, leases)


def loaded(page: Page) -> None:
    """Until the grid and the curves, or what stands in their place, are there."""
    expect(page.locator("h1")).not_to_have_text("Loading …")
    expect(page.locator("#curves")).not_to_be_empty()
    if page.locator("#curves figure").count():
        expect(page.locator("#curves svg.main-svg").first).to_be_visible()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["wide-light", "narrow-dark"])
def test_it_fits_its_window_and_axe_finds_no_grave_fault(
    browser: Browser, board: Board, width: int, dark: bool
) -> None:
    theme = "dark" if dark else "light"
    with opened(browser, board.url, width=width, dark=dark) as page:
        loaded(page)
        page.get_by_role("button", name="nuclei, dice: failed; diverged").click()
        expect(page.locator("#cell h3").first).to_have_text("nuclei · dice")
        page.locator("#token").fill("x" * 32)
        expect(page.get_by_role("button", name="Retry all failed")).to_be_enabled()
        picture(page, f"board-{width}-{theme}")
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("sweep", ["empty", "one", "failed", f"{SCRIPT} {LONG}"])
def test_odd_sweeps_look_right(browser: Browser, board: Board, sweep: str) -> None:
    with opened(browser, board.address(sweep), width=390) as page:
        expect(page.locator("h1")).to_have_text(sweep)
        if sweep == "empty":
            expect(page.locator("#grid-note")).to_have_text("This sweep has no trials.")
            expect(page.locator("#curves")).to_contain_text("No trial has finished yet.")
        elif sweep == "one":
            expect(page.locator("#grid-note")).to_have_text("1 row, 1 cell.")
            expect(page.locator("#banners")).to_contain_text("REHEARSAL")
        elif sweep == "failed":
            expect(page.locator("#failures tbody tr")).to_have_count(3)
            expect(page.locator("#summary")).to_contain_text("10 trials in a row ended the same way")
            expect(page.locator("#workers")).to_contain_text("gpu-box")
        else:
            loaded(page)
            page.get_by_role("button", name=re.compile("^<script>.*finished")).click()
            expect(page.locator("#cell h3").first).to_contain_text(SCRIPT)
            expect(page.locator("#failures")).to_contain_text(SCRIPT)
            assert page.title() != "run"
            assert page.locator("main script, main img").count() == 0
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, f"board-{re.sub('[^a-z]+', '-', sweep)[:20]}-390-light")


def test_the_home_page_follows_all_sweeps(browser: Browser, board: Board) -> None:
    with opened(browser, board.home_page, width=390, dark=True) as page:
        row = page.locator("li").filter(has=page.get_by_role("link", name="changing", exact=True))
        expect(row).to_contain_text("6 of 16 trials finished")
        expect(row).to_contain_text("ce on nuclei, 0.761 over 1 run")
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, "board-home-390-dark")
        page.evaluate("window.neverReloaded = true")
        row.get_by_role("link").focus()
        best = Planned(loss="unified_focal_asym", gamma=0.7, repeat=10, state=TrialState.RUNNING)
        attempt = next(a for a in board.repository.attempts(best.spec.hash) if a.state is AttemptState.RUNNING)
        finished = outcome(replace(best, dsc=0.99))
        board.repository.finish(board.leases["changing"], attempt.id, finished, best.spec.hash * 2)
        expect(row).to_contain_text("7 of 16 trials finished")
        expect(row).to_contain_text("unified_focal_asym at γ = 0.7 on nuclei, 0.990 over 1 run")
        expect(row.get_by_role("link")).to_be_focused()
        assert page.evaluate("window.neverReloaded")
        page.get_by_label("that are").select_option("broken")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("li")).to_have_count(1)
        assert "state=broken" in page.url


def test_scores_and_comparisons_by_keyboard(browser: Browser, board: Board) -> None:
    with opened(browser, board.home_page, width=390, dark=True) as page:
        for name in ("demo", "asked"):
            page.get_by_label(f"Compare {name}").press("Space")
        page.get_by_role("button", name="Compare the ticked sweeps").press("Enter")
        expect(page.locator("h1")).to_have_text("asked and demo, compared")
        expect(page.get_by_role("table", name="Settings that differ")).to_contain_text("loss")
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, "board-compare-390-dark")
        page.get_by_label("Metric").select_option("recall")
        page.get_by_role("button", name="Show").press("Enter")
        expect(page.get_by_role("heading", name="Differences of Recall")).to_be_visible()
        page.get_by_role("link", name="demo", exact=True).press("Enter")
        page.get_by_role("link", name="Scores", exact=True).press("Enter")
        expect(page.locator("h1")).to_have_text("Scores of demo")
        expect(page.get_by_role("table", name="Test scores, nuclei, nucleus")).to_contain_text("Recall")
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, "board-scores-390-dark")
        page.get_by_role("link", name="demo", exact=True).press("Enter")
        page.get_by_role("link", name="Overlays", exact=True).press("Enter")
        page.get_by_label("Test case").select_option(index=1)
        page.get_by_role("button", name="Show").press("Enter")
        expect(page).to_have_url(re.compile("case=case1"))
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []


def test_zoomed_to_200_percent(browser: Browser, board: Board) -> None:
    with opened(browser, board.address(f"{SCRIPT} {LONG}"), width=640, device_scale_factor=2) as page:
        loaded(page)
        assert wider_than_its_window(page) == 0
        picture(page, "board-zoomed")


def test_cells_and_filters_by_clicks(browser: Browser, board: Board) -> None:
    with opened(browser, board.url) as page:
        loaded(page)
        finished = page.get_by_role("button", name="nuclei, ce: finished, validation DSC 0.761")
        finished.click()
        expect(finished).to_have_attribute("aria-pressed", "true")
        link = page.locator("#cell").get_by_role("link", name="MLflow run")
        assert re.fullmatch(
            r"http://mlflow\.example:5000/#/runs/[0-9a-f]+\?workflowType=machine_learning",
            link.get_attribute("href") or "",
        )
        finished.click()
        expect(page.locator("#cell")).to_be_hidden()
        page.locator("#filter-state").get_by_role("button", name="failed").click()
        expect(page.locator("#grid-note")).to_have_text("2 of 8 rows, 2 cells match.")
        expect(page.get_by_role("button", name="nuclei, dice: failed")).to_be_visible()
        expect(finished).to_be_hidden()
        page.locator("#filter-state").get_by_role("button", name="all").click()
        page.get_by_label("Show data sets and losses with").fill("DRIVE")
        expect(page.locator("#grid-note")).to_contain_text("4 of 8 rows")
        page.get_by_label("Show data sets and losses with").fill("nothing like it")
        expect(page.locator("#grid-note")).to_have_text("No row matches the filter.")
        page.get_by_role("link", name="All sweeps").click()
        page.get_by_role("link", name="one", exact=True).click()
        expect(page.locator("h1")).to_have_text("one")


def test_it_follows_the_sweep_without_reloading(browser: Browser, board: Board) -> None:
    lease = board.leases["changing"]
    with opened(browser, board.address("changing")) as page:
        loaded(page)
        page.evaluate("window.neverReloaded = true")
        waiting = page.get_by_role("button", name="nuclei, combo: queued")
        waiting.click()
        expect(page.locator("#cell")).to_contain_text("queued")
        waiting.focus()
        points = page.locator("#curves .js-plotly-plot").first.locator(".point").count()
        running = Planned(loss="combo", repeat=10, state=TrialState.RUNNING, epoch=7, dsc=0.9)
        bring(board.repository, lease, running)
        now = page.get_by_role("button", name="nuclei, combo: running; epoch 7 of 100, validation DSC 0.893")
        expect(now).to_have_text("▸7 0.89")
        expect(now).to_be_focused()
        expect(page.locator("#workers")).to_contain_text("nuclei · combo")
        expect(page.locator("#cell")).to_contain_text("running")
        bring(
            board.repository,
            lease,
            Planned(loss="unified_focal_asym", gamma=0.9, repeat=10, state=TrialState.FINISHED, dsc=0.95),
        )
        expect(page.get_by_role("button", name="γ 0.9: finished, validation DSC 0.950")).to_be_visible()
        expect(page.locator("#curves .js-plotly-plot").first.locator(".point")).not_to_have_count(points)
        assert page.evaluate("window.neverReloaded")


def test_an_address_opens_the_same_view_and_figures_can_be_kept(browser: Browser, board: Board) -> None:
    with opened(browser, board.url) as page:
        loaded(page)
        page.get_by_label("Show data sets and losses with").fill("asym")
        page.locator("#filter-state").get_by_role("button", name="running").click()
        page.get_by_role("button", name="γ 0.5: running; epoch 12").click()
        expect(page.locator("#cell-curve svg.main-svg").first).to_be_visible()
        address = page.url
    with opened(browser, address, width=390, dark=True, accept_downloads=True) as page:
        expect(page.locator("#cell h3").first).to_have_text("nuclei · unified_focal_asym · γ 0.5")
        expect(page.get_by_label("Show data sets and losses with")).to_have_value("asym")
        expect(page.locator("#grid-note")).to_have_text("1 of 8 rows, 2 cells match.")
        words = page.locator("#cell-curve [role=img]")
        expect(words).to_have_attribute("aria-label", re.compile(r"γ=0\.5 0\.800 after epoch 12; ce 0\.\d+ then"))
        expect(page.locator("#cell-curve svg.main-svg").first).to_be_visible()
        with page.expect_download() as download:
            page.locator("#cell-curve").get_by_role("button", name="PNG").click()
        assert download.value.suggested_filename.startswith("demo-Validation-DSC")
        with Image.open(download.value.path()) as drawn:
            assert drawn.width == 1800
            assert drawn.convert("L").getextrema() == (drawn.convert("L").getextrema()[0], 255)
        with page.expect_download() as download:
            page.locator("#cell-curve").get_by_role("link", name="CSV").click()
        assert "unified_focal_asym · γ=0.5,the cell,12,0.7998" in Path(download.value.path()).read_text()
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, "board-cell-390-dark")
        page.get_by_role("button", name="γ 0.5: running; epoch 12").press("Escape")
        page.locator("#filter-state").get_by_role("button", name="all").click()
        page.get_by_label("Show data sets and losses with").fill("")
        expect(page.locator("#grid-note")).to_have_text("8 rows, 13 cells.")
        assert page.url == board.url


def test_with_the_keyboard_alone(browser: Browser, board: Board) -> None:
    with opened(browser, board.url) as page:
        loaded(page)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the grid")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#grid")).to_be_in_viewport()
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#grid table') !== null"):
                break
        first = page.get_by_role("button", name="nuclei, ce: finished")
        expect(first).to_be_focused()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        for _ in range(3):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        expect(page.get_by_role("button", name="nuclei, unified_focal_asym, γ 0.9: queued")).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        expect(page.locator("#cell h3").first).to_have_text("nuclei · unified_focal_asym · γ 0.5")
        page.keyboard.press("Escape")
        expect(page.locator("#cell")).to_be_hidden()
        # One more Tab leaves the grid: thousands of cells are one stop.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#grid') === null")


def test_buttons_need_a_token_and_go_through_the_api(browser: Browser, board: Board) -> None:
    name, lease = "asked", board.leases["asked"]
    failed = Planned(loss="focal", repeat=20)
    with opened(browser, board.address(name)) as page:
        loaded(page)
        one = page.get_by_role("button", name="Retry nuclei · focal")
        expect(one).to_be_disabled()
        for words in ("Retry all failed", "Resume", "Stop", "Stop now", "Scale"):
            expect(page.get_by_role("button", name=words, exact=True)).to_be_disabled()
        page.locator("#token").fill("w" * 32)
        one.click()
        expect(page.locator("#answer")).to_contain_text("Not done")
        expect(page.locator("#answer")).to_contain_text("enter another token")
        assert board.repository.requests(name) == []
        page.locator("#token").fill(board.token)
        one.click()
        expect(page.locator("#answer")).not_to_contain_text("Not done")
        (asked,) = board.repository.requests(name)
        assert (asked.verb, asked.arguments["trials"]) == ("retry", [failed.spec.hash])
        # What the coordinator then does is seen without reloading.
        board.repository.retry(lease, [failed.spec.hash])
        expect(page.get_by_role("button", name="nuclei, focal: queued")).to_be_visible()
        page.get_by_label("Trials at once").fill("3")
        page.get_by_role("button", name="Scale").click()
        expect(page.locator("#summary")).to_contain_text("scale; not done yet")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#summary")).to_contain_text("scale, stop; not done yet")
        verbs = [(r.verb, dict(r.arguments)) for r in board.repository.requests(name)[1:]]
        assert verbs == [("scale", {"concurrency": 3}), ("stop", {"now": False})]
        # The token stays with the tab: neither the address nor the page's own storage beyond the tab has it.
        assert board.token not in page.url
        assert page.evaluate("Object.values(localStorage).join()").find(board.token) == -1


def test_a_page_whose_server_is_gone_says_so(browser: Browser, board: Board) -> None:
    with opened(browser, board.url, faultless=False) as page:
        loaded(page)
        page.route("**/_dash-update-component*", lambda route: route.abort())
        page.route("**/_dash-update-component/**", lambda route: route.abort())
        expect(page.locator("#unreachable")).to_contain_text("has not answered since")
        page.unroute_all()
        expect(page.locator("#unreachable")).to_be_hidden()

"""The report as a person reads it, in Chromium, from a file and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from study_maker import MemoryRepository, Study, make_sweep, make_trial, paper_like

from tests.dashboards.browser import SCRIPT, SECONDS, chromium, grave_faults, opened, picture, wider_than_its_window
from tests.dashboards.reports import write_report
from trials.states import FailureKind, SweepState, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.browser]

expect.set_options(timeout=SECONDS * 1000)
LONG = "a_very_long_name_" * 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def written(study: Study, folder: Path, **sweep: object) -> str:
    files = write_report(MemoryRepository(study, make_sweep(**sweep)), "s", folder)  # type: ignore[arg-type]
    assert files.page is not None
    return files.page.as_uri()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = paper_like(("cvc_clinicdb", "nuclei"), gammas=(0.3, 0.5, 0.7), images=8, repeats=2)
    study.trials.append(
        make_trial("nuclei", "boundary", state=TrialState.FAILED, failure=FailureKind.DIVERGED, error="NaN in epoch 3")
    )
    details = {"data": {"nuclei": {"split": {"train": 38, "validation": 10, "test": 12}, "excluded": [["n7", "no"]]}}}
    return written(study, tmp_path_factory.mktemp("whole"), rehearsal=True, description="A study.", details=details)


def everything_open(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("details:not([open])").count() == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["wide-light", "narrow-dark"])
def test_it_fits_its_window_and_axe_finds_no_grave_fault(browser: Browser, whole: str, width: int, dark: bool) -> None:
    # The page's own policy allows no script; axe is one, and the tester's, not the page's.
    with opened(browser, whole, width=width, dark=dark, bypass_csp=True) as page:
        everything_open(page)
        assert wider_than_its_window(page) == 0
        picture(page, f"report-{width}-{'dark' if dark else 'light'}")
        assert grave_faults(page) == []


def test_zoomed_to_200_percent(browser: Browser, whole: str) -> None:
    with opened(browser, whole, width=640, device_scale_factor=2) as page:
        assert wider_than_its_window(page) == 0
        picture(page, "report-zoomed")


def test_with_the_keyboard_alone(browser: Browser, whole: str) -> None:
    with opened(browser, whole) as page:
        page.keyboard.press("Tab")
        expect(page.locator("nav a").first).to_be_focused()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#tables")
        expect(page.locator("#tables")).to_be_in_viewport()
        # What opens and what scrolls can be reached.
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
        assert {"SUMMARY.", "DIV.scroll"} <= reached


def test_contents_lead_to_their_sections(browser: Browser, whole: str) -> None:
    with opened(browser, whole) as page:
        for link in page.locator("nav a").all():
            link.click()
            expect(page.locator(link.get_attribute("href") or "")).to_be_in_viewport()


def test_on_a_wide_window_figures_stand_beside_text_and_the_contents_follow(browser: Browser, whole: str) -> None:
    with opened(browser, whole, width=1280) as page:
        words, figure = (page.locator(f"#significance ~ .beside > div:nth-child({n})").first for n in (1, 2))
        left, right = words.bounding_box(), figure.bounding_box()
        assert left is not None
        assert right is not None
        assert left["x"] + left["width"] <= right["x"]
        assert left["y"] == right["y"]
        page.locator("#training").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('training').scrollIntoView()")
        expect(page.locator("nav")).to_be_in_viewport()
        expect(page.locator("nav a[href='#training']")).to_have_css("font-weight", "600")
        expect(page.locator("nav a[href='#tables']")).to_have_css("font-weight", "400")


def test_each_figure_has_its_numbers_behind_a_click(browser: Browser, whole: str) -> None:
    with opened(browser, whole) as page:
        figure = page.locator("figure", has_text="Test DSC of each loss, nuclei").first
        link = figure.locator("a[download]")
        expect(link).to_be_hidden()
        figure.locator("summary").click()
        expect(link).to_be_visible()
        with page.expect_download() as found:
            link.click()
        assert found.value.suggested_filename == "scores-nuclei-thing.csv"
        lines = found.value.path().read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("dataset,label,variant,gamma,mean,half_width")
        assert len(lines) == 1 + 8 * 3  # each loss's mean, and its two runs


def test_in_print_nothing_is_cut_and_figures_stand_in_two_columns(browser: Browser, whole: str) -> None:
    with opened(browser, whole, width=718) as page:  # 190 mm
        page.emulate_media(media="print")
        expect(page.locator("nav")).to_be_hidden()
        boxes = [one.bounding_box() for one in page.locator("figure").all()]
        assert all(box is not None and box["height"] < 1047 and box["width"] < 718 / 2 for box in boxes)  # 277 mm


def test_names_are_text_whatever_they_hold(browser: Browser, tmp_path: Path) -> None:
    study = Study()
    for dataset in (SCRIPT, LONG):
        for loss in (SCRIPT[:60], LONG[:150]):
            study.add(make_trial(dataset, loss), [0.5, 0.6, 0.7])
    study.trials.append(make_trial(SCRIPT, "dice", state=TrialState.FAILED, failure=FailureKind.BUG, error=SCRIPT))
    url = written(study, tmp_path, name=f"{SCRIPT} {LONG}", description=SCRIPT, reason=SCRIPT)
    with opened(browser, url, width=390, bypass_csp=True) as page:  # without the policy that would stop a script
        everything_open(page)
        assert page.title() != "run"
        assert page.locator("main script, main img[src=x]").count() == 0
        expect(page.locator("h1")).to_have_text(f"{SCRIPT} {LONG}")
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, "report-long-names-390")


@pytest.mark.parametrize("kind", ["empty", "one", "failed"])
def test_odd_sweeps_look_right(browser: Browser, tmp_path: Path, kind: str) -> None:
    study, state = Study(), SweepState.FINISHED
    if kind == "one":
        study.add(make_trial("nuclei", "dice"), [0.5, 0.6, 0.7])
    if kind == "failed":
        state = SweepState.BROKEN
        for n in range(3):
            study.trials.append(
                make_trial(f"set{n}", "ce", state=TrialState.FAILED, failure=FailureKind.BUG, error="no such key")
            )
    url = written(study, tmp_path, name=kind, state=state)
    with opened(browser, url, width=390, bypass_csp=True) as page:
        expect(page.locator("h1")).to_have_text(kind)
        if kind != "one":
            expect(page.locator("main")).to_contain_text("No trial has finished yet.")
        if kind == "failed":
            expect(page.get_by_role("cell", name="no such key").first).to_be_visible()
        everything_open(page)
        assert wider_than_its_window(page) == 0
        assert grave_faults(page) == []
        picture(page, f"report-{kind}-390")

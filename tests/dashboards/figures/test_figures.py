"""Figures: labels that keep apart, SVG that fits a page, overlays whose colours say what is wrong."""

import re

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from dashboards.figures import FIGURES, family
from dashboards.figures.family import draw_fixed, family_figure
from dashboards.figures.gamma import gamma_figure
from dashboards.figures.loss_curves import widen
from dashboards.figures.rankings import blob_figure
from dashboards.figures.scores import scores_figure
from dashboards.figures.segmentations import example_figures, overlay
from dashboards.figures.significance import critical_difference
from dashboards.figures.style import _LOSS_COLOURS, INK, ORANGE, PURPLE, SKY, loss_colour, short, spread
from sweeper.analysis import RankSummary
from sweeper.analysis.rankings import Agreement, Ranking
from sweeper.views.crops import Box, Errors
from sweeper.views.examples import Example, Examples, Picked, Plane, Segmented
from tests.dashboards.unrendered import unrendered


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_keep_apart_in_their_order_and_within_the_axes(heights):
    placed = spread(heights, 0.05, 0.0, 1.0)
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(np.array(placed)[order])
    assert (gaps >= 0.05 * 0.999).all()
    assert all(-1e-9 <= p <= 1 + 1e-9 for p in placed)


def test_labels_that_are_far_apart_stay_where_they_are():
    assert spread([0.2, 0.8, 0.5], 0.1, 0, 1) == pytest.approx([0.2, 0.8, 0.5])


def test_more_labels_than_room_stay_apart():
    placed = spread([0.5] * 8, 0.2, 0, 1)
    assert np.diff(sorted(placed)).min() >= 0.19


def test_the_paper_s_losses_have_eight_colours():
    assert len(set(_LOSS_COLOURS.values())) == len(_LOSS_COLOURS) == 8


def test_other_losses_have_colours_of_their_own():
    names = ["ce", "mine", "yours", "theirs"]
    assert len({loss_colour(n, names) for n in names[1:]}) == 3


def test_short_names_keep_both_ends():
    assert short("unified_focal_sym (delta=0.7)") == "unified_focal_sym (delta=0.7)"
    cut = short("x" * 90 + "end")
    assert len(cut) <= 48
    assert cut.endswith("end")


def test_inline_svg_has_ids_of_its_own_and_the_page_s_colours():
    drawing = family_figure()
    inline = drawing.inline()
    assert inline.startswith("<svg")
    ids = re.findall(r'\bid="([^"]+)"', inline)
    assert ids
    assert all(i.startswith("fig1-family-") for i in ids)
    references = set(re.findall(r'xlink:href="#([^"]+)"', inline)) | set(re.findall(r"url\(#([^)]+)\)", inline))
    assert references <= set(ids)
    assert "var(--ink)" in inline
    assert INK not in inline
    assert "<text" not in inline  # fonts are paths, so that no reader needs the font
    assert "<text" not in drawing.svg


@pytest.mark.slow
def test_drawing_twice_gives_the_same_bytes():
    one, other = family_figure(), family_figure()
    assert one.svg == other.svg
    assert one.png == other.png


@pytest.mark.slow
def test_what_no_study_changes_is_there_before_the_report(monkeypatch):
    monkeypatch.setattr(family, "_KEPT", {})
    (alone,) = FIGURES["family"].drawings(None)
    assert FIGURES["family"].drawings(None)[0] is not alone
    draw_fixed()
    (kept,) = FIGURES["family"].drawings(None)
    assert kept is FIGURES["family"].drawings(None)[0]
    assert (kept.png, kept.svg) == (alone.png, alone.svg)


def colour(code):
    return np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_errors_have_their_colours_and_right_pixels_none():
    image = np.zeros((2, 3, 3), np.float32)
    truth = np.array([[0, 1, 1], [0, 2, 1]], np.uint8)
    prediction = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    shown = overlay(image, truth, prediction)
    assert shown[0, 0] == pytest.approx(0.55 * colour(ORANGE))  # false positive
    assert shown[0, 1] == pytest.approx(0.55 * colour(SKY))  # false negative
    assert shown[1, 1] == pytest.approx(0.55 * colour(PURPLE))  # another class
    assert not shown[0, 2].any()
    assert not shown[1, 0].any()


def example(variants, planes=("",), role="median"):
    truth = np.zeros((60, 48), np.uint8)
    truth[10:25, 8:20] = 1
    image = np.linspace(0, 1, truth.size * 3, dtype=np.float32).reshape(*truth.shape, 3)
    box = Box(4, 4, 32, 32)
    shown = tuple(
        Segmented(variant, f"hash-{variant}", 0.8, tuple(np.roll(truth, 3, axis=0) for _ in planes), Errors(36, 36))
        for variant in variants
    )
    places = tuple(Plane(name, image, truth, box, at=7 if name else None) for name in planes)
    return Example(Picked(role, f"case of {role}", 0.8, 0.7, 0.9), places, shown, 72)


@pytest.mark.parametrize("planes", [("",), ("axial", "coronal", "sagittal")], ids=["flat", "volume"])
def test_examples_show_each_case_once_with_every_loss_and_counted_errors(planes):
    losses = [f"loss{i}" for i in range(3)]
    cases = tuple(example(losses, planes, role) for role in ("median", "worst"))
    with unrendered():
        median, worst = example_figures(Examples("nuclei", cases))
    assert (median.name, worst.name) == ("fig4-examples-nuclei-median", "fig4-examples-nuclei-worst")
    assert median.caption != worst.caption
    assert "case of median, mean DSC 0.800 over the losses, from 0.700 to 0.900" in median.caption
    assert all(f"{loss}: DSC 0.800, FP 36 · FN 36" in median.alt for loss in losses)
    assert len(median.data) == len(losses) * len(planes)
    assert set(median.data["shown_false_positives"]) == {36}
    assert ("largest connected set of wrong voxels" in median.how) == (len(planes) == 3)


def test_nothing_has_no_figure():
    assert example_figures(Examples("nuclei", problems=("none here",))) == []


@pytest.fixture
def drawn(monkeypatch):
    """What the package drew last."""
    artists = {}
    diagram = scikit_posthocs.critical_difference_diagram

    def keep(*arguments, **options):
        artists.update(diagram(*arguments, **options))
        return artists

    monkeypatch.setattr(scikit_posthocs, "critical_difference_diagram", keep)
    return artists


def test_a_bar_s_dots_are_the_losses_that_do_not_differ_and_no_others(drawn):
    """Here the best loss differs from its neighbour but not from the third, as pairwise tests may have it."""
    ranks = {"dice": 1.2, "combo": 2.0, "ce": 3.1, "focal": 3.7}
    p = pd.DataFrame(1.0, index=list(ranks), columns=list(ranks))
    for a, b in (("dice", "combo"), ("dice", "focal"), ("combo", "focal")):
        p.loc[a, b] = p.loc[b, a] = 0.01
    critical_difference(RankSummary("d", ranks, 9.0, 0.01, p.iloc[::-1], 12, 0))
    bars = [bar[0] for bar in drawn["crossbars"]]
    assert sorted(sorted(bar.get_xdata()) for bar in bars) == [[1.2, 3.1], [2.0, 3.1], [3.1, 3.7]]
    assert all(bar.get_marker() == "o" for bar in bars)
    assert {text.get_text().strip() for text in drawn["labels"]} == {
        "dice (1.20)", "combo (2.00)", "(3.10) ce", "(3.70) focal"
    }  # fmt: skip


def test_the_critical_difference_diagram_is_drawn_in_the_same_order_in_each_process(drawn):
    """A set of names has another order in each process, a set of small numbers has not."""
    names = [f"loss{i}" for i in range(9)]
    ones = pd.DataFrame(1.0, index=names, columns=names)
    critical_difference(RankSummary("d", {n: 1.0 + i for i, n in enumerate(names)}, 1.0, 0.5, ones, 12, 0))
    ((bar,),) = drawn["crossbars"]
    assert list(bar.get_xdata()) == [1.0 + i for i in range(9)]


@pytest.mark.slow
def test_the_gamma_figure_has_bars_over_repeats_where_there_are_several():
    curves = pd.DataFrame({
        "dataset": "d", "variant": "unified_focal_sym", "loss": "unified_focal_sym", "gamma": [0.1, 0.5],
        "dsc": [0.7, 0.8], "half_width": [0.02, 0.02], "n": 12, "repeats": 1, "repeats_half_width": np.nan,
    })  # fmt: skip
    selection = pd.DataFrame({"dataset": ["d"], "variant": ["unified_focal_sym"], "gamma": [0.5]})
    once = gamma_figure("d", curves, selection)
    assert "over runs" not in once.caption
    few, many = (gamma_figure("d", curves.assign(repeats=3, repeats_half_width=w), selection) for w in (0.01, 0.05))
    assert "bars that over runs" in few.caption
    assert few.svg != many.svg
    assert few.svg.count("LineCollection") == once.svg.count("LineCollection") + 1


def test_single_runs_are_points_beside_the_means_of_scores_and_of_gamma():
    keys = {"dataset": "d", "variant": "unified_focal_sym", "loss": "unified_focal_sym"}
    runs = pd.DataFrame([{**keys, "gamma": g, "repeat": r, "dsc": 0.7 + r / 10} for g in (0.1, 0.5) for r in (0, 1)])
    curves = pd.DataFrame([{**keys, "gamma": g, "dsc": 0.75, "half_width": 0.02, "n": 12, "repeats": 2,
                            "repeats_half_width": 0.1} for g in (0.1, 0.5)])  # fmt: skip
    selection = pd.DataFrame([keys | {"gamma": 0.5}])
    table = curves[1:].rename(columns={"dsc": "mean"}).assign(label="thing", metric="dsc")
    with unrendered():
        gamma = gamma_figure("d", curves, selection, runs)
        scores = scores_figure("d", "thing", table, runs[2:].assign(label="thing"), ["unified_focal_sym"])
    assert "beside which each run is a point" in gamma.caption
    assert gamma.data.loc[gamma.data["repeat"] != "mean", "dsc"].tolist() == pytest.approx([0.7, 0.8, 0.7, 0.8])
    assert "each run is a point" in scores.caption
    assert scores.data["mean"].tolist() == pytest.approx([0.75, 0.7, 0.8])
    assert "unified_focal_sym 0.750" in scores.alt


def test_a_ranking_shows_each_loss_s_probability_of_being_best_in_words_too():
    shares = np.array([[0.7, 0.25, 0.05], [0.25, 0.5, 0.25], [0.05, 0.25, 0.7]])
    losses = ("dice", "ce", "focal")
    ranking = Ranking(
        dataset="nuclei", label="nucleus", losses=losses, means=(0.8, 0.79, 0.7), rank_shares=shares,
        best_probability=dict(zip(losses, shares[:, 0], strict=True)), tau=Agreement(0.6, -0.3, 1.0), units=12,
        unit="images", runs=dict.fromkeys(losses, 3), about="new trainings",
    )  # fmt: skip
    with unrendered():
        drawing = blob_figure(ranking, list(losses), "ranking", "Ranking")
    assert "dice .70 (median rank 1, 95% 1 to 3); ce .25 (median rank 2, 95% 1 to 3)" in drawing.alt
    assert "images and trainings were drawn again" in drawing.caption


def test_a_constant_slope_is_a_line_in_the_middle_and_not_its_last_digits():
    panel = Figure().subplots()
    widen(panel, [-0.44, -0.44 + 1e-13])
    low, high = panel.get_ylim()
    assert low < -0.8 < -0.1 < high
    panel = Figure().subplots()
    panel.plot([0, 1], [1, 2])
    before = panel.get_ylim()
    widen(panel, [1, 2])
    assert panel.get_ylim() == before

"""The section on γ: its curves, how flat they are, and what was chosen on validation."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Paragraph, Table, table
from dashboards.report.numbers import fixed, interval, percent, plain, signed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    stability = stability_table(data.answers)
    if not stability.rows:
        yield from drawings.take("gamma")
        yield Paragraph("No loss has finished with two values of γ.")
        return
    yield Paragraph(
        "Range, standard deviation and slope are of the mean test DSC over γ. The baseline is the best loss outside "
        "the unified family by validation DSC; “above” is the share of γ with a higher mean test DSC, “in new "
        "trainings” the share for which that is shown (p < 0.05 after Holm over γ). γ is easy to set where the 90% "
        f"interval of every γ against the recommended 0.5 lies within ±{data.answers.margin:g}; the γ that differs "
        "most is named."
    )
    yield from drawings.take("gamma")
    yield stability
    yield Paragraph(
        "γ for the tables was chosen on validation. Choosing it on the shown test scores, as is often done, would have "
        "given:"
    )
    yield selection_table(data.answers)


def stability_table(answers: Answers) -> Table:
    """How much γ matters, in numbers."""
    return table(
        "Stability over γ",
        ("Data set", "Loss", "Baseline", "Easy to set", "γ tried", "range", "SD", "slope", "above baseline",
         "in new trainings", "best γ", "farthest γ", "against 0.5", "90% interval", "images", "runs"),
        [
            (r["dataset"], short(r["variant"]),
             f"{short(r['baseline'])} {fixed(r['baseline_dsc'])}" if isinstance(r["baseline"], str) else r["note"],
             r["verdict"], str(r["gammas"]), fixed(r["range"]), fixed(r["sd"]), signed(r["slope"]),
             percent(r["share_above_baseline"]), percent(r["share_significantly_above"]), plain(r["best_gamma"]),
             plain(r["farthest_gamma"]), signed(r["difference"]), interval(r["low"], r["high"]), str(r["n"]),
             str(r["runs"]))
            for r in answers.stability.to_dict("records")
        ],
        text=4,
    )  # fmt: skip


def selection_table(answers: Answers) -> Table:
    """γ as chosen on validation, and beside it what choosing on the test set would have given."""
    chosen = answers.selection[answers.selection["gammas"] > 1]
    return table(
        "γ chosen on validation, and on test",
        ("Data set", "Loss", "γ tried", "γ by validation", "validation DSC", "test DSC",
         "γ by test", "test DSC there", "gained by choosing on test"),
        [
            (r["dataset"], short(r["variant"]), str(r["gammas"]), plain(r["gamma"]), fixed(r["val_dsc"]),
             fixed(r["test_dsc"]), plain(r["gamma_on_test"]), fixed(r["test_dsc_on_test"]), signed(r["optimism"]))
            for r in chosen.to_dict("records")
        ],
        text=2,
    )  # fmt: skip


GAMMA = Section("gamma", "How much γ matters", 40, content, of_trainings=True)

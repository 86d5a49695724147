"""The section on what the answers rest on: runs, images and patients, and all that is left out or missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from dashboards.report.blocks import Block, Bullets, Details, Paragraph, Table, table
from dashboards.report.numbers import NONE, Row, first_line, missing
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import Json, StudyData
from sweeper.analysis import Answers
from sweeper.grids.details import DatasetDetails, details_of
from sweeper.grids.plugged import inert_note
from workers.datasets.coverage import looking_alike

_MEANING = (
    "A run is one training of a loss at its chosen γ. Empty: test images whose truth has no pixel of a class. "
    "Undefined: those for which some loss has a score without a value. Missing: those that some loss has no DSC for. "
    "Such scores are left out of means. An image counts once for each class."
)


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    sweep, answers = data.sweep, data.answers
    details = details_of(sweep)
    data_sets = details.data
    if not data.source:
        reason = f" ({sweep.reason})" if sweep.reason else ""
        yield Paragraph(
            f"State: {sweep.state}{reason}. {int(answers.trials['current'].sum())} of {len(answers.trials)} trials "
            "finished with results of the current version and enter the statistics."
        )
        if note := inert_note(details):
            yield Paragraph(note)
    if len(answers.evidence):
        yield evidence_table(answers, data_sets)
        if not data.source:
            yield trials_table(answers)
        yield Paragraph(_MEANING, "muted")
    if data.source:
        return
    grouping = group_notes(answers.trials, data.study.scores, data_sets)
    if notes := (*data_notes(sweep.grid, data_sets), *grouping, *external_notes(answers)):
        yield Bullets(notes)
    unfinished = unfinished_table(answers)
    if unfinished.rows:
        yield unfinished
    for title, own in (
        ("Excluded cases", excluded_table(data_sets)),
        ("Masks that lost a class by resizing", emptied_table(data_sets)),
    ):
        if own.rows:
            yield Details(f"{title} ({len(own.rows)})", (own,))


def evidence_table(answers: Answers, data_sets: Mapping[str, DatasetDetails]) -> Table:
    """One row per data set: losses, runs, the split, patients, and what is empty or missing."""
    rows = [_evidence_row(r, data_sets.get(r["dataset"])) for r in answers.evidence.to_dict("records")]
    head = (
        "Data set", "Images", "losses", "runs of each", "train / validation / test", "patients or groups", "excluded",
        "empty", "undefined", "missing", "classes without a test image",
    )  # fmt: skip
    return table("What the scores rest on, per data set", head, rows, text=2)


def trials_table(answers: Answers) -> Table:
    """One row per data set: trials by what became of them."""
    rows = [
        (r["dataset"], *(str(r[name]) for name in ("trials", "counted", "failed", "pruned", "waiting", "stopped",
                                                   "outdated")))
        for r in answers.evidence.to_dict("records")
    ]  # fmt: skip
    head = ("Data set", "trials", "counted", "failed", "pruned", "queued or running", "stopped", "older version")
    return table("What became of the trials, per data set", head, rows, text=1)


def unfinished_table(answers: Answers) -> Table:
    """Every trial that no statistic counts, with its error."""
    return table(
        "Trials without a current result, which no statistic counts",
        ("Trial", "Hash", "State", "attempts", "Kind", "Error"),
        [
            (r["label"], r["hash"], r["state"], str(r["attempts"]), r["failure"], first_line(r["error"]))
            for r in answers.unfinished.to_dict("records")
        ],
        text=3,
        long=True,
    )


def excluded_table(data_sets: Mapping[str, DatasetDetails]) -> Table:
    """Every case that was left out of a data set, with the reason."""
    rows = [(dataset, case, reason) for dataset, known in data_sets.items() for case, reason in known.excluded]
    return table("Excluded cases", ("Data set", "Case", "Reason"), rows, text=3, long=True)


def emptied_table(data_sets: Mapping[str, DatasetDetails]) -> Table:
    """Every mask that has a class in its file and none of it on the grid of the networks."""
    rows = [(dataset, case, label) for dataset, known in data_sets.items() for case, label in known.emptied]
    return table("Masks that lost a class by resizing", ("Data set", "Case", "Class"), rows, text=3, long=True)


def data_notes(grid: Json, data_sets: Mapping[str, DatasetDetails]) -> list[str]:
    """What a reader must know of each data set's split and scores beside the counts, one sentence each."""
    return [
        f"{dataset}: {note}"
        for dataset, known in data_sets.items()
        for note in (
            *([f"{known.unmatched}."] if known.unmatched else []),
            *_split_notes(known),
            *_class_notes(known),
            *_score_notes(_settings_of(grid, dataset, "evaluation")),
        )
    ]


def group_notes(trials: pd.DataFrame, scores: pd.DataFrame, data_sets: Mapping[str, DatasetDetails]) -> list[str]:
    """A sentence for each data set whose files name patients or sequences, where stored scores do not."""
    notes = []
    for dataset, known in data_sets.items():
        own = trials.loc[trials["current"] & (trials["dataset"] == dataset), "hash"]
        grouped = scores.loc[scores["group"] != "", "trial"]
        without = int((~own.isin(grouped) & own.isin(scores["trial"])).sum())
        if known.groups.known and without:
            notes.append(
                f"{dataset}: the files name {known.groups.known} patients or sequences, but the scores of {without} of "
                f"{len(own)} trials were stored by an older version, without them. Where no trial knows an image's "
                "patient or sequence, images count as if each had its own."
            )
    return notes


def external_notes(answers: Answers) -> list[str]:
    """A sentence for each row of the tables whose masks were made elsewhere."""
    external = answers.trials[answers.trials["external"] & answers.trials["current"]]
    return [
        f"{dataset}: {variant} is not a loss of this sweep: its masks were made elsewhere and only scored here, on the "
        "same images. Tables and tests include it; claims about losses do not."
        for dataset, variant in external[["dataset", "variant"]].drop_duplicates().itertuples(index=False)
    ]


def _evidence_row(row: Row, known: DatasetDetails | None) -> tuple[str, ...]:
    fewest, most = row["fewest_runs"], row["most_runs"]
    split = None if known is None else known.split
    sizes = f"– / – / {row['images']}" if split is None else f"{split.train} / {split.validation} / {split.test}"
    return (
        row["dataset"], row["provenance"], str(row["losses"]), str(fewest) if fewest == most else f"{fewest} to {most}",
        sizes, str(row["groups"] or "not known"), NONE if known is None else str(len(known.excluded)),
        NONE if missing(row["empty"]) else f"{row['empty']:.0f}", str(row["undefined"]), str(row["missing"]),
        row["absent"] or "none",
    )  # fmt: skip


def _split_notes(known: DatasetDetails) -> Iterator[str]:
    settings, groups = known.split_settings, known.groups
    if settings.get("official"):
        yield "the test set is the official one of its distribution."
    if settings.get("folds") and settings.get("fold") is None:
        yield (
            f"a cross-validation of {settings['folds']} folds: each was the test set of trainings of its own, so that "
            "every image was scored once per repeat. The sizes are those of the first fold."
        )
    elif settings.get("folds"):
        yield f"the test set is fold {settings['fold']} (from 0) of {settings['folds']} of a cross-validation."
    if own := settings.get("own"):
        yield f"its split is not drawn: {'its folders say it' if own == 'folders' else f'the file {own} says it'}." + (
            " What the file calls val is the test set." if settings.get("val_is_test") else ""
        )
    if known.alike:
        yield (
            f"leakage: {looking_alike(known.alike)}, which makes scores too high. "
            'split = { grouped = "near-duplicates" } keeps them together.'
        )
    if settings.get("resplit"):
        yield "each repeat drew training and validation images anew; the test images are the same in all."
    if groups.shared:
        yield (
            f"leakage: {groups.shared} of {groups.known} patients or sequences have images both in the test set and in "
            "training or validation, because the split is random. Images of one patient or sequence are alike, which "
            "makes every score too high. A grouped split keeps them apart: split = { grouped = true }."
        )
    elif groups.known and groups.partial:
        yield (
            "no group that the files name has images both in the test set and outside of it, but they do not tell all: "
            f"{known.ungrouped}."
        )
    elif groups.known:
        yield "no patient or sequence has images both in the test set and outside of it."
    elif known.ungrouped:
        yield f"leakage: {known.ungrouped}."


def _class_notes(known: DatasetDetails) -> Iterator[str]:
    for part, label in known.missing:
        yield f"no {part} image has a pixel of class {label}" + (
            ": it enters no table, mean or test." if part == "test" else "."
        )
    for label in dict.fromkeys(label for _, label in known.emptied):
        count = sum(own == label for _, own in known.emptied)
        yield (
            f"{count} of {known.cases} masks have class {label} in the file and lost it by resizing. Marking nothing "
            'is right there; mask_resampling = "area" keeps small structures.'
        )


def _score_notes(evaluation: Json) -> Iterator[str]:
    if evaluation.get("native"):
        yield "scores are at native resolution, on the source's own grid."
    if evaluation.get("field_of_view"):
        yield "scores count only pixels within the field of view."


def _settings_of(grid: Json, dataset: str, name: str) -> Json:
    """A table of settings as a data set has it: the grid's, and over it the data set's own."""
    own: Json = next((d.get(name, {}) for d in grid.get("datasets", []) if d["name"] == dataset), {})
    return {**grid.get(name, {}), **{k: v for k, v in own.items() if v is not None}}


RESTS = Section("rests", "What this rests on", 5, content)

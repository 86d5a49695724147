"""The section on what ran: trials and data per data set, exclusions, environment, settings, and the grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath

import pandas as pd

from dashboards.report.blocks import Block, Bullets, Details, Paragraph, Table, Text, table
from dashboards.report.numbers import NONE
from dashboards.report.registry import Section, SectionDrawings
from dashboards.report.settings_table import settings_table
from dashboards.study_data import Json, StudyData
from sweeper.analysis import Answers
from sweeper.grids.details import DatasetDetails, details_of
from sweeper.grids.plugged import inert_note
from workers.datasets.coverage import looking_alike

_ABOUT_SETTINGS = (
    "As the trials' specs have them, whether the grid named them or left them out. What the paper does not state is a "
    "choice of this project, and so is the learning rate, whose digits are lost in the copy of the paper that the "
    "project was written from. docs/paper.md lists what is known to differ from the paper and from its software. The "
    "losses and their parameters are what is compared; they are in the tables below and in the grid."
)


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    sweep, answers = data.sweep, data.answers
    reason = f" ({sweep.reason})" if sweep.reason else ""
    yield Paragraph(
        f"State: {sweep.state}{reason}. {int(answers.trials['current'].sum())} of {len(answers.trials)} trials "
        "finished with results of the current version and enter the statistics."
    )
    details = details_of(sweep)
    data_sets = details.data
    if note := inert_note(details):
        yield Paragraph(note)
    ran = trials_table(answers, data_sets)
    if ran.rows:
        yield ran
    grouping = group_notes(answers.trials, data.study.scores, data_sets)
    if notes := (*data_notes(sweep.grid, data_sets), *grouping, *external_notes(answers)):
        yield Bullets(notes)
    emptied = emptied_table(data_sets)
    if emptied.rows:
        yield Details(f"Masks that lost a class by resizing ({len(emptied.rows)})", (emptied,))
    excluded = excluded_table(data_sets)
    if excluded.rows:
        yield Details(f"Excluded cases ({len(excluded.rows)})", (excluded,))
    environment = environment_table(answers, data.environments)
    if environment.rows:
        yield Details("Environment", (environment,))
    settings = settings_table(data.specs)
    if settings.rows:
        yield Details("Settings", (Paragraph(_ABOUT_SETTINGS), settings))
    yield Details("The grid", (Text("The grid", grid_text(sweep.grid)),))


def trials_table(answers: Answers, data_sets: Mapping[str, DatasetDetails]) -> Table:
    """One row per data set: trials, losses, γ, repeats, split and excluded cases."""
    rows = []
    for dataset, group in answers.trials.groupby("dataset", sort=False, observed=True):
        known = data_sets.get(str(dataset), DatasetDetails())
        split = known.split
        sizes = NONE if split is None else f"{split.train} / {split.validation} / {split.test}"
        gammas = group.loc[group["loss"].str.startswith("unified"), "gamma"].dropna().unique()
        group = group[~group["external"]]
        rows.append(
            (str(dataset), str(group["provenance"].iloc[0]), str(len(group)), str(int(group["current"].sum())),
             str(group["variant"].nunique()), str(len(gammas)), str(group["repeat"].nunique()), sizes,
             str(len(known.excluded)))
        )  # fmt: skip
    head = (
        "Data set", "Images", "trials", "finished", "losses", "γ", "repeats", "train / validation / test", "excluded",
    )  # fmt: skip
    return table("Trials and data, per data set", head, rows, text=2)


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


def grid_text(grid: Json) -> str:
    """The grid as JSON. Of a data set's folder only the last part is shown: a report does not tell where files are."""
    shown = dict(grid)
    if "datasets" in shown:
        shown["datasets"] = [
            {k: PurePath(v).name if k == "folder" and v else v for k, v in d.items()} for d in shown["datasets"]
        ]
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def environment_table(answers: Answers, environments: Mapping[str, Mapping[str, str]]) -> Table:
    """The versions, devices and revisions of the finished trials; each distinct value once."""
    used = [environments[e] for e in answers.trials["environment"].unique() if e in environments]
    keys = dict.fromkeys(key for environment in used for key in environment)
    rows = [(str(k), ", ".join(dict.fromkeys(str(e[k]) for e in used if k in e))) for k in keys]
    return table("Environment of the finished trials", ("What", "Value"), rows, text=2, long=True)


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


RAN = Section("ran", "What ran", 10, content, of_trainings=True)

"""The section on what ran: trials and data per data set, exclusions, environment, and the grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from dashboards.report.blocks import Block, Bullets, Details, Paragraph, Table, Text, table
from dashboards.report.numbers import NONE
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    sweep, answers = data.sweep, data.answers
    reason = f" ({sweep.reason})" if sweep.reason else ""
    yield Paragraph(
        f"State: {sweep.state}{reason}. {int(answers.trials['current'].sum())} of {len(answers.trials)} trials "
        "finished with results of the current version and enter the statistics."
    )
    ran = trials_table(answers, sweep.details)
    if ran.rows:
        yield ran
    if notes := (*data_notes(sweep.grid, sweep.details), *external_notes(answers)):
        yield Bullets(notes)
    excluded = excluded_table(sweep.details)
    if excluded.rows:
        yield Details(f"Excluded cases ({len(excluded.rows)})", (excluded,))
    environment = environment_table(answers, data.environments)
    if environment.rows:
        yield Details("Environment", (environment,))
    settings = (
        "Settings that the paper leaves open and this project had to choose (learning rate, most epochs, the smallest "
        "change that counts as better, patches per 3D epoch) are in the grid below, with everything else of sweep "
        f"{sweep.name}."
    )
    yield Details("Training settings and the grid", (Paragraph(settings), Text("The grid", grid_text(sweep.grid))))


def trials_table(answers: Answers, details: Mapping[str, Any]) -> Table:
    """One row per data set: trials, losses, γ, repeats, split and excluded cases."""
    known: Mapping[str, Any] = details.get("data", {})
    rows = []
    for dataset, group in answers.trials.groupby("dataset", sort=False, observed=True):
        about = known.get(str(dataset), {})
        split = about.get("split", {})
        sizes = " / ".join(str(split[p]) for p in ("train", "validation", "test")) if split else NONE
        gammas = group.loc[group["loss"].str.startswith("unified"), "gamma"].dropna().unique()
        group = group[~group["external"]]
        rows.append(
            (str(dataset), str(group["provenance"].iloc[0]), str(len(group)), str(int(group["current"].sum())),
             str(group["variant"].nunique()), str(len(gammas)), str(group["repeat"].nunique()), sizes,
             str(len(about.get("excluded", []))))
        )  # fmt: skip
    head = (
        "Data set", "Images", "trials", "finished", "losses", "γ", "repeats", "train / validation / test", "excluded",
    )  # fmt: skip
    return table("Trials and data, per data set", head, rows, text=2)


def excluded_table(details: Mapping[str, Any]) -> Table:
    """Every case that was left out of a data set, with the reason."""
    known: Mapping[str, Any] = details.get("data", {})
    rows = [
        (str(d), str(case), str(reason)) for d, about in known.items() for case, reason in about.get("excluded", [])
    ]
    return table("Excluded cases", ("Data set", "Case", "Reason"), rows, text=3, long=True)


def data_notes(grid: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """What a reader must know of each data set's split and scores beside the counts, one sentence each."""
    return [
        f"{dataset}: {note}"
        for dataset, about in details.get("data", {}).items()
        for note in (*_split_notes(about), *_score_notes(_settings_of(grid, str(dataset), "evaluation")))
    ]


def external_notes(answers: Answers) -> list[str]:
    """A sentence for each row of the tables whose masks were made elsewhere."""
    external = answers.trials[answers.trials["external"] & answers.trials["current"]]
    return [
        f"{dataset}: {variant} is not a loss of this sweep: its masks were made elsewhere and only scored here, on the "
        "same images. Tables and tests include it; claims about losses do not."
        for dataset, variant in external[["dataset", "variant"]].drop_duplicates().itertuples(index=False)
    ]


def grid_text(grid: Mapping[str, Any]) -> str:
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


def _split_notes(about: Mapping[str, Any]) -> Iterator[str]:
    settings, groups = about.get("split_settings", {}), about.get("groups", {"known": 0, "shared": 0})
    if settings.get("official"):
        yield "the test set is the official one of its distribution."
    if settings.get("folds"):
        yield f"the test set is fold {settings['fold']} (from 0) of {settings['folds']} of a cross-validation."
    if groups["shared"]:
        yield (
            f"leakage: {groups['shared']} of {groups['known']} patients or sequences have images both in the test set "
            "and in training or validation, because the split is random. Images of one patient or sequence are alike, "
            "which makes every score too high. A grouped split keeps them apart: split = { grouped = true }."
        )
    elif groups["known"]:
        yield "no patient or sequence has images both in the test set and outside of it."
    elif about.get("ungrouped"):
        yield f"leakage: {about['ungrouped']}."


def _score_notes(evaluation: Mapping[str, Any]) -> Iterator[str]:
    if evaluation.get("native"):
        yield "scores are at native resolution, on the source's own grid."
    if evaluation.get("field_of_view"):
        yield "scores count only pixels within the field of view."


def _settings_of(grid: Mapping[str, Any], dataset: str, name: str) -> dict[str, Any]:
    """A table of settings as a data set has it: the grid's, and over it the data set's own."""
    own: Mapping[str, Any] = next((d.get(name, {}) for d in grid.get("datasets", []) if d["name"] == dataset), {})
    return {**grid.get(name, {}), **{k: v for k, v in own.items() if v is not None}}


RAN = Section("ran", "What ran", 10, content)

"""What the report's page shows, as plain rows of text: every number is formatted here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import pandas as pd

from dashboards.figures.style import short
from storage.records import Trial
from sweeper.analysis import Answers
from sweeper.analysis.frames import METRICS
from sweeper.analysis.paper import DATASETS, LOSSES
from sweeper.analysis.significance import ALPHA, SIGNED_RANK
from sweeper.search.space import domain_of
from trials.states import TrialState

MOST_ROWS = 200
"""A list longer than this is cut on the page, which says so; the CSV files have all of it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a result table. `mark` is "*" where it differs significantly from the column's best."""

    text: str
    best: bool = False
    mark: str = ""
    repeats: str = ""
    paper: str = ""


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A data set's and class's table: one row per loss, in the paper's order, then by name."""

    title: str
    rows: tuple[tuple[str, str, str, tuple[Cell, ...]], ...]
    agreement: str


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of plain text. `numeric` says which columns are set flush right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a search tried in one study, in the order of suggestion. `hashes` are its trials'."""

    title: str
    text: str
    table: TextTable
    hashes: tuple[str, ...]


def tried(
    study: str,
    search: Mapping[str, Any],
    points: Mapping[tuple[float, ...], Sequence[Trial]],
    scores: Callable[[str], Sequence[float]],
) -> Tried:
    """The part of the report on one search.

    Args:
        study: its name.
        search: `SearchStudy.to_dict`.
        points: its trials by the values that were chosen, in the order of suggestion.
        scores: the validation DSC after each epoch of a trial.
    """
    names = [str(domain_of(domain)) for domain in search["domains"]]
    heads = ["γ" if domain["name"] == "gamma" else domain["name"] for domain in search["domains"]]
    trials = [trial for own in points.values() for trial in own]
    finished = [t for t in trials if t.state is TrialState.FINISHED and t.val_dsc is not None]
    best = max(finished, key=lambda t: t.val_dsc or 0.0, default=None)
    rows = []
    for number, (point, own) in enumerate(points.items(), start=1):
        for trial in own:
            seen = scores(trial.hash) if trial.state is TrialState.PRUNED else []
            value = trial.val_dsc if trial.state is TrialState.FINISHED else seen[-1] if seen else None
            state = f"given up after epoch {len(seen)}" if trial.state is TrialState.PRUNED else trial.state.value
            mark = " (best)" if best is not None and trial.hash == best.hash else ""
            values = (f"{v:.4g}" for v in point)
            rows.append((str(number), *values, str(trial.seed), state + mark, _f(value), str(trial.epochs)))
    settings = search["settings"]
    most = sum(t.spec["training"]["epochs"] for t in trials)
    pruned = sum(t.state is TrialState.PRUNED for t in trials)
    counted = "" if heads == ["γ"] else " Tables and tests count the best of these points alone."
    text = (
        f"{settings['sampler']} chose {'; '.join(names)} on validation ({len(points)} of {search['points']} points, "
        f"{settings['startup']} of them to start from, pruner {settings['pruner']}). {pruned} of {len(trials)} trials "
        f"were given up, which no statistic counts; {sum(t.epochs for t in trials)} of at most {most} epochs were "
        f"trained.{counted}"
    )
    head = ("#", *heads, "seed", "state", "validation DSC", "epochs")
    table = TextTable(head, tuple(rows), tuple(i != len(head) - 3 for i in range(len(head))))
    return Tried(
        f"{search['dataset']}, {study.partition('/')[2].partition('/')[2]}", text, table, tuple(t.hash for t in trials)
    )


def result_tables(answers: Answers) -> list[ResultTable]:
    """Tables 2 to 6: the paper's data sets first, in its order."""
    groups = list(answers.table.groupby(["dataset", "label"], sort=False, observed=True))
    groups.sort(key=lambda item: (DATASETS.get(str(item[0][0]), len(DATASETS) + 2), str(item[0][0])))
    marks = _marks(answers)
    return [_result_table(str(d), str(label), group, answers, marks) for (d, label), group in groups]


def ordered_variants(answers: Answers, dataset: str, label: str) -> list[str]:
    """The variants of a data set and class, highest mean DSC first."""
    own = answers.table[
        (answers.table["dataset"] == dataset) & (answers.table["label"] == label) & (answers.table["metric"] == "dsc")
    ]
    return [str(v) for v in own.sort_values("mean", ascending=False, kind="stable")["variant"]]


def chosen_on_validation(answers: Answers) -> str:
    """The loss (and γ) of each data set that validation scores alone would choose; empty where there are none."""
    known = answers.selection.dropna(subset=["val_dsc"])
    if known.empty:
        return ""
    best = known.loc[known.groupby("dataset", sort=False, observed=True)["val_dsc"].idxmax()]
    return "; ".join(
        f"{short(r['variant'], 60)}{_at_gamma(r['gamma'])} on {r['dataset']} "
        f"(validation DSC {_f(r['val_dsc'])}, test DSC {_f(r['test_dsc'])})"
        for r in best.to_dict("records")
    )


def selection_table(answers: Answers) -> TextTable:
    """γ as chosen on validation, and beside it what choosing on the test set would have given."""
    chosen = answers.selection[answers.selection["gammas"] > 1]
    return _text_table(
        ("Data set", "Loss", "γ tried", "γ by validation", "validation DSC", "test DSC",
         "γ by test", "test DSC there", "gained by peeking"),
        [
            (r["dataset"], short(r["variant"], 60), str(r["gammas"]), _g(r["gamma"]), _f(r["val_dsc"]),
             _f(r["test_dsc"]), _g(r["gamma_on_test"]), _f(r["test_dsc_on_test"]), _signed(r["optimism"]))
            for r in chosen.to_dict("records")
        ],
        text=2,
    )  # fmt: skip


def stability_table(answers: Answers) -> TextTable:
    """How much γ matters, in numbers."""
    return _text_table(
        ("Data set", "Loss", "Baseline", "γ tried", "range", "SD", "slope", "above baseline",
         "significantly above", "best γ", "p, best against 0.5", "images"),
        [
            (r["dataset"], short(r["variant"], 60),
             f"{short(r['baseline'], 40)} {_f(r['baseline_dsc'])}" if isinstance(r["baseline"], str) else r["note"],
             str(r["gammas"]), _f(r["range"]), _f(r["sd"]), _signed(r["slope"]), _share(r["share_above_baseline"]),
             _share(r["share_significantly_above"]), _g(r["best_gamma"]), p_text(r["p_best_vs_recommended"]),
             str(r["n"]))
            for r in answers.stability.to_dict("records")
        ],
        text=3,
    )  # fmt: skip


def dsc_tests(answers: Answers, dataset: str, label: str) -> TextTable:
    """All pairs of a data set and class on DSC: both tests side by side."""
    own = answers.significance
    own = own[(own["dataset"] == dataset) & (own["label"] == label) & (own["metric"] == "dsc")]
    unpaired = own[own["test"] != SIGNED_RANK].to_dict("records")
    paired = own[own["test"] == SIGNED_RANK].to_dict("records")
    return _text_table(
        ("First", "Second", "rank-sum p", "Holm", "effect", "signed-rank p", "Holm", "effect", "median difference",
         "95% interval", "images", "left out"),
        [
            (short(s["first"], 60), short(s["second"], 60), p_text(u["p"]), p_text(u["p_holm"]),
             _signed(u["effect"], 2), p_text(s["p"]) + _in_brackets(s["note"]), p_text(s["p_holm"]),
             _signed(s["effect"], 2), _signed(s["median_difference"]),
             f"{_signed(s['low'])} to {_signed(s['high'])}", str(s["n"]), str(s["left_out"]))
            for u, s in zip(unpaired, paired, strict=True)
        ],
        text=2,
    )  # fmt: skip


def test_warning(answers: Answers, dataset: str, label: str) -> str:
    """A sentence where no corrected p can be significant at this number of images; empty otherwise."""
    own = answers.significance
    own = own[(own["dataset"] == dataset) & (own["label"] == label) & (own["metric"] == "dsc") & (own["warning"] != "")]
    if own.empty:
        return ""
    n, size, p = int(own["n"].min()), int(own["family_size"].max()), float(own["smallest_p_holm"].max())
    return (
        f"With {n} images and {size} comparisons the smallest corrected p that any scores could give is {p:.3f}: the "
        f"absence of a significant difference here says nothing."
    )


def claims_table(claims: pd.DataFrame) -> TextTable:
    """The paper's claims with their verdicts."""
    return _text_table(
        ("Data set", "Class", "Claim", "Verdict", "Numbers"),
        [
            (r["dataset"] if r["in_paper"] else f"{r['dataset']} (not in the paper)", r["label"], r["claim"],
             r["verdict"], r["numbers"])
            for r in claims.to_dict("records")
        ],
        text=5,
    )  # fmt: skip


def cost_table(answers: Answers) -> TextTable:
    """Training time per data set and loss, and of all together."""
    rows = [
        (r["dataset"], short(r["loss"], 60), str(r["trials"]), f"{r['hours']:.2f}", _f(r["mean_seconds"], 0),
         _f(r["mean_epochs"], 1))
        for r in answers.costs.to_dict("records")
    ]  # fmt: skip
    if rows:
        rows.append(("all", "", str(answers.costs["trials"].sum()), f"{answers.costs['hours'].sum():.2f}", "", ""))
    return _text_table(("Data set", "Loss", "trials", "device hours", "seconds per trial", "epochs"), rows, text=2)


def failures_table(answers: Answers) -> TextTable:
    """Every trial that no statistic counts, with its error."""
    return _text_table(
        ("Trial", "Hash", "State", "attempts", "Kind", "Error"),
        [
            (r["label"], r["hash"], r["state"], str(r["attempts"]), r["failure"], _first_line(r["error"]))
            for r in answers.unfinished.to_dict("records")
        ],
        text=3,
    )


def what_ran(answers: Answers, details: Mapping[str, Any]) -> TextTable:
    """One row per data set: trials, losses, γ, repeats, split and excluded cases."""
    known: Mapping[str, Any] = details.get("data", {})
    rows = []
    for dataset, group in answers.trials.groupby("dataset", sort=False, observed=True):
        about = known.get(str(dataset), {})
        split = about.get("split", {})
        sizes = " / ".join(str(split[p]) for p in ("train", "validation", "test")) if split else "–"
        gammas = group.loc[group["loss"].str.startswith("unified"), "gamma"].dropna().unique()
        group = group[~group["external"]]
        rows.append(
            (str(dataset), str(group["provenance"].iloc[0]), str(len(group)), str(int(group["current"].sum())),
             str(group["variant"].nunique()), str(len(gammas)), str(group["repeat"].nunique()), sizes,
             str(len(about.get("excluded", []))))
        )  # fmt: skip
    head = (
        "Data set",
        "Images",
        "trials",
        "finished",
        "losses",
        "γ",
        "repeats",
        "train / validation / test",
        "excluded",
    )
    return _text_table(head, rows, text=2)


def exclusions(details: Mapping[str, Any]) -> TextTable:
    """Every case that was left out of a data set, with the reason."""
    known: Mapping[str, Any] = details.get("data", {})
    rows = [
        (str(d), str(case), str(reason)) for d, about in known.items() for case, reason in about.get("excluded", [])
    ]
    return _text_table(("Data set", "Case", "Reason"), rows, text=3)


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
        f"{dataset}: {variant} is not a loss of this study: its masks were made elsewhere and only scored here, on the "
        "same images. It stands in tables and tests, and in no claim about losses."
        for dataset, variant in external[["dataset", "variant"]].drop_duplicates().itertuples(index=False)
    ]


def _split_notes(about: Mapping[str, Any]) -> Iterator[str]:
    settings, groups = about.get("split_settings", {}), about.get("groups", {"known": 0, "shared": 0})
    if settings.get("official"):
        yield "the test set is the official one of its distribution."
    if settings.get("folds"):
        yield f"the test set is fold {settings['fold']} (from 0) of {settings['folds']} of a cross-validation."
    if groups["shared"]:
        yield (
            f"leakage: {groups['shared']} of {groups['known']} patients or sequences have images both in the test set "
            "and in training or validation, as the random split has it; images of one are alike, which flatters every "
            "score. A grouped split keeps them apart: split = { grouped = true }."
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


def without_pictures(grid: Mapping[str, Any]) -> frozenset[str]:
    """The data sets of which the grid wants no picture shown."""
    return frozenset(d["name"] for d in grid.get("datasets", []) if d.get("pictures") is False)


def grid_text(grid: Mapping[str, Any]) -> str:
    """The grid as JSON. Of a data set's folder only the last part is shown: a report does not tell where files lie."""
    shown = dict(grid)
    if "datasets" in shown:
        shown["datasets"] = [
            {k: PurePath(v).name if k == "folder" and v else v for k, v in d.items()} for d in shown["datasets"]
        ]
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def _settings_of(grid: Mapping[str, Any], dataset: str, table: str) -> dict[str, Any]:
    """A table of settings as a data set has it: the grid's, and over it the data set's own."""
    own: Mapping[str, Any] = next((d.get(table, {}) for d in grid.get("datasets", []) if d["name"] == dataset), {})
    return {**grid.get(table, {}), **{k: v for k, v in own.items() if v is not None}}


def environment_table(answers: Answers, environments: Mapping[str, Mapping[str, str]]) -> TextTable:
    """The versions, devices and revisions of the finished trials; each distinct value once."""
    used = [environments[e] for e in answers.trials["environment"].unique() if e in environments]
    keys = dict.fromkeys(key for environment in used for key in environment)
    rows = [(str(k), ", ".join(dict.fromkeys(str(e[k]) for e in used if k in e))) for k in keys]
    return _text_table(("What", "Value"), rows, text=2)


def friedman_text(statistic: float, p: Any, blocks: int, left_out: int, note: str) -> str:
    """One sentence on Friedman's test."""
    if pd.isna(p):
        return note
    left = f" ({left_out} left out, since a loss lacks them)" if left_out else ""
    verdict = "the losses do not all rank alike" if p < ALPHA else "no significant difference among the losses"
    return f"Friedman χ² = {statistic:.1f}, p {_equals(p)}, {blocks} blocks{left}: {verdict}. {note}".strip()


def p_text(p: Any) -> str:
    """`< 0.001`, three decimals, or a dash where no test was made."""
    return "–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def time_text(seconds: float | None) -> str:
    """UTC, to the minute."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _result_table(
    dataset: str, label: str, group: pd.DataFrame, answers: Answers, marks: set[tuple[str, str, str, str]]
) -> ResultTable:
    best = {str(m): rows["mean"].round(3).max() for m, rows in group.groupby("metric")}
    order = {name: i for i, name in enumerate(LOSSES)}
    variants = sorted(group["variant"].unique(), key=lambda v: (order.get(v.partition(" (")[0], len(order)), v))
    rows = []
    for variant in variants:
        own = {r["metric"]: r for r in group[group["variant"] == variant].to_dict("records")}
        cells = tuple(_cell(own[m], best[m], (dataset, label, m, variant) in marks) for m in METRICS)
        n, left = own["dsc"]["n"], max(own[m]["left_out"] for m in METRICS)
        images = f"{n}" + (f" (−{left})" if left else "")
        rows.append((short(variant, 60), _g(own["dsc"]["gamma"]), images, cells))
    number = f"Table {DATASETS[dataset]} · " if dataset in DATASETS else ""
    tau = answers.agreement[(answers.agreement["dataset"] == dataset) & (answers.agreement["label"] == label)]
    agreement = ""
    for r in tau.to_dict("records"):
        if not pd.isna(r["tau"]):
            order_text = f"Order of {r['losses']} losses by DSC against the paper's"
            agreement = f"{order_text}: Kendall's τ = {r['tau']:.2f}, p {_equals(r['p'])}."
    return ResultTable(f"{number}{dataset}, {label}", tuple(rows), agreement)


def _cell(row: Mapping[str, Any], best: float, differs: bool) -> Cell:
    if pd.isna(row["mean"]):
        return Cell("–")
    half = "" if pd.isna(row["half_width"]) else f" ± {row['half_width']:.3f}"
    repeats = ""
    if row["repeats"] > 1 and not pd.isna(row["repeats_half_width"]):
        repeats = f"± {row['repeats_half_width']:.3f} over {row['repeats']} repeats"
    paper = ""
    if not pd.isna(row["paper_mean"]):
        paper = f"paper {row['paper_mean']:.3f} ± {row['paper_half_width']:.3f} ({_signed(row['difference'])})"
    return Cell(f"{row['mean']:.3f}{half}", round(row["mean"], 3) == best, "*" if differs else "", repeats, paper)


def _marks(answers: Answers) -> set[tuple[str, str, str, str]]:
    """(data set, class, metric, variant) of what differs significantly from the best mean of its column."""
    ranked = answers.table.dropna(subset=["mean"]).sort_values("mean", ascending=False, kind="stable")
    best = ranked.drop_duplicates(["dataset", "label", "metric"]).set_index(["dataset", "label", "metric"])["variant"]
    tests = answers.significance
    significant = tests[(tests["test"] == SIGNED_RANK) & (tests["p_holm"] < ALPHA)]
    marks = set()
    for r in significant.to_dict("records"):
        place = (r["dataset"], r["label"], r["metric"])
        pair = {r["first"], r["second"]}
        if (winner := best.get(place)) in pair:
            (other,) = pair - {winner}
            marks.add((*place, other))
    return marks


def _text_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, text: int) -> TextTable:
    """A table whose first `text` columns are text and whose other columns are numbers."""
    cut = f"The first {MOST_ROWS} of {len(rows)} rows; the CSV file has all." if len(rows) > MOST_ROWS else ""
    return TextTable(head, tuple(rows[:MOST_ROWS]), tuple(i >= text for i in range(len(head))), cut)


def _first_line(text: str, limit: int = 300) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def _f(value: Any, digits: int = 3) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def _g(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:g}"


def _signed(value: Any, digits: int = 3) -> str:
    return "–" if pd.isna(value) else f"{value:+.{digits}f}".replace("-", "−")


def _at_gamma(value: Any) -> str:
    return "" if pd.isna(value) else f" at γ = {value:g}"


def _share(value: Any) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.0f}%"

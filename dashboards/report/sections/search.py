"""The section on what searches tried, point by point."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.report.blocks import Block, Heading, Paragraph, Table
from dashboards.report.numbers import fixed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import SearchedTrials, StudyData
from storage.records import Trial
from trials.states import TrialState


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section; nothing where no search ran."""
    if not data.searches:
        return
    yield Paragraph(
        "γ was not swept over a full grid. A search chose it step by step, so a curve over γ has points where the "
        "search looked, and its range and slope are not those of a grid."
    )
    for one in data.searches:
        title = f"{one.search.dataset}, {one.study.partition('/')[2].partition('/')[2]}"
        yield Heading(title)
        yield Paragraph(search_text(one))
        yield points_table(one, f"What the search tried, {title}")


def search_text(one: SearchedTrials) -> str:
    """Which sampler chose what, how many points it tried, and what was pruned."""
    search, trials = one.search, one.trials
    settings, domains = search.settings, "; ".join(map(str, search.domains))
    pruned = sum(t.state is TrialState.PRUNED for t in trials)
    most = sum(t.spec.training.epochs for t in trials)
    counted = "" if _headings(one) == ["γ"] else " Tables and tests count only the best of these points."
    return (
        f"{settings.sampler} chose {domains} on validation ({len(one.points)} of {search.points} points, "
        f"{settings.startup} of them to start from, pruner {settings.pruner}). {pruned} of {len(trials)} trials "
        f"were pruned; no statistic counts them. {sum(t.epochs for t in trials)} of at most {most} epochs were "
        f"trained.{counted}"
    )


def points_table(one: SearchedTrials, name: str) -> Table:
    """A row for each trial, in the order of suggestion."""
    best = max((t for t in one.trials if _score(t) is not None), key=lambda t: _score(t) or 0.0, default=None)
    rows = []
    for number, (point, own) in enumerate(one.points.items(), start=1):
        for trial in own:
            pruned = one.pruned_scores.get(trial.hash, ())
            value = pruned[-1] if pruned else _score(trial)
            state = f"pruned after epoch {len(pruned)}" if trial.state is TrialState.PRUNED else trial.state.value
            mark = " (best)" if best is not None and trial.hash == best.hash else ""
            values = (f"{v:.4g}" for v in point)
            rows.append((str(number), *values, str(trial.seed), state + mark, fixed(value), str(trial.epochs)))
    head = ("#", *_headings(one), "seed", "state", "validation DSC", "epochs")
    return Table(name, head, tuple(rows), tuple(i != len(head) - 3 for i in range(len(head))))


def _score(trial: Trial) -> float | None:
    return trial.val_dsc if trial.state is TrialState.FINISHED else None


def _headings(one: SearchedTrials) -> list[str]:
    return ["γ" if name == "gamma" else name for name in one.search.names]


SEARCH = Section("search", "What the search tried", 50, content, of_trainings=True)

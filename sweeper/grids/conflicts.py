"""A name that a sweep has already: whether a grid is that sweep's own, and if not, what differs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from operator import attrgetter

from storage.errors import SweepConflictError
from storage.records import Trial
from sweeper.grids.names import Naming
from sweeper.search.details import SearchDetails
from trials.spec import RESULTS_VERSION, TrialSpec, dotted, is_external

SHOWN = 3
"""So many trials or settings are named, the others counted."""


def unprepared_hash(spec: TrialSpec) -> str:
    """The hash of a cell without what only preparation tells: cells that differ in it differ in any case."""
    return unprepared(spec).hash


def unprepared(spec: TrialSpec) -> TrialSpec:
    """A cell without what only preparation tells."""
    return replace(spec, data=replace(spec.data, prepared="", split="", provenance="real"))


def refuse_another_grid(
    name: str,
    trials: Sequence[Trial],
    specs: Sequence[TrialSpec],
    naming: Naming,
    *,
    extend: bool,
    key: Callable[[TrialSpec], str] = attrgetter("hash"),
) -> None:
    """Says which trials a grid adds to, or lacks of, the sweep that has its name, and which settings tell them apart.

    Args:
        name: of the sweep.
        trials: what it has; none where there is no such sweep yet. Masks that were scored are in no grid.
        specs: what the grid has.
        naming: of the grid.
        extend: whether the grid may have more.
        key: what tells cells apart.

    Raises:
        SweepConflictError: see above.
    """
    if not trials:
        return
    trials = naming.labelled(trials)
    known = {key(t.spec): t for t in trials if not is_external(t.spec)}
    wanted = {key(spec): spec for spec in specs}
    added = [spec for one, spec in wanted.items() if one not in known]
    # Trials of an older results version have no cell in any grid any more; they stay, marked as outdated.
    lacking = [
        trial
        for one, trial in known.items()
        if one not in wanted and not (extend and trial.results_version < RESULTS_VERSION)
    ]
    if lacking and extend:
        raise SweepConflictError(
            f"--extend only grows sweep {name!r}, but this grid lacks {len(lacking)} of its trials: "
            f"{_some(f'«{t.label}»' for t in lacking)}{_settings(lacking, added, naming)}. Add them to the grid, or "
            "give it another name with --name"
        )
    if (added or lacking) and not extend:
        differs = [
            f"{len(labels)} {how}: {_some(labels)}"
            for labels, how in (
                ([f"«{naming.label(spec)}»" for spec in added], "new"),
                ([f"«{trial.label}»" for trial in lacking], "not in it"),
            )
            if labels
        ]
        raise SweepConflictError(
            f"sweep {name!r} exists with another grid ({'; '.join(differs)}{_settings(lacking, added, naming)}). "
            + ("" if lacking else "Grow it by what is new with --extend, or ")
            + ("Give" if lacking else "give")
            + " this one another name with --name"
        )


def with_asked_metrics(stored: Mapping[str, object], asked: Mapping[str, object]) -> dict[str, object]:
    """A sweep's stored grid with the further metrics that a grid of the same trials asks for now.

    They are no part of a trial, so that the newest launch decides. All else of the stored grid stays.

    Args:
        stored: the grid of the sweep.
        asked: the grid that was launched, in the same form.
    """
    grid = _with_metrics(stored, asked)
    of = {table["name"]: table for table in _tables(asked)}
    data_sets = [_with_metrics(table, of.get(str(table["name"]), table)) for table in _tables(stored)]
    return {**grid, "datasets": data_sets} if data_sets else grid


def _tables(grid: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The tables of a grid's data sets."""
    found = grid.get("datasets")
    return list(found) if isinstance(found, list | tuple) else []


def _with_metrics(table: Mapping[str, object], asked: Mapping[str, object]) -> dict[str, object]:
    own, wanted = table.get("evaluation"), asked.get("evaluation")
    evaluation = {key: value for key, value in own.items() if key != "metrics"} if isinstance(own, Mapping) else {}
    if isinstance(wanted, Mapping) and "metrics" in wanted:
        evaluation["metrics"] = wanted["metrics"]
    return {**table, "evaluation": evaluation} if evaluation or isinstance(own, Mapping) else dict(table)


def refuse_another_search(
    name: str, known: Mapping[str, SearchDetails] | None, wanted: Mapping[str, SearchDetails], *, extend: bool
) -> None:
    """Says how the searches of a grid differ from those of the sweep that has its name: only budgets can grow.

    Args:
        name: of the sweep.
        known: its searches by study; None where there is no such sweep yet.
        wanted: of the grid's.
        extend: whether the grid may have more.

    Raises:
        SweepConflictError: see above.
    """
    if known is None:
        return
    for study, search in wanted.items():
        before = known.get(study)
        if before is None:
            differs, grows = f"search {study} is new", True
        elif (before.hash, before.domains, before.seeds) != (search.hash, search.domains, search.seeds):
            old, new = _search_settings(before), _search_settings(search)
            changes = [f"{key} {_shown(old[key])} → {_shown(new[key])}" for key in new if old[key] != new[key]]
            differs, grows = f"search {study} differs: {_some(changes)}", False
        elif before.settings.trials != search.settings.trials:
            fewer, more = before.settings.trials, search.settings.trials
            differs, grows = f"search {study} has trials {fewer} → {more}", more > fewer
        else:
            continue
        if extend and grows:
            continue
        raise SweepConflictError(
            f"sweep {name!r} exists with another search ({differs}). "
            + ("Grow it with --extend, or give" if grows else "Give")
            + " this one another name with --name"
        )


def _search_settings(search: SearchDetails) -> dict[str, object]:
    chosen = "; ".join(map(str, search.domains))
    return {**asdict(search.settings), "optuna": search.optuna, "chosen": chosen, "seeds": list(search.seeds)}


def _settings(lacking: Sequence[Trial], added: Sequence[TrialSpec], naming: Naming) -> str:
    """The settings in which cells of the same label differ, as `; training.epochs 2 → 12`."""
    before = {trial.label: trial.spec.to_dict() for trial in lacking}
    changes = [
        f"{key} {_shown(old.get(key))} → {_shown(new.get(key))}"
        for spec in added
        if (label := naming.label(spec)) in before
        for old, new in [(dict(dotted(before[label])), dict(dotted(spec.to_dict())))]
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    return f"; {_some(dict.fromkeys(changes))}" if changes else ""


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return "none" if value in (None, "") else str(value)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:SHOWN])
    return shown if len(listed) <= SHOWN else f"{shown} and {len(listed) - SHOWN} more"

"""The heat map in a terminal: one picture, or one that follows the sweep. Readable at 80 columns and without colour.

A legend under the map explains every sign; colour only repeats it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from storage.records import Attempt, Lease, Sweep, Trial
from storage.repository import Repository
from sweeper.grids.names import naming_of, variants
from sweeper.timing.pace import Pace, pace
from sweeper.units import duration
from sweeper.views.heat_map import KIND_WORDS, STATE_ORDER, Cell, HeatMap, Row, heat_map
from trials.states import AttemptState, SweepState, TrialState

POLL_SECONDS = 1.0
LABEL_WIDTH = 30
"""The largest width of the names of losses, unless the terminal is wide enough for more."""

_LETTERS = {
    TrialState.QUEUED: "-",
    TrialState.RUNNING: "r",
    TrialState.FAILED: "F",
    TrialState.PRUNED: "p",
    TrialState.STOPPED: "s",
}
_STYLES = {
    TrialState.QUEUED: "dim",
    TrialState.RUNNING: "bold cyan",
    TrialState.FINISHED: "green",
    TrialState.FAILED: "bold red",
    TrialState.PRUNED: "yellow",
    TrialState.STOPPED: "yellow",
}
_MOST_RUNNING = 8
"""Running trials that are listed under the map."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown of a sweep at one moment; `lease` None where no living coordinator holds it."""

    sweep: Sweep
    lease: Lease | None
    trials: Sequence[Trial]
    map: HeatMap
    running: Sequence[tuple[Trial, Attempt, float | None]]
    pace: Pace


def take_picture(repository: Repository, name: str) -> Picture:
    """Reads a sweep.

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    sweep, trials, newest = repository.sweep(name), repository.trials(name), repository.newest_epochs(name)
    naming = naming_of(sweep.grid, trials)
    trials = naming.labelled(trials)
    attempts = repository.attempts_of_sweep(name)
    lease, now = repository.lease(name), repository.database.now()
    own = {t.hash: t for t in trials}
    return Picture(
        sweep=sweep,
        lease=lease if lease is not None and lease.expires_at > now else None,
        trials=trials,
        map=heat_map(trials, newest, variants(trials, naming)),
        running=[
            (own[a.trial], a, newest[a.trial].val_dsc if a.trial in newest else None)
            for a in attempts
            if a.state is AttemptState.RUNNING and a.trial in own
        ],
        pace=pace(trials, attempts, now),
    )


def watch(repository: Repository, name: str, console: Console) -> None:
    """Shows the sweep until it has ended and has no coordinator, or until Ctrl-C. Without a terminal: shows it once.

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    picture = take_picture(repository, name)
    if not console.is_terminal:
        console.print(draw(picture, console.width))
        return
    ended = (SweepState.FINISHED, SweepState.STOPPED, SweepState.BROKEN)

    def fitting() -> RenderableType:
        return draw(picture, console.width, console.height - 1)

    # Not the alternate screen of the terminal: the last picture stays visible.
    with (
        suppress(KeyboardInterrupt),
        Live(fitting(), console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        pulse = ""
        while picture.lease is not None or picture.sweep.state not in ended:
            time.sleep(POLL_SECONDS)
            if (newer := repository.pulse(name)) != pulse:
                pulse, picture = newer, take_picture(repository, name)
            live.update(fitting(), refresh=True)


def draw(picture: Picture, width: int, height: int | None = None) -> RenderableType:
    """The picture for `width` columns; of a map that is too long for `height` lines, the rows where something happens.

    Args:
        picture: from `take_picture`.
        width: of the terminal, at least 20.
        height: lines, or None for as many as it takes.
    """
    head = _head(picture)
    foot = [*_running_lines(picture, width), _legend(picture)]
    room = None if height is None else max(height - len(head) - _wrapped(foot, width) - 1, 3)
    return Group(*head, Text(), *_map_lines(picture.map, width, room), *foot)


def cell_text(cell: Cell, *, wide: bool = False) -> str:
    """A cell in at most five signs, or with the epoch of a running trial: `.812`, `r.71`, `-`, `Fnan`, `.80F`."""
    if cell.dsc is not None:
        # Repeats that have not finished are a letter behind the mean of the others.
        return _share(cell.dsc) + _LETTERS.get(cell.state, "")
    if cell.state is TrialState.RUNNING:
        live = "" if cell.live is None else _share(cell.live, 2)
        return f"r{cell.epoch} {live}".rstrip() if wide and cell.epoch else f"r{live}"
    if cell.state is TrialState.FAILED:
        return "F" + (KIND_WORDS[cell.failure] if cell.failure else "")
    # Finished, but without a validation DSC: masks that were made elsewhere.
    return _LETTERS.get(cell.state, "ok")


def _head(picture: Picture) -> list[Text]:
    sweep, counts = picture.sweep, Counter(t.state for t in picture.trials)
    parts = [f"{counts[state]} {state.value}" for state in TrialState if counts[state]]
    lines = [f"{sweep.name}: {sweep.state.value}{' (REHEARSAL)' if sweep.rehearsal else ''}; {', '.join(parts)}"]
    if sweep.reason:
        lines.append(f"reason: {sweep.reason}")
    if picture.lease is None and any(counts[s] for s in (TrialState.QUEUED, TrialState.RUNNING)):
        lines.append(f"nobody is running it; resume it with: sweeper resume {sweep.name}")
    elif picture.running:
        lines.append(pace_words(picture.pace))
    return [Text(line) for line in lines if line]


def pace_words(one: Pace) -> str:
    """`about 12 min left; 14 trials an hour`."""
    words = []
    if one.left is not None:
        words.append(f"about {duration(one.left)} left{'' if one.measured else ' (as planned; none has finished)'}")
    if one.per_hour is not None:
        words.append(f"{one.per_hour:,.0f} trials an hour" if one.per_hour >= 10 else f"{one.per_hour:.1f} an hour")
    return "; ".join(words)


def _map_lines(shown: HeatMap, width: int, room: int | None) -> Iterator[Text]:
    """The map in blocks of as many columns as fit beside the names."""
    if not shown.rows:
        return
    label, cells, wide = _widths(shown, width)
    fit = max((width - label) // cells, 1)
    blocks = [range(i, min(i + fit, len(shown.columns))) for i in range(0, len(shown.columns), fit)]
    per_block = [[row for row in shown.rows if any(c in row.cells for c in block)] for block in blocks]
    if room is not None:
        kept = _most_telling(shown.rows, per_block, room)
        per_block = [[row for row in rows if id(row) in kept] for rows in per_block]
    for block, rows in zip(blocks, per_block, strict=True):
        if not rows:
            continue
        yield Text(
            set_cell_size("validation DSC", label)
            + "".join(shown.columns[c].label[: cells - 1].rjust(cells) for c in block),
            style="bold",
        )
        dataset = None
        for row in rows:
            if row.dataset != dataset:
                dataset = row.dataset
                yield Text(_cut(dataset, width), style="bold")
            line = Text(set_cell_size(_cut(f"  {row.loss}", label - 1), label))
            for c in block:
                cell = row.cells.get(c)
                text = "" if cell is None else cell_text(cell, wide=wide)
                line.append(text.rjust(cells), style="" if cell is None else _STYLES[cell.state])
            yield line
    hidden = len(shown.rows) - len({id(row) for rows in per_block for row in rows})
    if hidden:
        yield Text(f"… and {hidden} more rows; all of them: sweeper status --watch | less", style="dim")


def _widths(shown: HeatMap, width: int) -> tuple[int, int, bool]:
    """Columns of the names, of a cell with the space before it, and whether running cells show their epoch."""
    longest = max(cell_len(row.loss) for row in shown.rows) + 3
    narrow, wide = (
        max(
            *(len(cell_text(c, wide=wide)) for row in shown.rows for c in row.cells.values()),
            *(min(len(c.label), 9) for c in shown.columns),
            4,
        )
        + 1
        for wide in (False, True)
    )
    if min(longest, LABEL_WIDTH) + wide * len(shown.columns) <= width:
        return min(longest, width - wide * len(shown.columns)), wide, True
    # All columns beside one another before long names; of a name, 20 columns must remain.
    label = max(min(longest, LABEL_WIDTH, width - narrow * len(shown.columns)), min(longest, 20))
    return label, narrow, False


def _most_telling(rows: Sequence[Row], per_block: Sequence[Sequence[Row]], room: int) -> set[int]:
    """The rows (by id) that fit: first those where something runs or failed, then the half done, then the others."""
    rank = {state: i for i, state in enumerate(STATE_ORDER)}
    order = sorted(rows, key=lambda row: min(rank[c.state] for c in row.cells.values()))
    kept: set[int] = set()
    for row in order:
        tried = kept | {id(row)}
        lines = 1  # that some are hidden
        for block in per_block:
            own = [r for r in block if id(r) in tried]
            lines += len(own) + len({r.dataset for r in own}) + (1 if own else 0)
        if lines > room and kept:
            break
        kept = tried
    return kept


def _running_lines(picture: Picture, width: int) -> list[Text]:
    lines = []
    for trial, attempt, dsc in picture.running[:_MOST_RUNNING]:
        live = "" if dsc is None else f", validation DSC {_share(dsc)}"
        tail = f": epoch {trial.epochs} of {trial.spec.training.epochs}{live}"
        place = " ".join(word for word in (attempt.host, attempt.device) if word)
        if place and cell_len(f"r {trial.label}{tail}, {place}") <= width:
            tail += f", {place}"
        lines.append(Text(_cut(f"r {_cut(trial.label, max(width - cell_len(tail) - 2, 12))}{tail}", width)))
    if (more := len(picture.running) - _MOST_RUNNING) > 0:
        lines.append(Text(f"r and {more} more"))
    return [Text(), *lines] if lines else [Text()]


def _legend(picture: Picture) -> Text:
    """What the signs mean that can be seen."""
    cells = [cell for row in picture.map.rows for cell in row.cells.values()]
    seen, kinds = {cell.state for cell in cells}, {cell.failure for cell in cells}
    words = [".812 finished"] if any(cell.dsc is not None for cell in cells) else []
    words += [f"{_LETTERS[s]} {s.value}" for s in TrialState if s in seen and s in _LETTERS]
    words += [f"F{KIND_WORDS[k]} {k.value.replace('_', ' ')}" for k in KIND_WORDS if k in kinds]
    return Text("; ".join(words), style="dim")


def _wrapped(lines: Sequence[Text], width: int) -> int:
    return sum(max(-(-cell_len(line.plain) // width), 1) for line in lines)


def _share(value: float, digits: int = 3) -> str:
    """`.812`; `1.00` for what rounds to one."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0") else text[: digits + 2]


def _cut(text: str, width: int) -> str:
    """The text in `width` columns, with … where something was left out."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"

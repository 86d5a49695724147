"""What a section of the report is made of. Everything is plain text, which the page escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.figures.style import Drawing

MOST_ROWS = 200
"""A longer table is cut on the page, which says so; the CSV files have all of it."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph: plain, of small weight (`muted`), or a warning (`banner`)."""

    text: str
    look: Literal["plain", "muted", "banner"] = "plain"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain text.

    Attributes:
        name: its caption.
        head: the columns' headings.
        rows: a text for each column.
        numeric: which columns are set flush right.
        long: whether cells hold sentences, which are then broken into lines.
        cut: the note below a table that was cut.
    """

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    long: bool = False
    cut: str = ""


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """One score of a result table. `mark` is "*" where it is worse than the column's best in new trainings."""

    text: str
    best: bool = False
    mark: str = ""
    repeats: str = ""
    paper: str = ""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of a data set and class: a row is a loss, its γ, its number of images, and its scores."""

    name: str
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, str, str, tuple[ScoreCell, ...]], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Text in a fixed-width font, such as a grid. `name` says what it is."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that are folded up on the page until a reader opens them."""

    summary: str
    blocks: tuple[Block, ...]


Block = Paragraph | Heading | Table | ScoreTable | Bullets | Text | Details | Drawing


def table(name: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, text: int, long: bool = False) -> Table:
    """A table whose first `text` columns are text and whose other columns are numbers."""
    cut = f"The first {MOST_ROWS} of {len(rows)} rows; the CSV file has all." if len(rows) > MOST_ROWS else ""
    return Table(name, head, tuple(rows[:MOST_ROWS]), tuple(i >= text for i in range(len(head))), long, cut)

"""Where the blocks of a section stand on the page: figures beside the text before them, small multiples together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dashboards.figures.style import Drawing
from dashboards.report.blocks import Block, Bullets, Details, Heading, Paragraph, ScoreTable, Table

BESIDE = 2
"""So many figures stand beside text; of more, one does, and the others follow in rows."""

_NARROW = 4
"""A table of so many columns stands beside a figure."""

_COLUMN = 7
"""A table of so many columns fits into one of the two columns of print."""


_TABLES = (Table, ScoreTable)


@dataclass(frozen=True, slots=True)
class Row:
    """Blocks that stand together: `words` on the left, `figures` on the right; alone, either has the whole width.

    `wide` says that each figure has the whole width on a screen.
    """

    words: tuple[Block, ...] = ()
    figures: tuple[Drawing, ...] = ()
    wide: bool = False

    @property
    def spans(self) -> bool:
        """Whether it goes over both columns of print."""
        columns = (len(b.head if isinstance(b, Table) else b.metrics) for b in self.words if isinstance(b, _TABLES))
        return max(columns, default=0) > _COLUMN


def rows(blocks: Iterable[Block]) -> list[Row]:
    """The rows of a section. Words keep their order, and so do figures; words after a figure stay beside it."""
    found: list[Row] = []
    words: list[Block] = []
    figures: list[Drawing] = []
    for block in blocks:
        narrow = isinstance(block, Drawing) and not block.wide
        if _ends(block, words, figures):
            found += _row(words, figures)
            words, figures = [], []
        if isinstance(block, Drawing):
            figures.append(block)
        else:
            words.append(block)
        if not narrow and _needs_all(block):
            found += _row(words, figures)
            words, figures = [], []
    return [*found, *_row(words, figures)]


def _ends(block: Block, words: list[Block], figures: list[Drawing]) -> bool:
    """Whether a row that was begun ends before a block."""
    if isinstance(block, Drawing):
        return bool(block.wide and words) or bool(figures and figures[-1].wide != block.wide)
    if _needs_all(block) and len(words) == 1 and isinstance(words[0], Heading):
        return False  # a table stays with its heading
    return isinstance(block, Heading) or _needs_all(block) or bool(figures and (figures[-1].wide or not words))


def _needs_all(block: Block) -> bool:
    """Whether a block that is no figure has a row of its own."""
    if isinstance(block, Table):
        return len(block.head) > _NARROW
    return isinstance(block, ScoreTable | Details) or not isinstance(block, Paragraph | Bullets | Heading | Drawing)


def _row(words: list[Block], figures: list[Drawing]) -> Iterator[Row]:
    if figures and figures[0].wide:
        yield Row(figures=tuple(figures), wide=True)
    elif words and len(figures) > BESIDE:
        yield Row(tuple(words), tuple(figures[:1]))
        yield Row(figures=tuple(figures[1:]))
    elif words or figures:
        yield Row(tuple(words), tuple(figures))

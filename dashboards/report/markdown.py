"""The report as Markdown, for a paper's repository: tables as GitHub has them, figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dashboards.figures.style import Drawing
from dashboards.report.blocks import Block, Bullets, Details, Heading, Paragraph, ScoreCell, ScoreTable, Table, Text
from dashboards.report.registry import Section

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_STARTS = re.compile(r"^(\d*)([-+=.)])(?=\s|$)")


def escape(text: str) -> str:
    """The text on one line, such that it is shown unchanged."""
    return _STARTS.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", " ".join(text.split())))


def markdown(
    title: str, banners: Iterable[str], sentences: Iterable[str], sections: Iterable[tuple[Section, Sequence[Block]]]
) -> str:
    """The whole page.

    Args:
        title: of the sweep.
        banners: what a reader must know first.
        sentences: the answer.
        sections: what follows, as the HTML page has it.
    """
    parts = [f"# {escape(title)}", *(f"> **{escape(banner)}**" for banner in banners), "## The answer"]
    parts += map(escape, sentences)
    for section, blocks in sections:
        parts.append(f"## {escape(section.title)}")
        parts += map(_block, blocks)
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f"> **{escape(block.text)}**" if block.look == "banner" else escape(block.text)
        case Heading():
            return f"### {escape(block.text)}"
        case Bullets():
            return "\n".join(f"- {escape(item)}" for item in block.items)
        case Text():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
            return f"{fence}\n{block.text}\n{fence}"
        case Details():
            inner = "\n\n".join(map(_block, block.blocks))
            return f"<details><summary>{escape(block.summary)}</summary>\n\n{inner}\n\n</details>"
        case Table():
            cut = f"\n\n{escape(block.cut)}" if block.cut else ""
            return f"**{escape(block.name)}**\n\n{_table(block.head, block.rows, block.numeric)}{cut}"
        case ScoreTable():
            return _scores(block)
        case Drawing():
            return _drawing(block)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    lines = [[escape(cell) for cell in head], ["---:" if right else "---" for right in numeric]]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _scores(table: ScoreTable) -> str:
    head = ["Loss", "γ", "images", *table.metrics]
    lines = [[escape(cell) for cell in head], ["---"] * len(head)]
    lines += [
        [escape(loss), escape(gamma), escape(images), *map(_score, scores)]
        for loss, gamma, images, scores in table.rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _score(score: ScoreCell) -> str:
    text = f"**{escape(score.text)}**" if score.best else escape(score.text)
    return "<br>".join([text + escape(score.mark), *(escape(t) for t in (score.repeats, score.paper) if t)])


def _drawing(drawing: Drawing) -> str:
    numbers = f" [Numbers](figures/{drawing.name}.csv)" if drawing.csv else ""
    how = f"\n\n<details><summary>How it was computed</summary>\n\n{escape(drawing.how)}\n\n</details>"
    return (
        f"![{escape(drawing.alt)}](figures/{drawing.name}.svg)\n\n**{escape(drawing.title)}.** "
        f"{escape(drawing.caption)}{numbers}{how if drawing.how else ''}"
    )

"""Where blocks stand on the page: beside one another, over its width, small multiples together."""

from __future__ import annotations

from dashboards.figures.style import Drawing
from dashboards.report.blocks import Block, Details, Heading, Paragraph, ScoreTable, table
from dashboards.report.layout import Row, rows

TEXT, HEADING = Paragraph("Some words."), Heading("nuclei")
NARROW = table("two", ("a", "b"), [("1", "2")], text=1)
BROAD = table("eight", tuple("abcdefgh"), [tuple("12345678")], text=1)


def figure(name: str, *, wide: bool = False) -> Drawing:
    return Drawing(name, name, "", "", "", b"", wide=wide)


def test_a_figure_stands_beside_the_words_before_it_and_further_ones_together() -> None:
    one, two, three = map(figure, "abc")
    assert rows([HEADING, TEXT, NARROW, one]) == [Row((HEADING, TEXT, NARROW), (one,))]
    assert rows([TEXT, one, two, three]) == [Row((TEXT,), (one,)), Row(figures=(two, three))]
    assert rows([one, two]) == [Row(figures=(one, two))]
    assert rows([one, TEXT]) == [Row(figures=(one,)), Row((TEXT,))]
    assert rows([TEXT, one, HEADING, two]) == [Row((TEXT,), (one,)), Row((HEADING,), (two,))]


def test_what_is_broad_has_a_row_of_its_own_with_its_heading() -> None:
    one, wide = figure("a"), figure("b", wide=True)
    details = Details("more", (TEXT,))
    assert rows([TEXT, HEADING, BROAD, TEXT, one, details]) == [
        Row((TEXT,)), Row((HEADING, BROAD)), Row((TEXT,), (one,)), Row((details,))
    ]  # fmt: skip
    assert rows([TEXT, wide, one]) == [Row((TEXT,)), Row(figures=(wide,), wide=True), Row(figures=(one,))]
    assert Row((HEADING, BROAD)).spans
    assert not Row((HEADING, NARROW)).spans
    assert not Row((ScoreTable("few", ("DSC",), ()),)).spans


def test_no_block_is_lost_and_words_keep_their_order() -> None:
    blocks: list[Block] = [TEXT, BROAD, figure("a"), HEADING, figure("b", wide=True), NARROW, figure("c"), TEXT, BROAD]
    found = rows(blocks)
    assert [b for row in found for b in row.words] == [b for b in blocks if not isinstance(b, Drawing)]
    assert [b for row in found for b in row.figures] == [b for b in blocks if isinstance(b, Drawing)]

"""The report as Markdown: what stands in it is shown as it is, and figures are files beside it."""

from __future__ import annotations

import pandas as pd

from dashboards.figures.style import Drawing
from dashboards.report.blocks import Bullets, Details, Heading, Paragraph, ScoreCell, ScoreTable, Text, table
from dashboards.report.markdown import escape, markdown
from dashboards.report.registry import Section

SECTION = Section("s", "Scores", 1, lambda data, drawings: [])


def test_every_kind_of_block_is_written() -> None:
    drawing = Drawing("dots", "Dots", "One each.", "A dot.", "<svg/>", b"", pd.DataFrame({"x": [1]}), "By counting.")
    scores = ScoreTable("t", ("DSC",), (("ce", "–", "3", (ScoreCell("0.5 ± 0.1", True, "*", "± 0.2", ""),)),))
    text = markdown(
        "demo",
        ["Rehearsal."],
        ["The answer is ce."],
        [(SECTION, [Heading("nuclei"), Paragraph("Words."), Bullets(("a", "b")), Text("grid", "x = 1"), scores, drawing,
                    Details("more", (table("T", ("a", "b"), [("1", "2")], text=1),))])],
    )  # fmt: skip
    assert text.startswith(
        "# demo\n\n> **Rehearsal.**\n\n## The answer\n\nThe answer is ce.\n\n## Scores\n\n### nuclei"
    )
    assert "\n\n- a\n- b\n\n```\nx = 1\n```\n\n| Loss | γ | images | DSC |\n" in text
    assert "| ce | – | 3 | **0.5 ± 0.1**\\*<br>± 0.2 |" in text
    assert "![A dot.](figures/dots.svg)\n\n**Dots.** One each. [Numbers](figures/dots.csv)" in text
    assert "<details><summary>more</summary>\n\n**T**\n\n| a | b |\n| --- | ---: |\n| 1 | 2 |\n\n</details>" in text


def test_names_are_text_whatever_they_hold() -> None:
    assert escape("a|b <script> *c* _d_\n`e` [f](g)") == r"a\|b \<script\> \*c\* \_d\_ \`e\` \[f\](g)"
    assert (escape("0.5 ± 0.1"), escape("+0.012"), escape("–")) == ("0.5 ± 0.1", "+0.012", "–")
    assert escape("- no list") == r"\- no list"
    assert escape("1. no list") == r"1\. no list"

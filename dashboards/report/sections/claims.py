"""The section on the paper's claims: which hold here, which do not, which were not tested."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dashboards.report.blocks import Block, Details, Paragraph, Table, table
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis.verdicts import UNTESTED


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    claims = data.answers.claims
    tested = claims["verdict"] != UNTESTED
    if data.source and not tested.any():
        return
    yield Paragraph(
        "A claim holds where these runs show it for new images and new trainings (p < 0.05 after Holm). “Do not "
        f"differ” holds where the 90% interval of each difference lies within ±{data.answers.margin:g}. What the "
        "scores cannot tell is not shown. The paper's test, which takes images alone and ignores runs, stands beside "
        "it. Verdicts on data sets that the paper does not have say only whether the claim carries over."
    )
    if tested.any():
        yield claims_table(claims[tested], "Claims")
    if not tested.all():
        untested = claims_table(claims[~tested], "Claims that were not tested")
        yield Details(f"Not tested ({len(untested.rows)})", (untested,))


def claims_table(claims: pd.DataFrame, name: str) -> Table:
    """Claims with their verdicts."""
    return table(
        name,
        ("Data set", "Class", "Claim", "Verdict", "Numbers"),
        [
            (r["dataset"] if r["in_paper"] else f"{r['dataset']} (not in the paper)", r["label"], r["claim"],
             r["verdict"], r["numbers"])
            for r in claims.to_dict("records")
        ],
        text=5,
        long=True,
    )  # fmt: skip


CLAIMS = Section("claims", "The paper's claims", 90, content)

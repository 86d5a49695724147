"""The quick table is pandas' own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.analysis.wide import wide

PAIRS = st.lists(st.tuples(st.sampled_from("acb"), st.sampled_from("yxz")), min_size=1, unique=True)


@pytest.mark.parametrize("kind", ["str", "object", "category"])
@given(pairs=PAIRS, missing=st.integers(0, 9))
def test_it_is_what_pivot_gives(kind: str, pairs: list[tuple[str, str]], missing: int) -> None:
    rows = pd.DataFrame(pairs, columns=["run", "case"]).astype(kind)
    rows["dsc"] = np.arange(len(rows), dtype=float)
    rows.loc[rows.index == missing, "dsc"] = np.nan
    pd.testing.assert_frame_equal(
        wide(rows, "run", "case", "dsc"), rows.pivot(index="run", columns="case", values="dsc")
    )

"""Texts that a schema cannot describe: grids and changes of them. Named by SCHEMATHESIS_HOOKS, too. No test module."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies as st

NAMES = st.from_regex(r"\A[a-z][a-z0-9_.-]{0,20}\Z")
GRID = 'name = "{}"\nextends = "demo"\nlosses = [{{ name = "{}" }}]'

schemathesis.openapi.format("grid", st.builds(GRID.format, NAMES, st.sampled_from(["ce", "dice"])))
schemathesis.openapi.format("grid-change", st.builds("training.epochs={}".format, st.integers(1, 99)))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Where alternatives meet, the format of a text is lost at times; a text that is no grid is refused, rightly."""
    if isinstance(body, dict) and isinstance(body.get("toml"), str) and not body["toml"].startswith("name = "):
        return {**body, "toml": GRID.format("g", "ce")}
    return body

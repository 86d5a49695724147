"""The data sets of docs/data.md are accepted by their readers as they stand there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from workers.datasets import get_reader, names

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
TABLES = [
    table for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) for table in tomllib.loads(block)["datasets"]
]


@pytest.mark.parametrize("table", TABLES, ids=[table["name"] for table in TABLES])
def test_its_options_are_right(table: dict[str, object]) -> None:
    options = table.get("options", {})
    assert isinstance(options, dict)
    reader = get_reader(str(table.get("reader", table["name"])), options | {"name": table["name"]})
    assert reader.options["name"] == table["name"]


def test_every_built_in_reader_and_option_is_explained() -> None:
    for name in names():
        assert f"`{name}`" in TEXT or f'reader = "{name}"' in TEXT
        for option in get_reader(name).options:
            assert f"`{option}`" in TEXT or f"{option} =" in TEXT, (name, option)

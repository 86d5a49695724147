"""Names that become files never lead out of their folder, and texts in CSV files are never formulas."""

from __future__ import annotations

from pathlib import Path

import pytest

from trials.places import PlaceError, below, is_dataset_name, is_hash, is_name
from trials.spreadsheets import harmless


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\x00b", "a" * 256, "é" * 128])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(PlaceError, match="cannot be the name of a file"):
        below(Path("/home"), name)


@pytest.mark.parametrize("name", ["demo", "..x", "nuclei-0a1b", "é.log", "a b"])
def test_any_other_is_joined(name: str) -> None:
    assert below(Path("/home"), name) == Path("/home") / name


def test_names_and_hashes_by_their_form() -> None:
    assert is_name("demo-2.x")
    assert not is_name("demo\n")
    assert not is_name("../demo")
    assert is_hash("0123456789abcdef")
    assert not is_hash("0123456789abcdef\n")
    assert not is_hash("../../../x")


@pytest.mark.parametrize("name", ["a", "my cells", "T2", "x" * 80])
def test_data_sets_may_have_the_names_of_folders_with_spaces(name: str) -> None:
    assert is_dataset_name(name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "..", "../a b", "a\tb", "a\n", "x" * 81])
def test_data_sets_have_no_other_names(name: str) -> None:
    assert not is_dataset_name(name)


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1+cmd", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["case-1", "-0.5", "+3", "-inf", "", None, "a=b"])
def test_other_text_and_numbers_stay(text: str | None) -> None:
    assert harmless(text) == text

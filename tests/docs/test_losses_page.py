"""docs/losses.md lists every loss as the registry has it; `python -m tests.docs.test_losses_page` writes that part."""

from __future__ import annotations

from pathlib import Path

from workers import losses
from workers.losses.text import page

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
FIRST, LAST = "<!-- losses: made from the registry by tests/docs/test_losses_page.py -->\n", "<!-- /losses -->"


def test_the_page_is_that_of_the_registry() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(FIRST)[1].split(LAST)[0] == page(), "run python -m tests.docs.test_losses_page"


def test_every_loss_says_what_it_is() -> None:
    for line in map(losses.definition, losses.names()):
        assert line.equation, line.name
        assert line.reference, line.name
        assert line.use, line.name
        assert line.traps, line.name
        assert all(p.doc for p in line.parameters), line.name


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(FIRST)
    PAGE.write_text(before + FIRST + page() + LAST + rest.split(LAST)[1], encoding="utf-8")

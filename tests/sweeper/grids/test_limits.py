"""What a grid's text and numbers may be at most; each is refused at once, in one line."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from annotated_types import Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeper.errors import GridError
from sweeper.grids.files import grid_of_text
from sweeper.grids.limits import MAX_CELLS, check_text, most_trials
from sweeper.grids.schema import Grid
from trials.memory import limited_memory

DEEP = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o"
LARGE: dict[str, tuple[str, str]] = {
    "a key of many parts": ("a." * 100_000 + "b = 1", "more than 16 parts"),
    "lists in lists": ("a = " + "[" * 100_000, "lie in each other"),
    "tables in tables": ("a = " + "{a=" * 50_000, "lie in each other"),
    "deep tables by keys": (f"{DEEP} = {{{DEEP} = {{{DEEP} = {{b.c.d = 1}}}}}}", "more than 32 deep"),
    "a long list": (f"seeds = [{','.join(map(str, range(20_000)))}]", "more than 10000 entries"),
    "a long list of lines": ("seeds = [" + "1,\n" * 20_000 + "]", "more than 10000 entries"),
    "a long line": ("# " + "x" * 300_000, "a line of 300002 signs"),
    "a long text": ("# x\n" * 300_000, "signs; at most"),
    "many tables": ("[a]\n" * 30_000, "more than 20000 tables"),
    "many keys": ("".join(f"a{i}=1\n" for i in range(70_000)), "60000 keys"),
    "a number beyond all": (f'name = "x"\ntraining.epochs = {10**22}', "is too large; whole numbers are at most"),
    "a number of many digits": (f'name = "x"\nseed = {"9" * 4000}', "more than 40 digits is too large"),
    "too many epochs": ('name = "x"\ntraining.epochs = 1000001', "training.epochs = 1000001 must be at most 1000000"),
    "many mistakes": ('name = "x"\n' + "".join(f"a{i} = 1\n" for i in range(1000)), "and 990 more mistakes"),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_what_would_cost_much_is_refused_in_one_line(what: str) -> None:
    text, says = LARGE[what]
    with pytest.raises(GridError) as caught:
        grid_of_text(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    "text",
    [
        'a = """' + "x.y.[{,\n" * 1000 + '"""',
        "a = '" + "a.b.c." * 100 + "'",
        "# " + "a.b.c." * 100,
        'a = "' + '\\"a.b.' * 100 + '"',
        "a = [" + "1.5, " * 9000 + "]",
        '"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r" = 1',
    ],
)
def test_signs_in_texts_and_comments_count_for_nothing(text: str) -> None:
    check_text(text, "grid")


@pytest.mark.parametrize("text", ['"""' + '\\"""' * 50_000, "'''" + "'" * 100_001 + "a", 'a = "' + '\\"' * 100_000])
def test_an_unfinished_text_is_looked_at_once(text: str) -> None:
    check_text(text, "grid")


def test_twenty_thousand_checks_of_seeds_take_no_time_of_their_own() -> None:
    seeds = ",".join(map(str, range(MAX_CELLS)))
    assert len(grid_of_text(f'name = "x"\nseeds = [{seeds}]').seeds or ()) == MAX_CELLS
    with pytest.raises(GridError, match="seeds: 5 is listed twice"):
        grid_of_text(f'name = "x"\nseeds = [5, {seeds[:-5]}]')


def test_trials_are_counted_without_being_made() -> None:
    text = (
        'name = "x"\nrepeats = 1000\ndatasets = [{ name = "nuclei", split.folds = 1000 }]\n'
        'losses = [{ name = "focal", gamma = [1, 2, 3] }, { name = "ce" }]\nmodels = [{}, { depth = 2 }]'
    )
    assert most_trials(grid_of_text(text)) == 1000 * 1000 * 4 * 2
    assert most_trials(grid_of_text("search = { trials = 7 }\n" + text.replace(", split.folds = 1000", ""))) == 28_000


def test_every_number_of_a_grid_has_an_upper_bound() -> None:
    unbounded: list[str] = []
    seen: set[type[BaseModel]] = set()

    def look(model: type[BaseModel]) -> None:
        if model in seen:
            return
        seen.add(model)
        for name, field in model.model_fields.items():
            walk(f"{model.__name__}.{name}", field.annotation, field.metadata)

    def walk(where: str, kind: Any, metadata: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            look(kind)
        elif kind in (int, float) and not any(isinstance(one, Le | Lt) for one in metadata):
            unbounded.append(where)
        elif kind not in (int, float):
            inner = [m for one in get_args(kind)[1:] if isinstance(one, FieldInfo) for m in one.metadata]
            for part in get_args(kind):
                walk(where, part, [*metadata, *inner])

    look(Grid)
    assert len(seen) > 8
    assert unbounded == []


def test_memory_beyond_a_limit_is_refused_and_given_back_afterwards() -> None:
    with pytest.raises(MemoryError), limited_memory(64):
        bytearray(200 * 2**20)
    assert len(bytearray(200 * 2**20))

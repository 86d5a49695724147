"""A loss as a person reads it, from its registry line alone: for `sweeper losses` and docs/losses.md. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

from trials.spec import ParameterValue
from workers.losses.parameters import Parameter
from workers.losses.registry import LossDefinition, definition, names

KINDS = {
    "distribution": "of distributions",
    "region": "of regions",
    "compound": "compound",
}


def shown(name: str) -> Iterator[str]:
    """The lines of `sweeper losses show`.

    Raises:
        UnknownNameError, ParameterError: no such loss.
    """
    line = definition(name)
    yield f"{line.name}: {line.doc}"
    yield ""
    yield f"kind        {KINDS[line.kind]}{', compared in the paper' if line.paper else ''}"
    for title, text in (("equation", line.equation), ("source", line.reference), ("use", line.use)):
        if text:
            yield f"{title:<12}{text}"
    for trap in line.traps:
        yield f"{'trap':<12}{trap}"
    if line.truth_map:
        yield f"{'data':<12}needs a map of the truth, which training makes with the batch"
    if not line.parameters:
        yield f"{'parameters':<12}none"
        return
    yield ""
    width = max(len(p.name) for p in line.parameters)
    for p in line.parameters:
        yield f"  {p.name:<{width}}  {value_text(p.default)}  {p.range_text}. {p.doc}".rstrip()


def value_text(value: ParameterValue) -> str:
    """A default in few signs."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def page() -> str:
    """The part of docs/losses.md that is made from the registry."""
    rows = ["| name | value | source |", "|---|---|---|"]
    rows += [
        f"| `{line.name}` | {_cell(line.equation)} | {_cell(line.reference)} |" for line in map(definition, names())
    ]
    sections = [text for line in map(definition, names()) for text in _section(line)]
    return "\n".join([*rows, "", "## Each loss", "", *sections]).rstrip() + "\n"


def _section(line: LossDefinition) -> Iterator[str]:
    yield f"### `{line.name}`"
    yield ""
    yield f"{line.doc} {line.use}".strip()
    yield ""
    for p in line.parameters:
        yield f"- `{p.name}` = {value_text(p.default)}, {_range(p)}. {p.doc}".rstrip()
    for trap in line.traps:
        yield f"- **Trap**: {trap}"
    if line.parameters or line.traps:
        yield ""


def _range(p: Parameter) -> str:
    return _cell(p.range_text.replace("is one of", "one of").removeprefix(f"{p.name} ") if p.choices else p.range_text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

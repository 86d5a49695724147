"""The page that shows two trials' segmentations of one test case side by side, over the image and its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from flask import Response, request

from dashboards.board.answering import asked_sweep, one_of, picture_file, rendered, table_file
from dashboards.board.source import Source
from dashboards.errors import PageError
from dashboards.figures.segmentations import example_figure
from dashboards.figures.style import Drawing
from sweeper.analysis.chosen import ChosenScores
from sweeper.views.crops import Box
from sweeper.views.examples import Example, Examples, beside, trials_cases

PARTS = {"part": "the part in which they differ most", "whole": "the whole image"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks to see. `trials` and `cases` are what else can be chosen, by hash and by case."""

    sweep: str
    scores: ChosenScores
    dataset: str
    first: str
    second: str
    case: str
    part: str
    trials: Mapping[str, str]
    cases: Mapping[str, str]

    @property
    def query(self) -> str:
        return urlencode({"sweep": self.sweep, "a": self.first, "b": self.second, "case": self.case, "part": self.part})


def overlays_page(source: Source) -> Response:
    """Two trials side by side, and what else can be chosen."""
    asked = _asked(source)
    found, drawing = _drawn(source, asked)
    values = {"asked": asked, "datasets": _datasets(asked.scores), "parts": PARTS}
    return rendered("overlays", {**values, "problems": found.problems, "drawing": drawing})


def overlays_picture(source: Source) -> Response:
    """The figure as PNG."""
    found, drawing = _drawn(source, _asked(source))
    if drawing is None:
        raise PageError("; ".join(found.problems), 404)
    return picture_file(drawing)


def overlays_table(source: Source) -> Response:
    """The DSC of both trials on each test case."""
    asked = _asked(source)
    table = trials_cases(asked.scores, {asked.first, asked.second})
    head = ("case", *(asked.trials[one] for one in table.columns))
    return table_file(f"{asked.sweep}-cases", head, [(case, *row) for case, *row in table.itertuples()])


def _asked(source: Source) -> Asked:
    sweep = asked_sweep()
    scores = source.chosen(sweep)
    datasets = _datasets(scores)
    if not datasets:
        raise PageError(f"no trial of sweep {sweep!r} has finished yet", 404)
    current = scores.trials[scores.trials["current"]]
    of = dict(zip(current["hash"], current["dataset"], strict=True))
    first = request.args.get("a", "")
    dataset = one_of("dataset", datasets, "data set with a finished trial", of.get(first, datasets[0]))
    own = current[current["dataset"] == dataset]
    trials = {str(h): _name(str(label), dataset) for h, label in zip(own["hash"], own["label"], strict=True)}
    known = list(trials)
    moved = first in of and first not in trials  # the data set was chosen anew
    first = _trial("a", "" if moved else first, known, known[0])
    variants = dict(zip(own["hash"], own["variant"], strict=True))
    other = next((h for h in known if variants[h] != variants[first]), known[-1])
    second = _trial("b", "" if moved else request.args.get("b", ""), known, other)
    table = trials_cases(scores, {first, second})
    if table.empty:
        raise PageError(f"{trials[first]} and {trials[second]} have no test case in common", 404)
    cases = {str(case): f"{case}: DSC {row[first]:.3f} and {row[second]:.3f}" for case, row in table.iterrows()}
    case = next(iter(cases))
    if not moved:
        case = one_of("case", cases, "test case of both trials", case)
    part = one_of("part", PARTS, "part of an image", "part")
    return Asked(sweep, scores, dataset, first, second, case, part, trials, cases)


def _trial(name: str, wanted: str, known: list[str], default: str) -> str:
    """A finished trial of the data set, by its hash or the first digits of it."""
    if not wanted:
        return default
    found = [one for one in known if one.startswith(wanted)]
    if len(found) != 1:
        what = "no finished trial" if not found else f"{len(found)} finished trials"
        raise PageError(f"{what} of this data set has a hash that starts with {wanted!r} ({name})", 404)
    return found[0]


def _drawn(source: Source, asked: Asked) -> tuple[Examples, Drawing | None]:
    if asked.dataset in source.hidden(asked.sweep):
        return Examples(asked.dataset, problems=("its pictures are switched off (pictures = false)",)), None
    if source.trials_folder is None or source.prepared_root is None:
        return Examples(asked.dataset, problems=("the trials' predictions are not on this machine",)), None
    names = {one: asked.trials[one] for one in (asked.first, asked.second)}
    found = beside(asked.scores, names, asked.case, source.trials_folder, source.prepared_root)
    if not found.shown:
        return found, None
    key = "\0".join(("overlays", asked.sweep, asked.first, asked.second, asked.case, asked.part))
    return found, source.drawing(key, source.scored(asked.sweep), lambda: _figure(asked, found.shown[0]))


def _figure(asked: Asked, example: Example) -> Drawing:
    if whole := asked.part == "whole":
        boxed = [replace(plane, box=Box(0, 0, *plane.truth.shape)) for plane in example.planes]
        example = replace(example, planes=tuple(boxed))
    drawn = example_figure(asked.dataset, example)
    shown = "Shown is the whole" if whole else "Boxed and enlarged: the part in which they differ most"
    planes = "" if len(example.planes) == 1 else ", in three planes"
    return replace(
        drawn,
        name=f"overlays-{asked.first[:8]}-{asked.second[:8]}",
        title=f"Test case {asked.case} of {asked.dataset}",
        caption=f"{shown}{planes}. Yellow line: the truth. Blue: false "
        "negatives. Orange: false positives. DSC is of the whole case, the counts are of what is shown.",
    )


def _datasets(scores: ChosenScores) -> list[str]:
    current = scores.trials[scores.trials["current"]]
    return [str(one) for one in current["dataset"].unique()]


def _name(label: str, dataset: str) -> str:
    return label.removeprefix(f"{dataset} · ")

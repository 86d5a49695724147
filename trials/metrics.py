"""The metrics by which segmentations are scored: names, headings, ranges, parameters, and which way is better.

Pure data: a metric names the function that computes it, which is imported where masks are scored
(`workers.scoring.masks`). A new metric is one function and one line here, or one `register` call in a plug-in.
Scores are stored by a metric's name, so that a new one needs no migration.

A metric with parameters is stored under a name that says which of them differ from their defaults, such as
`nsd(tolerance=2)`. So two settings never meet under one name, a stored value can be computed again from its name
alone, and a metric at its defaults has a short name.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trials.errors import InputError, ParameterError, UnknownNameError, nearest
from trials.registry import Registry

OVERLAP = "overlap"
"""The group of metrics that every trial is scored by."""

SURFACE_DISTANCES = "surface_distances"
"""The group of metrics that the evaluation's setting of this name adds."""

ON_DEMAND = "on_demand"
"""The group of metrics that are computed where a grid's `metrics` name them."""

CALIBRATION = "calibration"
"""The group of metrics of the softmax, which is not stored: a trained network alone gives them. Also on demand."""

DESCRIPTION = "description"
"""The group of quantities that describe an image and its truth. They are stored with every score, and compare nothing.
"""

SIZE, DIAGONAL = "size", "diagonal"
"""The two descriptions."""

_PARAMETRISED = re.compile(r"(?P<base>[^()]+)\((?P<settings>[^()]*)\)")


@dataclass(frozen=True, slots=True)
class MetricParameter:
    """A number that a metric takes.

    Attributes:
        name: what a grid calls it.
        default: its value where the grid says nothing. It never changes: stored names rely on it.
        low: the smallest allowed value.
        high: the largest allowed value.
        whole: whether it must be a whole number.
    """

    name: str
    default: float
    low: float = 0.0
    high: float = math.inf
    whole: bool = False

    def check(self, metric: str, value: object) -> float:
        """The value as a number.

        Raises:
            ParameterError: no number, outside of the range, or not whole.
        """
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        number = float(value) if fits else math.nan  # type: ignore[arg-type]
        if not self.low <= number <= self.high or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            bounds = f"of at least {self.low:g}" if math.isinf(self.high) else f"in [{self.low:g}, {self.high:g}]"
            raise ParameterError(f"metric {metric!r}: {self.name} = {value!r}; expected {kind} {bounds}")
        return number


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one class in one image.

    Attributes:
        name: what scores are stored under, and what a grid calls it.
        heading: what tables and figures show.
        function: `f(masks, **parameters) -> float | None`, or where it is, as `"package.module:function"`. It gets a
            `workers.scoring.masks.Masks` and each of its parameters by name; None is an undefined value.
        doc: one sentence: what it measures, and its source.
        low: the smallest possible value.
        high: the largest possible value; infinity for a distance, which may be infinite itself.
        higher_is_better: whether a larger value is the better one.
        undefined_when: when the value is None, in words; empty where it never is.
        group: `overlap` metrics are computed always, `surface_distances` where the evaluation asks for them, and
            each metric but those where a grid's `metrics` name it.
        paper: whether the paper's tables have it (section 3.1.6).
        distance: whether it is a distance in the unit of the spacing, so that an infinite one counts as the image's
            diagonal in means.
        parameters: the numbers that it takes.
        settings: values of those parameters that differ from their defaults (see `find`).
    """

    name: str
    heading: str
    function: Callable[..., float | None] | str
    doc: str = ""
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    undefined_when: str = ""
    group: str = OVERLAP
    paper: bool = False
    distance: bool = False
    parameters: tuple[MetricParameter, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def compared(self) -> bool:
        """Whether it says how good a segmentation is; otherwise it describes the image."""
        return self.group != DESCRIPTION

    def compute(self, masks: object) -> float | None:
        """The value for the masks of one class in one image; None where it is undefined."""
        values = {parameter.name: parameter.default for parameter in self.parameters} | dict(self.settings)
        return self.load()(masks, **values)

    def load(self) -> Callable[..., float | None]:
        """The function itself, imported where it was given by name."""
        if callable(self.function):
            return self.function
        module, _, attribute = self.function.partition(":")
        function: Callable[..., float | None] = getattr(importlib.import_module(module), attribute)
        return function

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, as `expected …`; None where it may stand.

        A value is a number in the metric's range or None. NaN and truth values are neither.
        """
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool | str) or not self.low <= number <= self.high:
            return f"expected {self.range}, or None where it is undefined"
        return None

    @property
    def range(self) -> str:
        """The range in words."""
        if math.isinf(self.high):
            return f"a number of at least {self.low:g}, or infinity"
        return f"a number in [{self.low:g}, {self.high:g}]"


METRICS: Registry[Metric] = Registry("metric", "sweeper.metrics")


RESERVED = ("trial", "partition", "case", "label", "group")
"""What is stored of a score beside its metrics: no metric has such a name."""


def register(metric: Metric) -> None:
    """Adds a metric.

    Raises:
        InputError: another metric has this name, or it is one of `RESERVED`.
    """
    if metric.name in RESERVED:
        raise InputError(f"no metric can be named {metric.name!r}: a score has a column of this name; choose another")
    METRICS.register(metric.name, metric)


def paper_metrics() -> tuple[str, ...]:
    """The paper's four metrics in the order of its tables."""
    return tuple(metric.name for metric in METRICS.values() if metric.paper)


def names(group: str | None = None) -> tuple[str, ...]:
    """Every registered metric, or those of a group, in the order in which they were registered."""
    return tuple(metric.name for metric in METRICS.values() if group in (None, metric.group))


def listed() -> tuple[str, ...]:
    """The metrics that every table of scores has a column for. The others have one where they were computed."""
    return tuple(m.name for m in METRICS.values() if m.group in (OVERLAP, SURFACE_DISTANCES))


def in_order(stored: Sequence[str]) -> list[str]:
    """Names of stored metrics: each once, in the order of the registry; those that are not registered come last."""
    places = {name: place for place, name in enumerate(METRICS)}
    return sorted(dict.fromkeys(stored), key=lambda name: places.get(name.partition("(")[0], len(places)))


def choose(name: str, parameters: Mapping[str, object] | None = None) -> Metric:
    """A metric with parameters as a grid gives them.

    Raises:
        UnknownNameError: there is no such metric; the message names the nearest.
        ParameterError: it has no such parameter, or a value is outside the parameter's range.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, (known for known, metric in METRICS.items() if metric.compared))
    base = METRICS[name]
    if not base.compared:
        raise InputError(f"{name!r} describes the image and is stored with every score; it is no metric to choose")
    known = {parameter.name: parameter for parameter in base.parameters}
    settings = []
    for key, value in (parameters or {}).items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ParameterError(f"metric {name!r} has no parameter {key!r}{nearest(key, known)}; {has}")
        number = known[key].check(name, value)
        if number != known[key].default:
            settings.append((key, number))
    if not settings:
        return base
    settings.sort(key=lambda item: list(known).index(item[0]))
    pairs = [(key, _text(number)) for key, number in settings]
    return replace(
        base,
        name=f"{name}({','.join(f'{key}={text}' for key, text in pairs)})",
        heading=f"{base.heading} ({', '.join(f'{key} {text}' for key, text in pairs)})",
        settings=tuple(settings),
    )


def find(stored: str) -> Metric | None:
    """The metric that a score was stored under, with its parameters; None where none is registered for it."""
    return METRICS.get(stored) or (_parametrised(stored) if "(" in stored else None)


def _parametrised(stored: str) -> Metric | None:
    match = _PARAMETRISED.fullmatch(stored)
    if match is None:
        return None
    try:
        pairs = (pair.split("=", 1) for pair in match["settings"].split(","))
        return choose(match["base"], {key: float(text) for key, text in pairs})
    except ValueError:  # an InputError is one: a metric of a plug-in that is not loaded, say
        return None


def _text(number: float) -> str:
    """As short as the number can be written exactly: `2`, `0.35`."""
    return repr(number).removesuffix(".0")


_WHERE = "workers.scoring.masks"
for _metric in (
    Metric("dsc", "DSC", f"{_WHERE}:dsc", "Dice similarity coefficient, 2 tp / (2 tp + fp + fn).", paper=True),
    Metric("iou", "IoU", f"{_WHERE}:iou", "Intersection over union, tp / (tp + fp + fn).", paper=True),
    Metric("precision", "Precision", f"{_WHERE}:precision", "The share of marked pixels that are right.", paper=True),
    Metric(
        "recall", "Recall", f"{_WHERE}:recall", "The share of the class's pixels that are marked.",
        undefined_when="the class is not in the image, but something was marked", paper=True,
    ),
    Metric(
        "hd95", "HD95", f"{_WHERE}:hd95", "95% Hausdorff distance, in the unit of the spacing (mm for volumes).",
        high=math.inf, higher_is_better=False, group=SURFACE_DISTANCES, distance=True,
    ),
    Metric(
        "asd", "ASD", f"{_WHERE}:asd", "Average symmetric surface distance, in the unit of the spacing.",
        high=math.inf, higher_is_better=False, group=SURFACE_DISTANCES, distance=True,
    ),
    Metric(
        "nsd", "NSD", "workers.scoring.boundaries:nsd",
        "Normalised surface Dice: the share of both surfaces within a tolerance of the other (Nikolov et al. 2021).",
        group=ON_DEMAND, parameters=(MetricParameter("tolerance", 1.0),),
    ),
    Metric(
        "boundary_iou", "Boundary IoU", "workers.scoring.boundaries:boundary_iou",
        "IoU of the bands along the inner side of both boundaries (Cheng et al. 2021).",
        group=ON_DEMAND, parameters=(MetricParameter("width", 0.02, high=1.0),),
    ),
    Metric(
        "cldice", "clDice", "workers.scoring.structures:cldice",
        "Centre line Dice of thin structures (Shit et al. 2021).", group=ON_DEMAND,
    ),
    Metric(
        "lesion_f1", "Lesion F1", "workers.scoring.structures:lesion_f1",
        "F1 over connected components, which match by their IoU (Maier-Hein et al. 2024).",
        group=ON_DEMAND, parameters=(MetricParameter("iou", 0.1, high=1.0),),
    ),
    Metric(
        "lesion_detection", "Lesion detection", "workers.scoring.structures:lesion_detection",
        "The share of the connected components of which more than a share was marked (Maier-Hein et al. 2024).",
        undefined_when="the class is not in the image",
        group=ON_DEMAND, parameters=(MetricParameter("share", 0.0, high=1.0),),
    ),
    Metric(
        "volume_difference", "Volume difference", "workers.scoring.structures:volume_difference",
        "Absolute difference of the volumes, in pixels for images and in mm³ for volumes.",
        high=math.inf, higher_is_better=False, group=ON_DEMAND,
    ),
    Metric(
        "relative_volume_difference", "Relative volume difference",
        "workers.scoring.structures:relative_volume_difference",
        "Absolute difference of the volumes as a share of the true one (Maier-Hein et al. 2024).",
        high=math.inf, higher_is_better=False, group=ON_DEMAND, undefined_when="the class is not in the image, but "
        "something was marked",
    ),
    Metric(
        "ece", "ECE", "workers.scoring.calibration:ece",
        "Expected calibration error of the class's softmax over the image's pixels (Naeini et al. 2015; per class as "
        "Kull et al. 2019).",
        higher_is_better=False, group=CALIBRATION,
        parameters=(MetricParameter("bins", 15.0, low=1.0, high=1000.0, whole=True),),
    ),
    Metric(
        "brier", "Brier score", "workers.scoring.calibration:brier",
        "Mean squared difference of the class's softmax and its truth over the image's pixels (Brier 1950).",
        higher_is_better=False, group=CALIBRATION,
    ),
    Metric(
        SIZE, "Size", f"{_WHERE}:size", "Pixels of the class in the truth.", high=math.inf, group=DESCRIPTION,
    ),
    Metric(
        DIAGONAL, "Diagonal", f"{_WHERE}:diagonal", "The image's diagonal, in the unit of the spacing.",
        high=math.inf, group=DESCRIPTION,
    ),
):  # fmt: skip
    register(_metric)

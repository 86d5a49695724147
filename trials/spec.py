"""The identity of a trial: everything that can move one of its numbers, and a hash of it.

Pure data; imports no TensorFlow, Ray, MLflow or SQLAlchemy. The hash of a `TrialSpec` is the trial's identity
everywhere: database key, MLflow tag, checkpoint folder and Ray trial name. A field that is added to a spec or to one of
its parts needs a default that means "as before", and moves no hash: see `trials.identity`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import marshal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeVar, cast, get_type_hints

from trials.identity import AlwaysHashed, all_fields, hashed_fields

RESULTS_VERSION = 1
"""Raised whenever a change of ours may change any number. Results of an older version are shown as outdated."""

HASH_LENGTH = 16
"""Hexadecimal digits of a content hash (64 bits: a collision among a million trials has odds of 3 in 10^8)."""

EXTERNAL = "external"
"""The network of a trial whose masks were made elsewhere: it was only scored here."""

ParameterValue = float | int | str | bool | tuple[float, ...]


def content_hash(value: object) -> str:
    """First 16 hex digits of the SHA-256 of `value` as canonical JSON (sorted keys, no white space, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def dotted(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Each value of nested tables, such as `TrialSpec.to_dict`, under its dotted name: `training.learning_rate`."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def is_external(spec: TrialSpec) -> bool:
    """Whether a spec is of masks that were made elsewhere."""
    return spec.model.name == EXTERNAL


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Which images a trial sees.

    `prepared` is the content key of the prepared folder and `split` the hash of the split; both are empty in a plan
    that was made before the data were prepared. `fold` is the number, from 0, of the fold that is the test set, where
    a grid runs all folds of a data set.
    """

    dataset: str
    classes: tuple[str, ...]
    dimensions: Literal[2, 3]
    prepared: str = ""
    split: str = ""
    provenance: Literal["real", "synthetic"] = "real"
    fold: int | None = None


@dataclass(frozen=True, slots=True)
class LossSpec:
    """A loss by registry name with every parameter explicit. `source` is the source hash of a plug-in's loss."""

    name: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    source: str = ""

    @property
    def gamma(self) -> float | None:
        """The focal parameter γ where the loss has a scalar one."""
        gamma = self.parameters.get("gamma")
        return float(gamma) if isinstance(gamma, int | float) else None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network by registry name. Defaults are the paper's 2D U-Net (Ronneberger et al. 2015)."""

    name: str = "unet"
    base_filters: int = 64
    depth: int = 4
    normalisation: Literal["instance", "batch", "none"] = "instance"
    source: str = ""


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """How a trial trains.

    The paper (section 3.2) states the batch size, the plateau's factor and patience, the patience of early stopping and
    the probability of each augmentation; the defaults are these. Every other default is ours, such as at most 1,000
    epochs, no momentum and `min_delta` 0. So is the learning rate: the paper states one, but its digits are lost in the
    copy that this was written from.

    `patch` is the size of a random training patch in voxels, None for whole images. `foreground_oversampling` is the
    share of training patches that are centred on a foreground voxel. `threads` fixes TensorFlow's intra-op threads,
    which decide the order of floating-point sums. `deterministic` lets TensorFlow refuse operations that give other
    numbers each time, as some do on a GPU; False trains them, and the trial is not reproducible.
    """

    epochs: int = 1000
    batch_size: int = 2
    learning_rate: float = 0.1
    momentum: float = 0.0
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    early_stopping_patience: int = 20
    min_delta: float = 0.0
    augmentation_probability: float = 0.15
    spatial_transform: Literal["batchgenerators", "fast"] = "batchgenerators"
    patch: tuple[int, ...] | None = None
    patches_per_case: int = 1
    foreground_oversampling: float = 0.0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    gradient_clip: float | None = None
    threads: int = 1
    deterministic: bool = True


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How a trained network is applied and scored.

    `overlap` is the overlap of 3D windows in voxels. `native` brings predictions back to the source's own grid before
    they are scored. `field_of_view` scores only the pixels that the camera saw (DRIVE).
    """

    overlap: tuple[int, ...] | None = None
    weighting: Literal["uniform", "gaussian"] = "uniform"
    surface_distances: bool = False
    native: bool = False
    field_of_view: bool = False


@dataclass(frozen=True)
class TrialSpec:
    """One cell of a grid: one loss on one data set with one seed. Its `hash` is its identity everywhere."""

    data: DataSpec
    loss: LossSpec
    model: ModelSpec = ModelSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    repeat: int = 0
    seed: int = 0
    scope: str = ""
    results_version: int = RESULTS_VERSION

    def __hash__(self) -> int:
        return hash(self.hash)

    @cached_property
    def hash(self) -> str:
        """16 hex digits over every field; equal specs have equal hashes on every machine."""
        return content_hash(self.to_dict())

    @property
    def resolved(self) -> bool:
        """Whether the data were prepared, so that the hash is final."""
        return bool(self.data.prepared and self.data.split)

    def to_dict(self, *, complete: bool = False) -> dict[str, Any]:
        """What is hashed and stored, as plain JSON values: tuples become lists, integral loss parameters floats.

        Fields that were added to a spec later are left out while they have their default (`trials.identity`).
        `complete` keeps every field: for people, not for hashes.
        """
        kept = all_fields if complete else _hashed_fields
        parameters = {k: _canonical(v) for k, v in sorted(self.loss.parameters.items())}
        return {**kept(self), "loss": {**kept(self.loss), "parameters": parameters}}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> TrialSpec:
        """The inverse of `to_dict`; what is left out gets its default.

        Raises:
            TypeError: a field is missing or unknown.
        """
        return _read(cls, values)

    @staticmethod
    @lru_cache(maxsize=20_000)
    def from_json(text: str) -> TrialSpec:
        """A stored spec. Kept, since whatever looks at a large sweep meets the same texts again and again.

        Raises:
            TypeError: a field is missing or unknown.
            ValueError: it is no JSON.
        """
        return TrialSpec.from_dict(json.loads(text))


ALWAYS_HASHED: AlwaysHashed = {
    TrialSpec: (
        "data",
        "loss",
        "model",
        "training",
        "evaluation",
        "repeat",
        "seed",
        "scope",
        "results_version",
    ),
    DataSpec: ("dataset", "classes", "dimensions", "prepared", "split", "provenance"),
    LossSpec: ("name", "parameters", "source"),
    ModelSpec: ("name", "base_filters", "depth", "normalisation", "source"),
    TrainingSpec: (
        "epochs",
        "batch_size",
        "learning_rate",
        "momentum",
        "plateau_factor",
        "plateau_patience",
        "early_stopping_patience",
        "min_delta",
        "augmentation_probability",
        "spatial_transform",
        "patch",
        "patches_per_case",
        "foreground_oversampling",
        "precision",
        "xla",
        "gradient_clip",
        "threads",
    ),
    EvaluationSpec: ("overlap", "weighting", "surface_distances", "native", "field_of_view"),
}
"""The fields of each part that are hashed whatever their value: those that the first stored specs had.

A new field is not added here.
"""


def _hashed_fields(record: TrialSpec | LossSpec) -> dict[str, object]:
    return hashed_fields(record, ALWAYS_HASHED)


def _canonical(value: ParameterValue) -> str | bool | float | list[float]:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, tuple | list):
        return [float(v) for v in value]
    return float(value)


_Part = TypeVar("_Part")


def _read(kind: type[_Part], values: Mapping[str, object]) -> _Part:
    """A spec or a part of one from plain values; a field whose type is a dataclass is read in the same way."""
    parts = _parts(kind)
    nested = {
        name: _read_part(parts[name], value) if name in parts and isinstance(value, dict) else _tuples(value)
        for name, value in values.items()
        if isinstance(value, _NESTED)
    }
    return kind(**{**values, **nested})


def _read_part(kind: type[_Part], values: dict[str, Any]) -> _Part:
    """A part of a spec. Trials of one data set and network share theirs: most of the time of reading thousands went
    into making equal ones. A loss is made anew, since its parameters are a dictionary."""
    if kind is LossSpec:
        return _read(kind, values)
    key = (kind, marshal.dumps(values, 2))  # the version in which equal values are equal bytes
    if (found := _SHARED.get(key)) is None:
        if len(_SHARED) >= _MOST_SHARED:
            _SHARED.clear()
        found = _SHARED[key] = _read(kind, values)
    return cast(_Part, found)


def read_part(kind: type[_Part], text: str | None) -> _Part:
    """A part of a stored spec from its JSON; None is one that was left out and gets its defaults.

    Raises:
        TypeError: a field is missing or unknown.
    """
    key = (kind, text or "{}")
    if (found := _SHARED.get(key)) is None:
        found = _SHARED[key] = _read_part(kind, json.loads(key[1]))
    return cast(_Part, found)


_MOST_SHARED = 10_000
_SHARED: dict[tuple[type, bytes | str], object] = {}


_NESTED = (dict, list)


def _tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value


def _parts(kind: type) -> Mapping[str, type]:
    """The fields of a class that are dataclasses themselves. Kept, because a sweep's specs are read by the thousand."""
    if kind not in _PARTS:
        hints = get_type_hints(kind).items()
        _PARTS[kind] = {n: hint for n, hint in hints if isinstance(hint, type) and dataclasses.is_dataclass(hint)}
    return _PARTS[kind]


_PARTS: dict[type, Mapping[str, type]] = {}

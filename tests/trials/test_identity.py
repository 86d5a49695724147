"""No hash moves: those of specs as the first stored ones had them, and after a field is added."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace

import pytest

from trials.identity import all_fields, hashed_fields
from trials.spec import ALWAYS_HASHED, DataSpec, EvaluationSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

PLAIN = TrialSpec(
    DataSpec("nuclei", ("background", "nucleus"), 2, "a3cb54fde5ee71ec", "4f7ef3dcffcfdf21"),
    LossSpec("dice", {"smooth": 1e-06, "absent": "keep"}),
)
VOLUME = TrialSpec(
    DataSpec("kits19", ("background", "kidney", "tumour"), 3, "0123456789abcdef", "fedcba9876543210", "synthetic"),
    LossSpec("focal", {"gamma": 2, "alpha": (0.1, 0.2, 1), "absent": "drop", "flag": True}, "abc"),
    ModelSpec("attention_unet", 16, 3, "batch", "def"),
    TrainingSpec(
        epochs=3,
        batch_size=1,
        learning_rate=0.01,
        patch=(80, 160, 160),
        patches_per_case=2,
        foreground_oversampling=0.5,
        precision="mixed_float16",
        xla=True,
        gradient_clip=12.0,
        spatial_transform="fast",
    ),
    EvaluationSpec(overlap=(40, 80, 80), weighting="gaussian", surface_distances=True, native=True),
    repeat=2,
    seed=4294967297,
    scope="a team",
)
UNPREPARED = TrialSpec(
    DataSpec("drive", ("background", "vessel"), 2), LossSpec("ce"), evaluation=EvaluationSpec(field_of_view=True)
)


@dataclass(frozen=True, slots=True)
class Export:
    """A part that specs may get one day."""

    kind: str = ""
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LaterTraining(TrainingSpec):
    """The training of a later revision."""

    warmup: int = 0
    milestones: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, slots=True)
class LaterSpec(TrialSpec):
    """The spec of a later revision."""

    training: LaterTraining = LaterTraining()
    export: Export = Export()

    __hash__ = TrialSpec.__hash__


@pytest.mark.parametrize(
    ("spec", "stored"),
    [(PLAIN, "b76dadc968e3bb9d"), (VOLUME, "d86db5d22a7f441a"), (UNPREPARED, "0800a14afe9854e9")],
)
def test_specs_have_the_hashes_that_they_always_had(spec: TrialSpec, stored: str) -> None:
    """Made by the revision before the rule."""
    assert spec.hash == stored
    assert TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).hash == stored
    assert replace(spec, training=replace(spec.training, deterministic=False)).hash != stored


def test_an_added_field_moves_no_hash_while_it_has_its_default() -> None:
    later = LaterSpec(PLAIN.data, PLAIN.loss)
    assert later.hash == PLAIN.hash
    assert later.to_dict() == PLAIN.to_dict()
    changed = (
        replace(later, training=LaterTraining(warmup=5)),
        replace(later, training=LaterTraining(milestones=(1,))),
        replace(later, export=Export(kind="onnx")),
        replace(later, export=Export(sizes=(1, 2))),
    )
    assert len({later.hash, *(spec.hash for spec in changed)}) == 5


def test_specs_that_were_stored_before_and_after_an_addition_are_read() -> None:
    assert LaterSpec.from_dict(PLAIN.to_dict()) == LaterSpec(PLAIN.data, PLAIN.loss)
    full = replace(
        LaterSpec(VOLUME.data, PLAIN.loss), training=LaterTraining(warmup=5), export=Export("onnx", sizes=(1, 2))
    )
    for stored in (full.to_dict(), full.to_dict(complete=True)):
        assert LaterSpec.from_dict(json.loads(json.dumps(stored))) == full
    assert full.to_dict(complete=True)["training"]["milestones"] == [1, 2]
    assert "milestones" not in full.to_dict()["training"]


def test_an_unknown_or_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        TrialSpec.from_dict({**PLAIN.to_dict(), "colour": "red"})
    with pytest.raises(TypeError, match="loss"):
        TrialSpec.from_dict({name: value for name, value in PLAIN.to_dict().items() if name != "loss"})


@pytest.mark.parametrize("kind", list(ALWAYS_HASHED))
def test_the_fields_of_the_first_specs_are_all_there_and_every_other_has_a_default(kind: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    assert set(ALWAYS_HASHED[kind]) <= set(fields)
    for name in set(fields) - set(ALWAYS_HASHED[kind]):
        field = fields[name]
        assert (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)


def test_a_made_default_counts_as_one() -> None:
    @dataclass(frozen=True)
    class Table:
        name: str
        rows: dict[str, int] = dataclasses.field(default_factory=dict)

    assert hashed_fields(Table("a"), {}) == {"name": "a"}
    assert hashed_fields(Table("a", {"b": 1}), {}) == {"name": "a", "rows": {"b": 1}}
    assert all_fields(Table("a")) == hashed_fields(Table("a"), {Table: ("rows",)}) == {"name": "a", "rows": {}}

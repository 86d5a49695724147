"""The tables of a grid and the specs that are made of them."""

from dataclasses import fields

import pytest

from sweeper.grids.schema import EvaluationTable, ModelTable, TrainingTable
from trials.spec import EvaluationSpec, ModelSpec, TrainingSpec


@pytest.mark.parametrize(
    ("table", "spec"), [(TrainingTable, TrainingSpec), (ModelTable, ModelSpec), (EvaluationTable, EvaluationSpec)]
)
def test_every_field_of_a_spec_can_be_asked_for_under_its_own_name(table, spec):
    found = {field.name for field in fields(spec)}
    assert found - {"source"} <= table.model_fields.keys()  # a plug-in's text comes with its file

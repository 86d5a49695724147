"""Finished trials as rows of Optuna's tables, many in one transaction; and studies renamed or deleted within ours.

Optuna's own way to add a trial, `Study.add_trial`, takes some twenty statements and a commit for each. It stays the way
for tables of another version than the one that is written here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, column, delete, func, insert, inspect, literal, select, table, update

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_STUDIES = table("studies", column("study_id"), column("study_name"))
"""Of Optuna's tables, without importing it."""

VERSION = "v3.2.0.a"
"""The version of Optuna's tables that these rows are for, as `RDBStorage.get_current_version` names it."""


def add(connection: Connection, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Adds ended trials to the study, each as `Study.add_trial` would have left it."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models

    # What Optuna locks, too: nobody else numbers a trial of this study meanwhile.
    connection.execute(
        select(models.StudyModel.study_id).where(models.StudyModel.study_id == study_id).with_for_update()
    )
    first = connection.execute(
        select(func.count()).select_from(models.TrialModel).where(models.TrialModel.study_id == study_id)
    ).scalar_one()
    ids = _add_heads(connection, study_id, trials, first)
    values: list[dict[str, object]] = []
    parameters: list[dict[str, object]] = []
    attributes: list[dict[str, object]] = []
    steps: list[dict[str, object]] = []
    for trial_id, trial in zip(ids, trials, strict=True):
        for objective, value in enumerate(trial.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            values.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
        for name, parameter in trial.params.items():
            distribution = trial.distributions[name]
            parameters.append(
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(parameter),
                    "distribution_json": distribution_to_json(distribution),
                }
            )
        for key, attribute in trial.user_attrs.items():
            attributes.append({"trial_id": trial_id, "key": key, "value_json": json.dumps(attribute)})
        for step, score in trial.intermediate_values.items():
            kept, sort = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(score)
            steps.append(
                {"trial_id": trial_id, "step": step, "intermediate_value": kept, "intermediate_value_type": sort}
            )
    for model, rows in (
        (models.TrialValueModel, values),
        (models.TrialParamModel, parameters),
        (models.TrialUserAttributeModel, attributes),
        (models.TrialIntermediateValueModel, steps),
    ):
        if rows:
            connection.execute(insert(model.__table__), rows)


def attribute_since(connection: Connection, study_id: int, key: str, after: int) -> Iterable[tuple[int, Any]]:
    """The user attribute of each trial of the study that has it and whose id is above `after`, by the trial's id."""
    from optuna.storages._rdb import models

    trial, attribute = models.TrialModel, models.TrialUserAttributeModel
    found = connection.execute(
        select(trial.trial_id, attribute.value_json)
        .join(attribute, attribute.trial_id == trial.trial_id)
        .where(trial.study_id == study_id, trial.trial_id > after, attribute.key == key)
        .order_by(trial.trial_id)
    )
    return [(trial_id, json.loads(text)) for trial_id, text in found]


def study_names(connection: Connection, prefix: str) -> list[str]:
    """The names of the studies that begin so, in order; none where Optuna has made no tables yet."""
    if not inspect(connection).has_table(_STUDIES.name):
        return []
    name = _STUDIES.c.study_name
    return list(connection.execute(select(name).where(_begins(prefix)).order_by(name)).scalars())


def rename_studies(connection: Connection, old: str, new: str) -> None:
    """Gives every study whose name begins with `old` one that begins with `new`."""
    if inspect(connection).has_table(_STUDIES.name):
        rest = func.substr(_STUDIES.c.study_name, len(old) + 1)
        connection.execute(update(_STUDIES).where(_begins(old)).values(study_name=literal(new) + rest))


def delete_studies(connection: Connection, prefix: str) -> None:
    """Deletes every study whose name begins so, with its trials."""
    if not study_names(connection, prefix):
        return
    from optuna.storages._rdb import models

    studies = select(_STUDIES.c.study_id).where(_begins(prefix))
    trials = select(models.TrialModel.trial_id).where(models.TrialModel.study_id.in_(studies))
    for rows in reversed(models.BaseModel.metadata.sorted_tables):  # those that refer to others come first
        if "trial_id" in rows.c and rows.name != models.TrialModel.__tablename__:
            connection.execute(delete(rows).where(rows.c.trial_id.in_(trials)))
        elif "study_id" in rows.c:
            connection.execute(delete(rows).where(rows.c.study_id.in_(studies)))


def _begins(prefix: str) -> ColumnElement[bool]:
    # LIKE would take _ for any sign, and on SQLite a for A.
    return func.substr(_STUDIES.c.study_name, 1, len(prefix)) == prefix


def _add_heads(connection: Connection, study_id: int, trials: Sequence[FrozenTrial], first: int) -> list[int]:
    """The rows of the trials themselves, numbered from `first`; their ids."""
    from optuna.storages._rdb.models import TrialModel

    names = {prop.key: prop.columns[0].name for prop in inspect(TrialModel).column_attrs}
    del names["trial_id"]
    rows = []
    for number, trial in enumerate(trials, first):
        # Through Optuna's own class, which knows how its version keeps a time.
        head = TrialModel(study_id=study_id, number=number, state=trial.state)
        head.datetime_start, head.datetime_complete = trial.datetime_start, trial.datetime_complete
        rows.append({column: getattr(head, key) for key, column in names.items()})
    table = TrialModel.__table__
    made = insert(table).returning(table.c.trial_id, sort_by_parameter_order=True)
    return list(connection.execute(made, rows).scalars())

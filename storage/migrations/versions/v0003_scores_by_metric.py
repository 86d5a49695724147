"""Scores by metric name, in one JSON object, so that a new metric needs no column and no migration."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEYS = ("trial", "partition", "case", "label")
ALWAYS = ("dsc", "iou", "precision", "recall")
"""Computed for every trial: NULL was an undefined value."""

ON_DEMAND = ("hd95", "asd")
"""Computed where the evaluation asked for them: NULL was a value that was not computed."""


def upgrade() -> None:
    """Puts the six columns of each row into its object, one trial at a time."""
    postgres = op.get_bind().dialect.name == "postgresql"
    key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.rename_table("score", "score_0002")
    if postgres:  # whose constraints are named once for each schema
        op.execute("ALTER TABLE score_0002 RENAME CONSTRAINT pk_score TO pk_score_0002")
        op.execute("ALTER TABLE score_0002 RENAME CONSTRAINT fk_score_trial TO fk_score_0002_trial")
    op.create_table(
        "score",
        sa.Column("trial", key, nullable=False),
        sa.Column("partition", key, nullable=False),
        sa.Column("case", key, nullable=False),
        sa.Column("label", key, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("trial", "partition", "case", "label", name="pk_score"),
        sa.ForeignKeyConstraint(["trial"], ["trial.hash"], name="fk_score_trial"),
        sqlite_with_rowid=False,
    )
    old = sa.table("score_0002", *(sa.column(name) for name in (*KEYS, *ALWAYS, *ON_DEMAND)))
    new = sa.table("score", *(sa.column(name) for name in (*KEYS, "metrics")))
    connection = op.get_bind()
    for trial in connection.execute(sa.select(old.c.trial).distinct().order_by(old.c.trial)).scalars().all():
        rows = connection.execute(sa.select(old).where(old.c.trial == trial)).mappings().all()
        connection.execute(sa.insert(new), [_row(row) for row in rows])
    op.drop_table("score_0002")


def _row(old: sa.RowMapping) -> dict[str, str]:
    values = {name: old[name] for name in ALWAYS} | {n: old[n] for n in ON_DEMAND if old[n] is not None}
    return {**{name: old[name] for name in KEYS}, "metrics": json.dumps(values, separators=(",", ":"))}

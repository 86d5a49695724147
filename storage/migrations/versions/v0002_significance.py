"""Significance tests, stored with the hash of the scores that they were computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "significance",
        sa.Column("sweep_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("test", sa.Text, nullable=False),
        sa.Column("first", sa.Text, nullable=False),
        sa.Column("second", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("p", sa.Double),
        sa.Column("p_holm", sa.Double),
        sa.Column("effect", sa.Double),
        sa.Column("median_difference", sa.Double),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
        sa.Column("scores_hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", "position", name="pk_significance"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_significance_sweep_id"),
    )

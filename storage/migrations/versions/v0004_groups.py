"""The patient, or other group, of each scored image. Scores that were stored before have none: it is empty."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("score", sa.Column("group", sa.Text, nullable=False, server_default=""))

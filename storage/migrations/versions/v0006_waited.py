"""How long an epoch's steps waited for their batches. Of epochs that were stored before it is not known."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("epoch", sa.Column("waited", sa.Double, nullable=True))

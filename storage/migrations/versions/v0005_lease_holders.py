"""How long a lease was taken for, and by which process: so a dead holder is told from a living one."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; a lease that is held during the upgrade goes by its end alone."""
    op.add_column("lease", sa.Column("seconds", sa.Double, nullable=True))
    op.add_column("lease", sa.Column("process", sa.Text, nullable=False, server_default=""))

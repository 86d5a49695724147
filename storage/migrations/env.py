"""What Alembic runs: the migrations on the connection that `storage.schema` gives, in its transaction."""

from alembic import context

from storage.models import Base
from storage.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

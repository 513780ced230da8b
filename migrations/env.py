"""Alembic's environment: runs inside the connection that aorch.ledger.sqlite.migrate hands over."""

from alembic import context

from aorch.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()

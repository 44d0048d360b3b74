"""Alembic's door: it runs the versions over the connection it is given, in the transaction that connection is in."""

from __future__ import annotations

from alembic import context

from tasks.stores.migrations import TABLE

context.configure(connection=context.config.attributes["connection"], version_table=TABLE)
with context.begin_transaction():
    context.run_migrations()

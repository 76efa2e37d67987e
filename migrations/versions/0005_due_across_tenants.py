"""Index what is due across tenants by its time, so that one query finds it however many tenants are idle.

They are for sweeps alone. A statement that asks for one tenant must never walk through all of them, and
while tables are empty PostgreSQL can't tell these indexes from the tenant's own. So each has one condition
more, which is always true and which only sweeps say.

Keys still begin with the tenant. These indexes are no keys: where tables are spread over several machines,
each of them has its own part.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes while servers go on writing; one that was left half made is made anew."""
    with op.get_context().autocommit_block():
        op.drop_index("holds_due_idx", "holds", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "holds_due_idx",
            "holds",
            ["expire_time", "tenant_key"],
            postgresql_where=sa.text("state = 1 AND expire_time IS NOT NULL AND hold_number > 0"),
            postgresql_concurrently=True,
        )
        name, table = "provider_events_parked_idx", "provider_events"
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            ["receive_time", "tenant_key", "event_number"],
            postgresql_where=sa.text("state = 2 AND event_number > 0"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Remove them."""
    op.drop_index("provider_events_parked_idx", "provider_events")
    op.drop_index("holds_due_idx", "holds")

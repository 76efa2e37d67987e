"""Let owed calls be found by provider account, and remember what a call has come to beside its tries.

An index leads with the provider, so one look finds what is due of an account whatever the number of tenants.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index and the columns."""
    # First and alone: servers go on writing, and a run that broke off has left the index invalid.
    with op.get_context().autocommit_block():
        op.drop_index("outbox_due_idx", "outbox", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "outbox_due_idx",
            "outbox",
            ["provider", "next_try_time"],
            postgresql_where=sa.text("open"),
            postgresql_concurrently=True,
        )
    # How often it was put off since it last came further; a claim alone counts for nothing.
    op.add_column("outbox", sa.Column("rest_count", sa.BigInteger(), server_default="0", nullable=False))
    # When the provider was first seen to have nothing of it, after it had forgotten the key.
    op.add_column("outbox", sa.Column("absent_time", sa.DateTime(timezone=True), nullable=True))
    # Why a person has to look; such a call is never made.
    op.add_column("outbox", sa.Column("stop_reason", sa.Text(collation="C"), nullable=True))


def downgrade() -> None:
    """Remove them."""
    op.drop_index("outbox_due_idx", table_name="outbox")
    for column in ("stop_reason", "absent_time", "rest_count"):
        op.drop_column("outbox", column)

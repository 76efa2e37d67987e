"""Give the database's history a name, which ids carry, and say whether outbound calls are stopped.

The epoch itself is drawn when a server first opens the database; older records keep their plain ids. Servers
of the version before go on until then. After it two constraints refuse what they would write or call under
plain ids.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

WHY_NO_EXPANSION = {
    "narrows: constraint tenants_named_check": "servers of the version before go on until an epoch begins",
    "narrows: constraint outbox_named_check": "servers of the version before go on until an epoch begins",
    "reads every row: constraint outbox_named_check": "in a database transaction of its own, beside writers",
}


def upgrade() -> None:
    """Create the table with its one row, and the tenants' columns."""
    # First, and each by itself, so that nobody waits while the rows are read. All of it may run again.
    with op.get_context().autocommit_block():
        op.execute(
            "ALTER TABLE outbox ADD COLUMN IF NOT EXISTS maybe_made boolean DEFAULT false NOT NULL,"
            " ADD COLUMN IF NOT EXISTS named_tries bigint, DROP CONSTRAINT IF EXISTS outbox_named_check"
        )
        op.execute(
            "ALTER TABLE outbox ADD CONSTRAINT outbox_named_check"
            " CHECK (named_tries IS NULL OR named_tries = try_count) NOT VALID"
        )
        op.execute("ALTER TABLE outbox VALIDATE CONSTRAINT outbox_named_check")
    op.add_column("tenants", sa.Column("epochs", sa.Text(collation="C"), server_default="", nullable=False))
    op.add_column("tenants", sa.Column("named_sequence", sa.BigInteger(), nullable=True))
    op.create_check_constraint(
        op.f("tenants_named_check"), "tenants", "epochs = '' OR named_sequence = sequence"
    )
    op.create_table(
        "history",
        sa.Column("history_key", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Text(collation="C"), nullable=True),
        sa.Column("past_epochs", sa.Text(collation="C"), nullable=False),
        sa.Column("system_identifier", sa.Text(collation="C"), nullable=True),
        sa.Column("database_oid", sa.BigInteger(), nullable=True),
        sa.Column("timeline", sa.BigInteger(), nullable=True),
        sa.Column("outbound_stopped", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(collation="C"), nullable=False),
        sa.Column("actor", sa.Text(collation="C"), nullable=False),
        sa.Column("change_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("known_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("row_transaction", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("history_key = 1", name=op.f("history_one_row_check")),
        sa.PrimaryKeyConstraint("history_key", name=op.f("history_pkey")),
    )
    op.execute(
        "INSERT INTO history (history_key, past_epochs, outbound_stopped, note, actor, version)"
        " VALUES (1, '', false, '', '', 0)"
    )
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, UPDATE ON history TO {role}")


def downgrade() -> None:
    """Remove them; ids that carry an epoch can't be read afterwards."""
    op.drop_table("history")
    op.drop_column("outbox", "named_tries")
    op.drop_column("outbox", "maybe_made")
    op.drop_column("tenants", "named_sequence")
    op.drop_column("tenants", "epochs")

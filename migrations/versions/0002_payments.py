"""Create the tables of payments: deposits and withdrawals, provider events, owed calls, findings."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("payments", "payment_refs", "provider_events", "outbox", "reconciliation_findings")


def upgrade() -> None:
    """Create everything."""
    op.add_column("tenants", sa.Column("withdrawal_policy", postgresql.JSONB(), nullable=True))
    _create_payments()
    op.create_table(
        "payment_refs",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("provider_ref", sa.Text(collation="C"), nullable=False),
        sa.Column("payment_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "provider", "provider_ref", name=op.f("payment_refs_pkey")),
    )
    _create_provider_events()
    op.create_table(
        "outbox",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call_number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("payment_number", sa.BigInteger(), nullable=False),
        sa.Column("subject_number", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("try_count", sa.BigInteger(), nullable=False),
        sa.Column("next_try_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_try_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(collation="C"), nullable=True),
        sa.PrimaryKeyConstraint("tenant_key", "call_number", name=op.f("outbox_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "outbox_open_idx",
        "outbox",
        ["tenant_key", "next_try_time"],
        unique=False,
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "reconciliation_findings",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("class", sa.SmallInteger(), nullable=False),
        sa.Column("severity", sa.SmallInteger(), nullable=False),
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("provider_ref", sa.Text(collation="C"), nullable=False),
        sa.Column("payment_number", sa.BigInteger(), nullable=True),
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("first_seen_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "fingerprint", name=op.f("reconciliation_findings_pkey")),
    )
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(_TABLES)} TO {role}")


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payment_number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("player_id", sa.Text(collation="C"), nullable=False),
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("provider_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "payment_number", name=op.f("payments_pkey")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("payments_kind_idx", "payments", ["tenant_key", "kind", "payment_number"], unique=False)
    op.create_index(
        "payments_player_idx", "payments", ["tenant_key", "player_id", "kind", "payment_number"], unique=False
    )
    op.create_index(
        "payments_state_idx", "payments", ["tenant_key", "kind", "state", "payment_number"], unique=False
    )
    op.create_index(
        "payments_provider_idx",
        "payments",
        ["tenant_key", "provider", "kind", "payment_number"],
        unique=False,
    )


def _create_provider_events() -> None:
    op.create_table(
        "provider_events",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_number", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("payment_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("echoed_number", sa.BigInteger(), nullable=True),
        sa.Column("payment_number", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("receive_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "event_number", name=op.f("provider_events_pkey")),
    )
    op.create_index(
        "provider_events_identity_key",
        "provider_events",
        ["tenant_key", "provider", "event_id"],
        unique=True,
    )
    op.create_index(
        "provider_events_payment_idx",
        "provider_events",
        ["tenant_key", "payment_number", "event_number"],
        unique=False,
        postgresql_where=sa.text("payment_number IS NOT NULL"),
    )
    op.create_index(
        "provider_events_provider_idx",
        "provider_events",
        ["tenant_key", "provider", "event_number"],
        unique=False,
    )
    op.create_index(
        "provider_events_state_idx",
        "provider_events",
        ["tenant_key", "state", "event_number"],
        unique=False,
        postgresql_where=sa.text("state <> 1"),
    )


def downgrade() -> None:
    """Drop it all; journal records of payments stay where they are."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.drop_column("tenants", "withdrawal_policy")

"""Keep adjustments, which wait for a second person, and from which amounts a tenant wants one."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column; a server from before them makes no adjustment and sets no such policy."""
    op.add_column("tenants", sa.Column("adjustment_policy", postgresql.JSONB(), nullable=True))
    op.create_table(
        "adjustments",
        sa.Column("tenant_key", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("adjustment_number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("requester", sa.Text(collation="C"), nullable=False),
        sa.Column("request_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "adjustment_number", name=op.f("adjustments_pkey")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("adjustments_state_idx", "adjustments", ["tenant_key", "state", "adjustment_number"])
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON adjustments TO {role}")


def downgrade() -> None:
    """Drop what was added; the journal still has what was asked for."""
    op.drop_table("adjustments")
    op.drop_column("tenants", "adjustment_policy")

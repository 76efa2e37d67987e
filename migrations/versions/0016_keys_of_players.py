"""Keep the keys of players' personal data, and which players were forgotten."""

import sqlalchemy as sa
from alembic import context, op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; a server from before it makes no row, and no deposit or withdrawal with such data."""
    op.create_table(
        "player_keys",
        sa.Column("tenant_key", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("player_id", sa.Text(collation="C"), nullable=False),
        sa.Column("key_name", sa.Text(collation="C"), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("forgotten_by", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(sealed_key IS NULL) = (forgotten_by IS NOT NULL) AND (key_name IS NULL) = (sealed_key IS NULL)",
            name=op.f("player_keys_kept_check"),
        ),
        sa.PrimaryKeyConstraint("tenant_key", "player_id", name=op.f("player_keys_pkey")),
    )
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON player_keys TO {role}")


def downgrade() -> None:
    """Destroy all keys: what they have encrypted can't be read any more."""
    op.drop_table("player_keys")

"""Let payments be found by reference and by ref alone, and let those that are open be counted by an index.

The reference of a payment that an earlier version wrote stays unknown until the payment changes: it stands in
the body, which SQL can't read. Lists search such rows by their bodies.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, which versions from before leave out, and the indexes, beside traffic."""
    op.execute('ALTER TABLE payments ADD COLUMN IF NOT EXISTS reference TEXT COLLATE "C"')
    with op.get_context().autocommit_block():
        _index(
            "payments_reference_idx", "payments", ["kind", "reference", "payment_number"], "reference <> ''"
        )
        _index("payments_unread_reference_idx", "payments", ["kind", "payment_number"], "reference IS NULL")
        _index(
            "payments_open_idx",
            "payments",
            ["kind", "state", "payment_number"],
            "state IN (1, 2)",
            ["currency_code", "provider", "amount", "create_time"],
        )
        _index("payment_refs_ref_idx", "payment_refs", ["provider_ref", "payment_number"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_index("payment_refs_ref_idx", "payment_refs")
    for name in ("payments_open_idx", "payments_unread_reference_idx", "payments_reference_idx"):
        op.drop_index(name, "payments")
    op.drop_column("payments", "reference")


def _index(
    name: str, table: str, columns: list[str], where: str = "", beside: list[str] | None = None
) -> None:
    """Build an index of a tenant's rows; a run that broke off has left it invalid, or whole."""
    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
    op.create_index(
        name,
        table,
        ["tenant_key", *columns],
        postgresql_where=sa.text(where) if where else None,
        postgresql_include=beside or [],
        postgresql_concurrently=True,
    )

"""Let the records that set a tenant's mode be found, and the holds that broke a limit and passed."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_INDEXES = (
    ("journal_enforcement_idx", "journal", "(tenant_key, sequence) WHERE kind IN (10, 11)"),
    ("holds_limit_breached_idx", "holds", "(tenant_key, hold_number) WHERE limit_breached"),
)


def upgrade() -> None:
    """Make the indexes while servers go on writing; one that was left half made is made anew."""
    with op.get_context().autocommit_block():
        for name, table, what in _INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {table} {what}")


def downgrade() -> None:
    """Remove them."""
    for name, _, _ in _INDEXES:
        op.drop_index(name)

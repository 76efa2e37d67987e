"""Let a tenant's head carry the instant up to which its journal is final because somebody read it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    # No record may be written with a time at or before it; NULL where nobody has asked for one yet.
    op.add_column("tenants", sa.Column("final_time", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("tenants", "final_time")

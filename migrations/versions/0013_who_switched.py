"""Let the history's row say by whose call outbound calls were stopped or resumed."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    # A caller counts for the version of the row that it made. Earlier servers change the row and leave these
    # columns as they are, and their change has no caller.
    text = sa.Text(collation="C")
    op.add_column("history", sa.Column("caller_identity", text, nullable=True))
    op.add_column("history", sa.Column("caller_person", text, nullable=True))
    op.add_column("history", sa.Column("caller_version", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Remove them."""
    for name in ("caller_version", "caller_person", "caller_identity"):
        op.drop_column("history", name)

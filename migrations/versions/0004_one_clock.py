"""Give the database's clock a name, so that leases, ages, record times and expiry read the same one.

Statements say `defter_now()` and never `now()` or `clock_timestamp()`. A simulation of clocks that jump
replaces this one function.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the function."""
    # Unlike `now()` it goes on within a database transaction.
    op.execute(
        "CREATE FUNCTION defter_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE"
        " AS 'SELECT clock_timestamp()'"
    )


def downgrade() -> None:
    """Remove the function."""
    op.execute("DROP FUNCTION defter_now()")

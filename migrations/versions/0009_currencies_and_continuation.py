"""Keep the decimal places with which a currency was first used, and let accounts be continued.

Which settings the servers before had can't be told from the database: of a currency that ISO 4217 does
not know, the decimal places stay open (NULL) until the first server that starts says them.
"""

import sqlalchemy as sa
from alembic import context, op
from iso4217 import Currency

revision = "0009"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the table with what is in use."""
    # By itself, so that nobody waits while all accounts are read below. It may run again.
    with op.get_context().autocommit_block():
        op.execute(
            'ALTER TABLE accounts ADD COLUMN IF NOT EXISTS continues text COLLATE "C",'
            ' ADD COLUMN IF NOT EXISTS continued_by text COLLATE "C"'
        )
    op.create_table(
        "currencies",
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("exponent", sa.SmallInteger(), nullable=True),
        sa.Column("first_use_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("exponent BETWEEN 0 AND 18", name=op.f("currencies_exponent_check")),
        sa.PrimaryKeyConstraint("currency_code", name=op.f("currencies_pkey")),
    )
    op.execute(
        "INSERT INTO currencies (currency_code, first_use_time)"
        " SELECT currency_code, min(open_time) FROM accounts GROUP BY currency_code"
    )
    for currency in Currency:
        if currency.exponent is not None:
            op.execute(
                f"UPDATE currencies SET exponent = {currency.exponent:d}"  # of a package, no input
                f" WHERE currency_code = '{currency.code}'"
            )
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON currencies TO {role}")


def downgrade() -> None:
    """Forget both; accounts that were continued stay closed."""
    op.drop_table("currencies")
    for name in ("continued_by", "continues"):
        op.drop_column("accounts", name)

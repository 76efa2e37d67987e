"""Create the tables of the ledger core, the application role and the append-only locks."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "accounts",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_number", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("min_available", sa.BigInteger(), nullable=True),
        sa.Column("max_balance", sa.BigInteger(), nullable=True),
        sa.Column("open_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("tenant_key", "account_number", name=op.f("accounts_pkey")),
    )
    op.create_index(
        "accounts_tenant_key_account_id_key", "accounts", ["tenant_key", "account_id"], unique=True
    )
    op.create_table(
        "holds",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hold_number", sa.BigInteger(), nullable=False),
        sa.Column("debit_account_number", sa.BigInteger(), nullable=False),
        sa.Column("credit_account_number", sa.BigInteger(), nullable=False),
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transaction_type", sa.SmallInteger(), nullable=False),
        sa.Column("reference", sa.Text(collation="C"), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("place_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("limit_breached", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "amount > 0 AND captured >= 0 AND released >= 0 AND captured + released <= amount",
            name=op.f("holds_amounts_check"),
        ),
        sa.PrimaryKeyConstraint("tenant_key", "hold_number", name=op.f("holds_pkey")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "holds_open_credit_idx",
        "holds",
        ["tenant_key", "credit_account_number", "expire_time"],
        unique=False,
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "holds_open_debit_idx",
        "holds",
        ["tenant_key", "debit_account_number", "expire_time"],
        unique=False,
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "holds_open_expire_time_idx",
        "holds",
        ["tenant_key", "expire_time"],
        unique=False,
        postgresql_where=sa.text("state = 1 AND expire_time IS NOT NULL"),
    )
    op.create_table(
        "journal",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("method", sa.SmallInteger(), nullable=True),
        sa.Column("idempotency_key", sa.Text(collation="C"), nullable=True),
        sa.Column("player_id", sa.Text(collation="C"), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=True),
        sa.Column("transaction_type", sa.SmallInteger(), nullable=True),
        sa.Column("reference", sa.Text(collation="C"), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("limit_breached", sa.Boolean(), nullable=False),
        sa.Column("effective_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_batch", sa.Boolean(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("chain_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", "sequence", name=op.f("journal_pkey")),
    )
    op.create_index(
        "journal_limit_breached_idx",
        "journal",
        ["tenant_key", "sequence"],
        unique=False,
        postgresql_where=sa.text("limit_breached"),
    )
    op.create_index(
        "journal_record_time_idx",
        "journal",
        ["tenant_key", "record_time", "sequence"],
        unique=False,
        postgresql_where=sa.text("closes_batch"),
    )
    op.create_index(
        "journal_reference_idx",
        "journal",
        ["tenant_key", "reference", "sequence"],
        unique=False,
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.create_index(
        "journal_request_key",
        "journal",
        ["tenant_key", "idempotency_key", "method", "player_id"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "journal_reverses_key",
        "journal",
        ["tenant_key", "reverses"],
        unique=True,
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_table(
        "postings",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_number", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("leg", sa.SmallInteger(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("direction", sa.SmallInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("pending_change", sa.BigInteger(), nullable=False),
        sa.Column("posted_debits", sa.BigInteger(), nullable=False),
        sa.Column("posted_credits", sa.BigInteger(), nullable=False),
        sa.Column("pending_debits", sa.BigInteger(), nullable=False),
        sa.Column("pending_credits", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "amount >= 0 AND posted_debits >= 0 AND posted_credits >= 0"
            " AND pending_debits >= 0 AND pending_credits >= 0",
            name=op.f("postings_sums_check"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_key", "account_number", "sequence", "leg", name=op.f("postings_pkey")
        ),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("chain_hash", sa.LargeBinary(), nullable=False),
        sa.Column("record_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance_enforcement", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_key", name=op.f("tenants_pkey")),
        postgresql_with={"fillfactor": "20"},
    )
    op.create_index(op.f("tenants_tenant_id_idx"), "tenants", ["tenant_id"], unique=False)
    _create_application_role()
    _forbid_changes()


def _create_application_role() -> None:
    """Let servers read everything, append to the journal and postings, and change only the rest."""
    name = context.config.attributes["application_role"]
    role = op.get_bind().dialect.identifier_preparer.quote(name)
    literal = "'" + name.replace("'", "''") + "'"
    # Roles belong to the whole cluster: another database may have created it, even at this moment. PostgreSQL
    # refuses who may create no roles also where it is there, so it is asked first.
    op.execute(f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN
                CREATE ROLE {role} NOLOGIN;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$
    """)
    # A superuser may take on any role; anybody else has to be a member.
    op.execute(f"""
        DO $$ BEGIN
            IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                GRANT {role} TO CURRENT_USER;
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END $$
    """)
    op.execute(f"GRANT SELECT, INSERT ON journal, postings TO {role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON tenants, accounts, holds TO {role}")
    # Lets a server tell that it is in front of the schema that it was written for.
    op.execute(f"GRANT SELECT ON alembic_version TO {role}")


def _forbid_changes() -> None:
    """Refuse to alter what is append-only, even to the owner of the tables."""
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    for table in ("journal", "postings"):
        op.execute(f"""
            CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)


def downgrade() -> None:
    """Drop everything but the role, which other databases of the cluster may use."""
    op.drop_index(op.f("tenants_tenant_id_idx"), table_name="tenants")
    op.drop_table("tenants")
    op.drop_table("postings")
    op.drop_index(
        "journal_reverses_key",
        table_name="journal",
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
    op.drop_index(
        "journal_request_key",
        table_name="journal",
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.drop_index(
        "journal_reference_idx",
        table_name="journal",
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.drop_index("journal_record_time_idx", table_name="journal", postgresql_where=sa.text("closes_batch"))
    op.drop_index(
        "journal_limit_breached_idx",
        table_name="journal",
        postgresql_where=sa.text("limit_breached"),
    )
    op.drop_table("journal")
    op.drop_index(
        "holds_open_expire_time_idx",
        table_name="holds",
        postgresql_where=sa.text("state = 1 AND expire_time IS NOT NULL"),
    )
    op.drop_index("holds_open_debit_idx", table_name="holds", postgresql_where=sa.text("state = 1"))
    op.drop_index("holds_open_credit_idx", table_name="holds", postgresql_where=sa.text("state = 1"))
    op.drop_table("holds")
    op.drop_index("accounts_tenant_key_account_id_key", table_name="accounts")
    op.drop_table("accounts")
    op.execute("DROP FUNCTION refuse_change")

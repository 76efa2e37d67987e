"""Create the tables of reconciliation, and give findings a life of their own.

Findings of before have no record in the journal and can't get one here, so they are dropped: whatever still
stands is found again by the parked-event sweep and by the first run.
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DROPPED = "findings of before have no record in the journal; until its end the version before can raise none"
WHY_NO_EXPANSION = {
    "drops: column reconciliation_findings.currency_code": _DROPPED,
    "drops: column reconciliation_findings.facts": _DROPPED,
    "drops: column reconciliation_findings.first_seen_time": _DROPPED,
    "drops: column reconciliation_findings.last_seen_time": _DROPPED,
    "drops: column reconciliation_findings.provider_ref": _DROPPED,
    "narrows: column reconciliation_findings.assignee": _DROPPED,
    "narrows: column reconciliation_findings.body": _DROPPED,
    "narrows: column reconciliation_findings.changed_by": _DROPPED,
    "narrows: column reconciliation_findings.open_time": _DROPPED,
    "narrows: column reconciliation_findings.subject_time": _DROPPED,
    "narrows: column reconciliation_findings.update_time": _DROPPED,
    "narrows: column reconciliation_findings.version": _DROPPED,
}

_CHANGEABLE = (
    "reconciliation_findings",
    "finding_sightings",
    "reconciliation_runs",
    "provider_records",
    "settlement_reports",
    "settlement_lines",
    "settlement_batches",
)
_APPEND_ONLY = "finding_versions"


def upgrade() -> None:
    """Create everything."""
    # First and alone: servers go on writing payments, and a run that broke off has left the index invalid.
    with op.get_context().autocommit_block():
        name, table = "payments_update_time_idx", "payments"
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            ["tenant_key", "provider", "update_time", "payment_number"],
            unique=False,
            postgresql_concurrently=True,
        )
    op.drop_table("reconciliation_findings")
    _create_findings()
    _create_runs()
    _create_provider_records()
    _create_settlements()
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(_CHANGEABLE)} TO {role}")
    op.execute(f"GRANT SELECT, INSERT ON {_APPEND_ONLY} TO {role}")
    op.execute(
        f"CREATE TRIGGER {_APPEND_ONLY}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {_APPEND_ONLY}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _key() -> sa.Column[int]:
    return sa.Column("tenant_key", sa.BigInteger(), autoincrement=False, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), nullable=nullable)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _code(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger(), nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _create_findings() -> None:
    op.create_table(
        "reconciliation_findings",
        _key(),
        _bytes("fingerprint"),
        _code("class"),
        _code("severity"),
        _code("state"),
        _number("version"),
        _text("provider"),
        _number("payment_number", nullable=True),
        _text("assignee"),
        _time("subject_time"),
        _time("open_time"),
        _time("update_time"),
        _number("changed_by"),
        _bytes("body"),
        sa.PrimaryKeyConstraint("tenant_key", "fingerprint", name=op.f("reconciliation_findings_pkey")),
    )
    op.create_index(
        "reconciliation_findings_open_time_idx",
        "reconciliation_findings",
        ["tenant_key", "open_time", "fingerprint"],
        unique=False,
    )
    op.create_index(
        "reconciliation_findings_payment_idx",
        "reconciliation_findings",
        ["tenant_key", "payment_number"],
        unique=False,
        postgresql_where=sa.text("payment_number IS NOT NULL"),
    )
    op.create_index(
        "reconciliation_findings_unresolved_idx",
        "reconciliation_findings",
        ["tenant_key", "provider", "subject_time"],
        unique=False,
        postgresql_where=sa.text("state IN (1, 2, 5)"),
    )
    op.create_table(
        "finding_versions",
        _key(),
        _bytes("fingerprint"),
        _number("version"),
        _number("sequence"),
        sa.PrimaryKeyConstraint("tenant_key", "fingerprint", "version", name=op.f("finding_versions_pkey")),
    )
    op.create_table(
        "finding_sightings",
        _key(),
        _bytes("fingerprint"),
        _number("run_number"),
        _time("seen_time"),
        sa.PrimaryKeyConstraint("tenant_key", "fingerprint", name=op.f("finding_sightings_pkey")),
    )


def _create_runs() -> None:
    op.create_table(
        "reconciliation_runs",
        _key(),
        _number("run_number"),
        _text("provider"),
        _code("state"),
        _bytes("request_digest"),
        _text("owner"),
        _time("lease_until"),
        _time("begin_time"),
        _bytes("body"),
        sa.PrimaryKeyConstraint("tenant_key", "run_number", name=op.f("reconciliation_runs_pkey")),
    )
    op.create_index(
        "reconciliation_runs_begin_time_idx",
        "reconciliation_runs",
        ["tenant_key", "begin_time", "run_number"],
        unique=False,
    )
    op.create_index(
        "reconciliation_runs_running_key",
        "reconciliation_runs",
        ["tenant_key", "provider"],
        unique=True,
        postgresql_where=sa.text("state = 1"),
    )


def _create_provider_records() -> None:
    op.create_table(
        "provider_records",
        _key(),
        _text("provider"),
        _code("kind"),
        _text("record_id"),
        _text("provider_ref"),
        _text("payment_ref", nullable=True),
        _text("our_id", nullable=True),
        _code("state"),
        _number("amount", nullable=True),
        _text("currency_code"),
        _time("create_time"),
        _text("provider_type"),
        _text("batch", nullable=True),
        _number("run_number", nullable=True),
        _number("payment_number", nullable=True),
        _code("tier"),
        _text("match_key", nullable=True),
        _code("verdict"),
        sa.PrimaryKeyConstraint(
            "tenant_key", "provider", "kind", "record_id", name=op.f("provider_records_pkey")
        ),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "provider_records_run_idx",
        "provider_records",
        ["tenant_key", "provider", "run_number", "payment_number", "kind", "record_id"],
        unique=False,
    )
    op.create_index(
        "provider_records_payment_idx",
        "provider_records",
        ["tenant_key", "provider", "payment_number"],
        unique=False,
    )
    op.create_index(
        "provider_records_settled_idx",
        "provider_records",
        ["tenant_key", "provider", "create_time"],
        unique=False,
        postgresql_where=sa.text("batch IS NOT NULL"),
    )
    op.create_index(
        "provider_records_ref_idx",
        "provider_records",
        ["tenant_key", "provider", "provider_ref"],
        unique=False,
    )


def _create_settlements() -> None:
    op.create_table(
        "settlement_reports",
        _key(),
        _text("provider"),
        _bytes("digest"),
        _code("format"),
        _text("account"),
        _time("import_time"),
        _bytes("body"),
        sa.PrimaryKeyConstraint(
            "tenant_key", "provider", "digest", "format", "account", name=op.f("settlement_reports_pkey")
        ),
    )
    op.create_table(
        "settlement_lines",
        _key(),
        _text("provider"),
        _text("line_id"),
        _text("batch_id"),
        _text("currency_code"),
        _code("kind"),
        _text("provider_type"),
        _number("gross"),
        _number("fee"),
        _number("net"),
        sa.Column("is_payout", sa.Boolean(), nullable=False),
        _time("create_time"),
        _bytes("report_digest"),
        _number("line_number"),
        sa.PrimaryKeyConstraint("tenant_key", "provider", "line_id", name=op.f("settlement_lines_pkey")),
    )
    op.create_index(
        "settlement_lines_batch_idx",
        "settlement_lines",
        ["tenant_key", "provider", "batch_id", "currency_code"],
        unique=False,
        postgresql_where=sa.text("batch_id <> ''"),
    )
    op.create_table(
        "settlement_batches",
        _key(),
        _text("provider"),
        _text("batch_id"),
        _text("currency_code"),
        _code("state"),
        _number("version"),
        _number("told_version"),
        _number("moved", nullable=True),
        _time("open_time"),
        _bytes("body"),
        sa.PrimaryKeyConstraint(
            "tenant_key", "provider", "batch_id", "currency_code", name=op.f("settlement_batches_pkey")
        ),
    )
    op.create_index(
        "settlement_batches_open_time_idx",
        "settlement_batches",
        ["tenant_key", "open_time", "provider", "batch_id", "currency_code"],
        unique=False,
    )
    op.create_index(
        "settlement_batches_untold_idx",
        "settlement_batches",
        ["tenant_key", "provider", "batch_id", "currency_code"],
        unique=False,
        postgresql_where=sa.text("told_version < version"),
    )


def downgrade() -> None:
    """Drop it all, and leave findings as the version before had them, without any."""
    op.drop_index("payments_update_time_idx", table_name="payments")
    for table in reversed((*_CHANGEABLE, _APPEND_ONLY)):
        op.drop_table(table)
    op.create_table(
        "reconciliation_findings",
        _key(),
        _bytes("fingerprint"),
        _code("class"),
        _code("severity"),
        _text("provider"),
        _text("provider_ref"),
        _number("payment_number", nullable=True),
        _text("currency_code"),
        _code("state"),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        _time("first_seen_time"),
        _time("last_seen_time"),
        sa.PrimaryKeyConstraint("tenant_key", "fingerprint", name=op.f("reconciliation_findings_pkey")),
    )
    role = op.get_bind().dialect.identifier_preparer.quote(context.config.attributes["application_role"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON reconciliation_findings TO {role}")

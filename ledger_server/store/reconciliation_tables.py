"""Owns the tables of reconciliation: findings, runs, providers' records and settlement reports."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)

from ledger_server.store.columns import bytewise, metadata, tenant_key, time

# One row per discrepancy, found by its fingerprint; `body` is the message in its newest record.
findings: Final = Table(
    "reconciliation_findings",
    metadata,
    tenant_key(),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("class", SmallInteger, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    bytewise("provider"),
    Column("payment_number", BigInteger),
    bytewise("assignee"),
    time("subject_time"),
    time("open_time"),
    time("update_time"),
    Column("changed_by", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "fingerprint"),
    Index("reconciliation_findings_open_time_idx", "tenant_key", "open_time", "fingerprint"),
    Index(
        "reconciliation_findings_payment_idx",
        "tenant_key",
        "payment_number",
        postgresql_where=text("payment_number IS NOT NULL"),
    ),
    # The findings that a complete run may resolve.
    Index(
        "reconciliation_findings_unresolved_idx",
        "tenant_key",
        "provider",
        "subject_time",
        postgresql_where=text("state IN (1, 2, 5)"),
    ),
)

# The record of the journal that made each version of a finding.
finding_versions: Final = Table(
    "finding_versions",
    metadata,
    tenant_key(),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_key", "fingerprint", "version"),
)

# Which run saw a finding last. A table of its own, since only lanes write findings, and runs do not.
finding_sightings: Final = Table(
    "finding_sightings",
    metadata,
    tenant_key(),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("run_number", BigInteger, nullable=False),
    time("seen_time"),
    PrimaryKeyConstraint("tenant_key", "fingerprint"),
)

# One row per run; `body` is its message. Whoever holds the lease is working on it.
runs: Final = Table(
    "reconciliation_runs",
    metadata,
    tenant_key(),
    Column("run_number", BigInteger, nullable=False),
    bytewise("provider"),
    Column("state", SmallInteger, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    bytewise("owner"),
    time("lease_until"),
    time("begin_time"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "run_number"),
    Index("reconciliation_runs_begin_time_idx", "tenant_key", "begin_time", "run_number"),
    # One at a time.
    Index(
        "reconciliation_runs_running_key",
        "tenant_key",
        "provider",
        unique=True,
        postgresql_where=text("state = 1"),
    ),
)

# One row per movement that a provider has listed or settled, and the payment it was matched with.
provider_records: Final = Table(
    "provider_records",
    metadata,
    tenant_key(),
    bytewise("provider"),
    Column("kind", SmallInteger, nullable=False),
    bytewise("record_id"),
    bytewise("provider_ref"),
    bytewise("payment_ref", nullable=True),
    bytewise("our_id", nullable=True),
    Column("state", SmallInteger, nullable=False),
    Column("amount", BigInteger),
    bytewise("currency_code"),
    time("create_time"),
    bytewise("provider_type"),
    bytewise("batch", nullable=True),
    # The run that listed it last; none for a line of a settlement report alone.
    Column("run_number", BigInteger),
    Column("payment_number", BigInteger),
    Column("tier", SmallInteger, nullable=False),
    bytewise("match_key", nullable=True),
    Column("verdict", SmallInteger, nullable=False),
    PrimaryKeyConstraint("tenant_key", "provider", "kind", "record_id"),
    # A run reads its records payment by payment; those without a payment stand at the end.
    Index(
        "provider_records_run_idx",
        "tenant_key",
        "provider",
        "run_number",
        "payment_number",
        "kind",
        "record_id",
    ),
    Index("provider_records_payment_idx", "tenant_key", "provider", "payment_number"),
    Index("provider_records_ref_idx", "tenant_key", "provider", "provider_ref"),
    # Records that came by settlement reports are no part of a listing; every run over their time includes
    # them.
    Index(
        "provider_records_settled_idx",
        "tenant_key",
        "provider",
        "create_time",
        postgresql_where=text("batch IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": "80"},
)

# One row per imported file, and per way to read it; the same file is the same digest.
settlement_reports: Final = Table(
    "settlement_reports",
    metadata,
    tenant_key(),
    bytewise("provider"),
    Column("digest", LargeBinary, nullable=False),
    Column("format", SmallInteger, nullable=False),
    bytewise("account"),
    time("import_time"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "provider", "digest", "format", "account"),
)

# One row per line of a settlement report; amounts in minor units of the currency that was paid out.
settlement_lines: Final = Table(
    "settlement_lines",
    metadata,
    tenant_key(),
    bytewise("provider"),
    bytewise("line_id"),
    bytewise("batch_id"),
    bytewise("currency_code"),
    Column("kind", SmallInteger, nullable=False),
    bytewise("provider_type"),
    Column("gross", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("is_payout", Boolean, nullable=False),
    time("create_time"),
    Column("report_digest", LargeBinary, nullable=False),
    Column("line_number", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_key", "provider", "line_id"),
    # Partial, so that no plan looks up a line's id by it: it begins like the primary key, and while the table
    # is empty the planner can't tell the two apart.
    Index(
        "settlement_lines_batch_idx",
        "tenant_key",
        "provider",
        "batch_id",
        "currency_code",
        postgresql_where=text("batch_id <> ''"),
    ),
)

# One row per batch and currency: the sums of its lines so far; `body` is its message. `moved` is the signed
# amount that a person has confirmed. A version that is not told yet still needs its finding opened or
# resolved.
settlement_batches: Final = Table(
    "settlement_batches",
    metadata,
    tenant_key(),
    bytewise("provider"),
    bytewise("batch_id"),
    bytewise("currency_code"),
    Column("state", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("told_version", BigInteger, nullable=False),
    Column("moved", BigInteger),
    time("open_time"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "provider", "batch_id", "currency_code"),
    # Ordered by when a batch was first seen. That time never changes, so no page of a list skips a batch.
    Index(
        "settlement_batches_open_time_idx",
        "tenant_key",
        "open_time",
        "provider",
        "batch_id",
        "currency_code",
    ),
    Index(
        "settlement_batches_untold_idx",
        "tenant_key",
        "provider",
        "batch_id",
        "currency_code",
        postgresql_where=text("told_version < version"),
    ),
)

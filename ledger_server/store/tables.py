"""Owns the tables of the ledger with their keys and indexes, each of which begins with the tenant.

Two indexes begin with a time instead: they find due rows of all tenants. Their last condition is always true;
only sweeps state it, so no other statement enters these indexes. One more begins with the player and serves
the views for reports alone: no server states its condition either.

Balances are append-only: an account's counters are those of its newest posting row. So the only row that a
posting updates is the tenant's head.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ledger_server.store.columns import bytewise, metadata, tenant_key, time
from ledger_server.store.history_tables import history
from ledger_server.store.reconciliation_tables import finding_versions

# One row per tenant: the head of its journal, which a lane moves in every commit.
# The low fill factor keeps the next version of the row on the same page, so no index is touched.
tenants: Final = Table(
    "tenants",
    metadata,
    tenant_key(),
    bytewise("tenant_id"),
    Column("sequence", BigInteger, nullable=False),
    Column("chain_hash", LargeBinary, nullable=False),
    time("record_time"),
    Column("balance_enforcement", SmallInteger, nullable=False),
    time("create_time"),
    Column("withdrawal_policy", JSONB),
    Column("adjustment_policy", JSONB),
    # The first record of each epoch, as ` sequence:epoch`; see `domain/ids.py`.
    Column("epochs", Text(collation="C"), nullable=False, server_default=""),
    # The sequence again, written by versions that know of epochs: older versions can't move such a head.
    Column("named_sequence", BigInteger),
    # No record may be written with a time at or before it, since reads were told what there was until then.
    time("final_time", nullable=True),
    PrimaryKeyConstraint("tenant_key"),
    CheckConstraint("epochs = '' OR named_sequence = sequence", name="named"),
    Index(None, "tenant_id"),
    postgresql_with={"fillfactor": "20"},
)

# As PostgreSQL prints it: so the schema is compared with it.
_PLAYER: Final = """(
CASE
    WHEN account_id ~~ 'player:%:%'::text THEN NULLIF(split_part(account_id, ':'::text, 2), ''::text)
    ELSE NULL::text
END)"""

# One row per account. Its number is the sequence of the record that opened it.
accounts: Final = Table(
    "accounts",
    metadata,
    tenant_key(),
    Column("account_number", BigInteger, nullable=False),
    bytewise("account_id"),
    Column("kind", SmallInteger, nullable=False),
    bytewise("currency_code"),
    Column("state", SmallInteger, nullable=False),
    Column("min_available", BigInteger),
    Column("max_balance", BigInteger),
    time("open_time"),
    Column("metadata", JSONB),
    # The ids of the accounts before and after this one, if it was continued or continues another.
    bytewise("continues", nullable=True),
    bytewise("continued_by", nullable=True),
    PrimaryKeyConstraint("tenant_key", "account_number"),
    Index("accounts_tenant_key_account_id_key", "tenant_key", "account_id", unique=True),
    # For reports: a player's accounts.
    Index(
        "accounts_player_idx",
        text(_PLAYER),
        "tenant_key",
        postgresql_where=text(f"{_PLAYER} IS NOT NULL"),
    ),
)

# One row per currency that any tenant has ever used: a table of the whole database, without a tenant.
# `exponent` is NULL if an earlier version used the currency and nobody has stated its decimal places yet.
currencies: Final = Table(
    "currencies",
    metadata,
    bytewise("currency_code"),
    Column("exponent", SmallInteger),
    time("first_use_time"),
    PrimaryKeyConstraint("currency_code"),
    CheckConstraint("exponent BETWEEN 0 AND 18", name="exponent"),
)

# One row per decided fact. `record` holds the exact bytes that were hashed into `chain_hash`; the
# other columns repeat what has to be found or reported without decoding it.
journal: Final = Table(
    "journal",
    metadata,
    tenant_key(),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("method", SmallInteger),
    bytewise("idempotency_key", nullable=True),
    # Part of the key's scope for requests that name a player; empty for all others.
    bytewise("player_id"),
    Column("request_digest", LargeBinary),
    # Set for records that post a transaction.
    Column("transaction_type", SmallInteger),
    bytewise("reference", nullable=True),
    Column("reverses", BigInteger),
    Column("limit_breached", Boolean, nullable=False),
    time("effective_time"),
    time("record_time"),
    # The last record of its commit: only these have to be found by time.
    Column("closes_batch", Boolean, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("chain_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "sequence"),
    Index(
        "journal_request_key",
        "tenant_key",
        "idempotency_key",
        "method",
        "player_id",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index(
        "journal_reverses_key",
        "tenant_key",
        "reverses",
        unique=True,
        postgresql_where=text("reverses IS NOT NULL"),
    ),
    Index(
        "journal_record_time_idx",
        "tenant_key",
        "record_time",
        "sequence",
        postgresql_where=text("closes_batch"),
    ),
    Index(
        "journal_reference_idx",
        "tenant_key",
        "reference",
        "sequence",
        postgresql_where=text("reference IS NOT NULL"),
    ),
    Index(
        "journal_limit_breached_idx",
        "tenant_key",
        "sequence",
        postgresql_where=text("limit_breached"),
    ),
    # The records that set the tenant's mode: the newest says since when, by whom and why.
    Index(
        "journal_enforcement_idx",
        "tenant_key",
        "sequence",
        postgresql_where=text("kind IN (10, 11)"),
    ),
)

# One row per statement line, with the account's counters after it.
postings: Final = Table(
    "postings",
    metadata,
    tenant_key(),
    Column("account_number", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("leg", SmallInteger, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("direction", SmallInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("pending_change", BigInteger, nullable=False),
    Column("posted_debits", BigInteger, nullable=False),
    Column("posted_credits", BigInteger, nullable=False),
    Column("pending_debits", BigInteger, nullable=False),
    Column("pending_credits", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_key", "account_number", "sequence", "leg"),
    CheckConstraint(
        "amount >= 0 AND posted_debits >= 0 AND posted_credits >= 0"
        " AND pending_debits >= 0 AND pending_credits >= 0",
        name="sums",
    ),
)

# One row per hold, as it stands. Its number is the sequence of the record that placed it.
holds: Final = Table(
    "holds",
    metadata,
    tenant_key(),
    Column("hold_number", BigInteger, nullable=False),
    Column("debit_account_number", BigInteger, nullable=False),
    Column("credit_account_number", BigInteger, nullable=False),
    bytewise("currency_code"),
    Column("amount", BigInteger, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    time("expire_time", nullable=True),
    Column("transaction_type", SmallInteger, nullable=False),
    bytewise("reference", nullable=True),
    Column("metadata", JSONB),
    time("place_time"),
    time("end_time", nullable=True),
    Column("limit_breached", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_key", "hold_number"),
    CheckConstraint(
        "amount > 0 AND captured >= 0 AND released >= 0 AND captured + released <= amount",
        name="amounts",
    ),
    # Open holds by account and time: what a lane must expire before it touches an account.
    Index(
        "holds_open_debit_idx",
        "tenant_key",
        "debit_account_number",
        "expire_time",
        postgresql_where=text("state = 1"),
    ),
    Index(
        "holds_open_credit_idx",
        "tenant_key",
        "credit_account_number",
        "expire_time",
        postgresql_where=text("state = 1"),
    ),
    # Open holds by time, of one tenant and of all tenants: what the sweeper looks for.
    Index(
        "holds_open_expire_time_idx",
        "tenant_key",
        "expire_time",
        postgresql_where=text("state = 1 AND expire_time IS NOT NULL"),
    ),
    Index(
        "holds_due_idx",
        "expire_time",
        "tenant_key",
        postgresql_where=text("state = 1 AND expire_time IS NOT NULL AND hold_number > 0"),
    ),
    # Holds that broke a limit and passed.
    Index(
        "holds_limit_breached_idx",
        "tenant_key",
        "hold_number",
        postgresql_where=text("limit_breached"),
    ),
    postgresql_with={"fillfactor": "70"},
)

# One row per deposit (kind 1) and withdrawal (kind 2), as it stands. Its number is the sequence of the
# record that began it; `body` is the message in its newest record, `changed_by`.
payments: Final = Table(
    "payments",
    metadata,
    tenant_key(),
    Column("payment_number", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    bytewise("player_id"),
    bytewise("provider"),
    bytewise("provider_ref", nullable=True),
    bytewise("currency_code"),
    Column("amount", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    time("create_time"),
    time("update_time"),
    Column("changed_by", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # The caller's own reference, empty for none. NULL in rows that a version from before wrote and nobody has
    # changed since: those are searched by their bodies.
    bytewise("reference", nullable=True),
    PrimaryKeyConstraint("tenant_key", "payment_number"),
    # The widest index comes first: of indexes that look alike while the table is empty, PostgreSQL takes the
    # one that was made last.
    Index("payments_kind_idx", "tenant_key", "kind", "payment_number"),
    Index("payments_player_idx", "tenant_key", "player_id", "kind", "payment_number"),
    Index("payments_state_idx", "tenant_key", "kind", "state", "payment_number"),
    Index("payments_provider_idx", "tenant_key", "provider", "kind", "payment_number"),
    # Payments by change: how a run finds payments that the provider may be missing.
    Index("payments_update_time_idx", "tenant_key", "provider", "update_time", "payment_number"),
    Index(
        "payments_reference_idx",
        "tenant_key",
        "kind",
        "reference",
        "payment_number",
        postgresql_where=text("reference <> ''"),
    ),
    Index(
        "payments_unread_reference_idx",
        "tenant_key",
        "kind",
        "payment_number",
        postgresql_where=text("reference IS NULL"),
    ),
    # What is open: counted without its rows.
    Index(
        "payments_open_idx",
        "tenant_key",
        "kind",
        "state",
        "payment_number",
        postgresql_include=["currency_code", "provider", "amount", "create_time"],
        postgresql_where=text("state IN (1, 2)"),
    ),
    postgresql_with={"fillfactor": "70"},
)

# The payment that has a provider's ref: the first one that got it keeps it for ever. One payment may have
# several refs, such as those of a payment link and of the payment made through it.
payment_refs: Final = Table(
    "payment_refs",
    metadata,
    tenant_key(),
    bytewise("provider"),
    bytewise("provider_ref"),
    Column("payment_number", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_key", "provider", "provider_ref"),
    # The payments with a ref at any provider.
    Index("payment_refs_ref_idx", "tenant_key", "provider_ref", "payment_number"),
)

# One row per event that a provider sent, with its body as it was received.
provider_events: Final = Table(
    "provider_events",
    metadata,
    tenant_key(),
    Column("event_number", BigInteger, nullable=False),
    bytewise("provider"),
    bytewise("event_id"),
    Column("type", SmallInteger, nullable=False),
    bytewise("payment_ref", nullable=True),
    Column("echoed_number", BigInteger),
    Column("payment_number", BigInteger),
    Column("state", SmallInteger, nullable=False),
    time("receive_time"),
    time("update_time"),
    Column("changed_by", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "event_number"),
    # The provider's own identity of an event: the last line of defence against applying it twice.
    Index("provider_events_identity_key", "tenant_key", "provider", "event_id", unique=True),
    Index(
        "provider_events_payment_idx",
        "tenant_key",
        "payment_number",
        "event_number",
        postgresql_where=text("payment_number IS NOT NULL"),
    ),
    Index("provider_events_provider_idx", "tenant_key", "provider", "event_number"),
    # Events that were not simply applied; parked events are tried again when their payment has changed.
    Index(
        "provider_events_state_idx",
        "tenant_key",
        "state",
        "event_number",
        postgresql_where=text("state <> 1"),
    ),
    # Parked events of all tenants: which of them have waited too long.
    Index(
        "provider_events_parked_idx",
        "receive_time",
        "tenant_key",
        "event_number",
        postgresql_where=text("state = 2 AND event_number > 0"),
    ),
)

# One row per call that is owed to a provider. The number is the sequence of the record that decided it;
# what became of it stands in the payment, the rest of the row is the dispatcher's.
outbox: Final = Table(
    "outbox",
    metadata,
    tenant_key(),
    Column("call_number", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    bytewise("provider"),
    Column("payment_number", BigInteger, nullable=False),
    Column("subject_number", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("try_count", BigInteger, nullable=False),
    time("next_try_time"),
    time("first_try_time", nullable=True),
    bytewise("last_error", nullable=True),
    Column("rest_count", BigInteger, nullable=False, server_default="0"),
    time("absent_time", nullable=True),
    bytewise("stop_reason", nullable=True),
    # Whether the call was owed when commits may have been lost: then missing evidence of a try proves
    # nothing.
    Column("maybe_made", Boolean, nullable=False, server_default="false"),
    # The tries again, counted by versions that know of epochs; NULL if an older version owed the call. Older
    # versions would use a key without an epoch, so they can't claim calls that are owed since.
    Column("named_tries", BigInteger),
    PrimaryKeyConstraint("tenant_key", "call_number"),
    CheckConstraint("named_tries IS NULL OR named_tries = try_count", name="named"),
    Index("outbox_open_idx", "tenant_key", "next_try_time", postgresql_where=text("open")),
    # The due calls of one provider account, of all tenants; only reads use it, so it need not begin with a
    # tenant.
    Index("outbox_due_idx", "provider", "next_try_time", postgresql_where=text("open")),
    postgresql_with={"fillfactor": "50"},
)

# One row per adjustment, as it stands. Its number is the sequence of the record that asked for it; `body` is
# the message in its newest record, `changed_by`.
adjustments: Final = Table(
    "adjustments",
    metadata,
    tenant_key(),
    Column("adjustment_number", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    bytewise("requester"),
    time("request_time"),
    time("update_time"),
    Column("changed_by", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_key", "adjustment_number"),
    Index("adjustments_state_idx", "tenant_key", "state", "adjustment_number"),
    postgresql_with={"fillfactor": "70"},
)

# One row per player who has personal data, or was forgotten. The key is encrypted by the server's of that
# name, and is destroyed by the record that forgets the player.
player_keys: Final = Table(
    "player_keys",
    metadata,
    tenant_key(),
    bytewise("player_id"),
    bytewise("key_name", nullable=True),
    Column("sealed_key", LargeBinary),
    Column("forgotten_by", BigInteger),
    PrimaryKeyConstraint("tenant_key", "player_id"),
    CheckConstraint(
        "(sealed_key IS NULL) = (forgotten_by IS NOT NULL) AND (key_name IS NULL) = (sealed_key IS NULL)",
        name="kept",
    ),
)

WITHOUT_TENANT: Final = (history,)
"""Tables of the whole database."""

TABLES: Final = metadata
"""All tables, those of reconciliation among them."""

APPEND_ONLY: Final = (journal, postings, finding_versions)

"""Give reports two views, the index that serves them by player, and a role that reads the views and no more.

Tables that a posting writes get no index: a player's legs are found by the key of `postings`, account by
account. What finds the player's accounts is written when an account is opened. It begins with the player and
has a condition that no server states, so no statement of a server enters it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ROLE = "defter_reports"
_VIEWS = ("ledger_transactions", "wallet_balances")

_TYPES = (
    *("DEPOSIT", "WITHDRAWAL", "ADJUSTMENT", "REVERSAL", "FEE", "TRANSFER", "BET", "WIN", "BONUS"),
    *("OPENING_BALANCE", "REFUND", "DISPUTE", "CONTINUATION"),
)
# Cheaper than a regular expression: it is computed for each account that is opened.
_PLAYER = "CASE WHEN {0}account_id LIKE 'player:%:%' THEN NULLIF(split_part({0}account_id, ':', 2), '') END"


def upgrade() -> None:
    """Create the role, the index and the views."""
    # First, since it may fail: the index takes long.
    op.execute(_role_made(_ROLE))
    player = _PLAYER.format("")
    with op.get_context().autocommit_block():
        # A run that broke off has left the index invalid, or whole.
        op.drop_index("accounts_player_idx", "accounts", if_exists=True, postgresql_concurrently=True)
        # A player's accounts of any tenant.
        op.create_index(
            "accounts_player_idx",
            "accounts",
            [sa.text(f"({player})"), "tenant_key"],
            postgresql_where=sa.text(f"{player} IS NOT NULL"),
            postgresql_concurrently=True,
        )
    # Functions in a reader's conditions see nothing but rows of the views (security_barrier).
    op.execute(f"CREATE VIEW ledger_transactions WITH (security_barrier) AS {_transactions()}")
    op.execute(f"CREATE VIEW wallet_balances WITH (security_barrier) AS {_wallets()}")
    op.execute(f"GRANT SELECT ON {', '.join(_VIEWS)} TO {_ROLE}")


def downgrade() -> None:
    """Drop everything but the role, which other databases of the cluster may use."""
    for view in reversed(_VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.drop_index("accounts_player_idx", "accounts")


def _role_made(role: str) -> str:
    """Return the statement that creates a role unless it exists.

    Who may create no roles can still migrate once somebody else has created it. Roles belong to the whole
    cluster: another database may create it at this moment. Its settings hold where it gets a login itself;
    members don't inherit them.
    """
    return f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                CREATE ROLE {role} NOLOGIN;
                ALTER ROLE {role} SET default_transaction_read_only = on;
                ALTER ROLE {role} SET statement_timeout = '1min';
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role {role} is missing, and % may not create it: have it created'
                    ' (CREATE ROLE {role} NOLOGIN) and migrate again', current_user
                    USING ERRCODE = 'insufficient_privilege';
        END $$
    """


def _transactions() -> str:
    """Return one row for each leg of each transaction.

    A transaction without a key belongs to a payment, which its reference names, or to a continued account.
    No leg is below 0: an index with that condition serves the view, and no statement of a server. A query
    that has to find one row stands in place of EXISTS, for which PostgreSQL may read a whole table.
    """
    return f"""
        SELECT {_id("tx", "j.sequence")} AS tx_id,
            (ARRAY[{", ".join(f"'{name}'" for name in _TYPES)}])[j.transaction_type] AS type,
            (ARRAY['DEBIT', 'CREDIT'])[l.direction] AS direction,
            l.amount,
            a.currency_code AS currency,
            {_PLAYER.format("a.")} AS player_id,
            t.tenant_id,
            CASE WHEN (
                SELECT r.sequence FROM journal r WHERE r.tenant_key = j.tenant_key AND r.reverses = j.sequence
            ) IS NULL THEN 'POSTED' ELSE 'REVERSED' END AS status,
            COALESCE(j.idempotency_key, (
                SELECT b.idempotency_key FROM journal b
                WHERE b.tenant_key = p.tenant_key AND b.sequence = p.payment_number
            )) AS idempotency_key,
            p.provider,
            p.provider_ref,
            ({_EVENT}) AS provider_event_id,
            j.record_time AS created_at,
            a.account_id,
            j.sequence,
            l.leg
        FROM tenants t
        JOIN journal j ON j.tenant_key = t.tenant_key AND j.transaction_type IS NOT NULL
        JOIN postings l ON l.tenant_key = j.tenant_key AND l.sequence = j.sequence
            AND l.amount > 0 AND l.leg >= 0
        JOIN accounts a ON a.tenant_key = l.tenant_key AND a.account_number = l.account_number
        LEFT JOIN payments p ON p.tenant_key = j.tenant_key AND p.payment_number = CASE
            WHEN j.idempotency_key IS NULL AND j.reference ~ '^(dep|wd)_.*_[0-9]+$'
            THEN substring(j.reference, '_([0-9]+)$')::bigint
        END
    """


def _id(prefix: str, sequence: str) -> str:
    """Return the id that `TenantIds` makes of a record's sequence."""
    letters = " || ".join(
        f"substr('0123456789abcdefghjkmnpqrstvwxyz', ((t.tenant_key >> {shift}) & 31)::int + 1, 1)"
        for shift in range(60, -1, -5)
    )
    epoch = f"""
        SELECT split_part(begun.epoch, ':', 2) || '_'
        FROM unnest(string_to_array(ltrim(t.epochs), ' ')) AS begun(epoch)
        WHERE split_part(begun.epoch, ':', 1)::bigint <= {sequence}
        ORDER BY split_part(begun.epoch, ':', 1)::bigint DESC LIMIT 1
    """
    return f"'{prefix}_' || {letters} || '_' || COALESCE(({epoch}), '') || {sequence}"


# A payment's change (kinds 25 and 26) is recorded behind what it moves. If an event has changed it, the
# record of the event (kind 27) comes next: the event's first one, whose sequence is the event's number, or
# that of a later try. Only where the event supersedes an earlier one (state 6), that one's record is between.
_NEAR = 200  # records: far more than one change moves, and few to read where the planner misjudges
_EVENT = f"""
    SELECT {_id("evt", "e.event_number")}
    FROM (
        SELECT c.sequence, c.idempotency_key FROM journal c
        WHERE c.tenant_key = j.tenant_key AND c.sequence > j.sequence AND c.sequence <= j.sequence + {_NEAR}
            AND c.kind IN (25, 26) AND p.payment_number IS NOT NULL
        ORDER BY c.sequence LIMIT 1
    ) AS change
    JOIN journal told ON told.tenant_key = j.tenant_key AND told.sequence = change.sequence + 1
        AND told.kind = 27 AND told.record_time = j.record_time
    JOIN provider_events e ON e.tenant_key = j.tenant_key AND e.payment_number = p.payment_number
    WHERE change.idempotency_key IS NULL AND (
        e.event_number = told.sequence
        OR (e.changed_by = told.sequence AND e.state <> 6)
        OR (e.event_number = told.sequence + 1 AND (
            SELECT o.event_number FROM provider_events o
            WHERE o.tenant_key = j.tenant_key AND o.event_number = told.sequence
        ) IS NULL)
    )
    ORDER BY e.event_number = told.sequence + 1 LIMIT 1
"""


def _wallets() -> str:
    """Return one row for each player and currency, as `GetWallet` shows them.

    Money left on a continued account counts by its successor's kind, as a liability.
    """
    sums = ", ".join(
        f"COALESCE(sum(m.{what}) FILTER (WHERE m.part = '{part}'), 0) AS {part}_{what}"
        for part in ("real", "bonus")
        for what in ("posted", "available", "pending_in", "pending_out")
    )
    return f"""
        SELECT m.tenant_id, m.player_id, m.currency, {sums}
        FROM (
            SELECT w.tenant_id, w.player_id, w.currency, w.part, s.posted, s.pending_in, s.pending_out,
                s.posted - s.pending_out AS available
            FROM (
                SELECT t.tenant_id, t.tenant_key, {_PLAYER.format("a.")} AS player_id,
                    a.currency_code AS currency, a.account_number,
                    substring(a.account_id, '^player:[^:]+:(real|bonus):') AS part,
                    a.kind IN (1, 5) AND a.continued_by IS NULL AS debit_normal,
                    GREATEST(statement_timestamp(), t.record_time) AS now
                FROM tenants t
                JOIN accounts a ON a.tenant_key = t.tenant_key
                WHERE {_PLAYER.format("a.")} IS NOT NULL AND a.currency_code = regexp_replace(
                    substring(a.account_id, '^player:[^:]+:[a-z]+:([^:]+)$'),
                    CASE WHEN a.continues IS NULL THEN '$' ELSE '@[^@]*$' END,
                    ''
                )
            ) AS w
            LEFT JOIN LATERAL (
                SELECT l.posted_debits, l.posted_credits, l.pending_debits, l.pending_credits
                FROM postings l
                WHERE l.tenant_key = w.tenant_key AND l.account_number = w.account_number
                ORDER BY l.sequence DESC, l.leg DESC LIMIT 1
            ) AS c ON true
            CROSS JOIN LATERAL ({_due("debit")}) AS due_debits
            CROSS JOIN LATERAL ({_due("credit")}) AS due_credits
            CROSS JOIN LATERAL (
                SELECT COALESCE(c.pending_debits, 0) - due_debits.amount AS debits,
                    COALESCE(c.pending_credits, 0) - due_credits.amount AS credits
            ) AS pending
            CROSS JOIN LATERAL (
                SELECT COALESCE(
                        CASE WHEN w.debit_normal THEN c.posted_debits - c.posted_credits
                        ELSE c.posted_credits - c.posted_debits END, 0
                    ) AS posted,
                    CASE WHEN w.debit_normal THEN pending.debits ELSE pending.credits END AS pending_in,
                    CASE WHEN w.debit_normal THEN pending.credits ELSE pending.debits END AS pending_out
            ) AS s
            WHERE w.part IS NOT NULL
        ) AS m
        GROUP BY m.tenant_id, m.player_id, m.currency
    """


def _due(side: str) -> str:
    """Return what holds that are due, and whose end is not recorded yet, still hold on one side."""
    return f"""
        SELECT COALESCE(sum(h.amount - h.captured - h.released), 0) AS amount FROM holds h
        WHERE h.tenant_key = w.tenant_key AND h.{side}_account_number = w.account_number
            AND h.state = 1 AND h.expire_time <= w.now
    """

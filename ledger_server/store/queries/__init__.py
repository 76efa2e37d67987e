"""Owns the statements of reads, by subject: each is a look-up in an index that begins with the tenant.

Lists, and statements that share their columns, are built with SQLAlchemy Core and rendered once per shape;
fixed statements are plain text, which is easier to read. All run on connections of `database.py`.
"""

from ledger_server.store.queries.balances import balance_at_time, balance_at_time_sql
from ledger_server.store.queries.statements import statement_page, statement_page_sql

__all__ = ["balance_at_time", "balance_at_time_sql", "statement_page", "statement_page_sql"]

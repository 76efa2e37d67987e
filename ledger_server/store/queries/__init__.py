"""Own the reads: one module per subject, every statement a look-up in an index that the tenant leads.

Lists and what shares their columns are built with SQLAlchemy Core and rendered once per shape; fixed
reads that Core would only blur are plain text. All run on connections of `database.py`.
"""

from ledger_server.store.queries.balances import balance_at_time, balance_at_time_sql
from ledger_server.store.queries.statements import statement_page, statement_page_sql

__all__ = ["balance_at_time", "balance_at_time_sql", "statement_page", "statement_page_sql"]

"""Reconciliation without a database: settlement reports, and payments compared with what is listed."""

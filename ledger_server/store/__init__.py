"""Own the only SQL: tables, working set load and flush, read queries, views."""

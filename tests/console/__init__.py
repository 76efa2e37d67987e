"""Tests of the console: its parts, its pages over a real ledger, and what people see in a browser."""

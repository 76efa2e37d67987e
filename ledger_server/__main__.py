"""Lets `python -m ledger_server` stand for `defter`."""

from ledger_server.start import main

main()

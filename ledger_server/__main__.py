"""Lets `python -m ledger_server` stand for `defter`."""

from ledger_server.cli.start import main

main()

"""Small services in front of the ledger, as other teams would write them with the Python client alone."""

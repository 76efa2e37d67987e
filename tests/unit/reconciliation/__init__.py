"""The comparison with a provider's records: tables of situations, and properties over whole lives."""

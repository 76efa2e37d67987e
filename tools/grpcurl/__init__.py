"""Examples of calls that are typed, one for each RPC."""

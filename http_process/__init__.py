"""What processes that answer HTTP share: how they start, serve a socket and write their log."""

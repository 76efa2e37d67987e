"""Own what crosses a real wire: errors, replays, lists, streams and deadlines."""

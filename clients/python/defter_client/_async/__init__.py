"""Own the asynchronous client; `_blocking` is generated from it (`make gen`)."""

# Generated from _async/__init__.py by `make gen`: do not edit.
"""Own the blocking client, generated from `_async` (`make gen`)."""

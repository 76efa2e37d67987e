"""Owns the check that an address leads to a page of the console."""


def local_path(text: str) -> str:
    """Return a path of the console, and never an address of somebody else's."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_local and "\\" not in text else "/"

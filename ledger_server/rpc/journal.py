"""Owns JournalService."""


class JournalServicer:
    """Watches, lists and verifies the journal, and answers what follows from it."""

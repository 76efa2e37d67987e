"""Owns the parts that all tables share: names of keys and indexes, and the common columns."""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Text

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def tenant_key() -> Column[int]:
    """The column that leads every key."""
    return Column("tenant_key", BigInteger, nullable=False, autoincrement=False)


def bytewise(name: str, *, nullable: bool = False) -> Column[str]:
    """A text column that is compared byte by byte, so that prefixes and order need no locale."""
    return Column(name, Text(collation="C"), nullable=nullable)


def time(name: str, *, nullable: bool = False) -> Column[object]:
    """An instant."""
    return Column(name, DateTime(timezone=True), nullable=nullable)

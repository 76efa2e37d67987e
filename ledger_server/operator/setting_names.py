"""Owns the names of the environment variables that operators' commands read."""

from typing import Final

PROOF_SETTINGS: Final = {
    "authority_file": "DEFTER_SERVER_AUTHORITY_FILE",
    "certificate_file": "DEFTER_CALLER_CERTIFICATE_FILE",
    "key_file": "DEFTER_CALLER_KEY_FILE",
    "token_file": "DEFTER_CALLER_TOKEN_FILE",
}
"""Those with the files of a `Proof`, by its fields."""
COMMAND_SETTINGS: Final = frozenset(
    {"DEFTER_SERVER", "DEFTER_TENANT", "DEFTER_LEGACY_SQL_URL", *PROOF_SETTINGS.values()}
)
"""All of them."""

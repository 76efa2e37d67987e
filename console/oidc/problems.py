"""Owns why nobody is signed in by a provider: a closed list, of which pages and logs tell."""

from enum import StrEnum


class Problem(StrEnum):
    """What is wrong. Nothing of what was sent is told beside it: it may be a secret, or a lie."""

    SIGN_IN_EXPIRED = "SIGN_IN_EXPIRED"
    """The browser began no sign-in that is still open: it has no cookie of one, or took too long."""
    STATE_OTHER = "STATE_OTHER"
    ANSWER_MALFORMED = "ANSWER_MALFORMED"
    """The answer has no code, or two of something."""
    ANSWER_ISSUER_OTHER = "ANSWER_ISSUER_OTHER"
    """The answer is another provider's, or does not say whose, though the provider always says it."""
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_AWAY = "PROVIDER_AWAY"
    PROVIDER_UNUSABLE = "PROVIDER_UNUSABLE"
    """What the provider says of itself can't be used."""
    CODE_REFUSED = "CODE_REFUSED"
    TOKEN_MISSING = "TOKEN_MISSING"  # noqa: S105  # a name
    TOKEN_MALFORMED = "TOKEN_MALFORMED"  # noqa: S105
    TOKEN_ALGORITHM_REFUSED = "TOKEN_ALGORITHM_REFUSED"  # noqa: S105
    TOKEN_KEY_UNKNOWN = "TOKEN_KEY_UNKNOWN"  # noqa: S105
    TOKEN_SIGNATURE_INVALID = "TOKEN_SIGNATURE_INVALID"  # noqa: S105
    TOKEN_ISSUER_OTHER = "TOKEN_ISSUER_OTHER"  # noqa: S105
    TOKEN_AUDIENCE_OTHER = "TOKEN_AUDIENCE_OTHER"  # noqa: S105
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105
    """It has expired, or was issued in the future."""
    TOKEN_NONCE_OTHER = "TOKEN_NONCE_OTHER"  # noqa: S105
    TOKEN_HASH_OTHER = "TOKEN_HASH_OTHER"  # noqa: S105
    TOKEN_CLAIM_INVALID = "TOKEN_CLAIM_INVALID"  # noqa: S105
    SUBJECT_UNUSABLE = "SUBJECT_UNUSABLE"
    """The claim that names the person is missing, or is nothing that the ledger records."""
    TOO_MANY_GROUPS = "TOO_MANY_GROUPS"
    NOT_A_LOGOUT = "NOT_A_LOGOUT"
    LOGOUT_REPLAYED = "LOGOUT_REPLAYED"


class SignInFailed(Exception):
    """Nobody is signed in, or out."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem

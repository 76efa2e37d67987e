"""A call is allowed by a rule or not at all."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import PermissionMissing, PersonNotPermitted
from ledger_server.identity.caller import Caller
from ledger_server.identity.patterns import matches
from ledger_server.identity.policy import Policy, unmatched_methods

POLICY_TEXT = b"""
[[rule]]
name = "edge"
identities = ["spiffe://d/edge"]
methods = ["p.EventService/Ingest"]
tenants = ["casino-*"]

[[rule]]
name = "operators"
claims = { groups = ["ops", "ops-*"], team = ["ledger"] }
methods = ["p.*/Get*", "p.*/List*"]
tenants = ["*"]

[[rule]]
name = "ada on duty"
identities = ["token:ada"]
claims = { duty = ["yes"] }
methods = ["*"]
tenants = ["casino-*", "bingo"]
"""
POLICY = Policy(POLICY_TEXT)
EDGE = Caller("spiffe://d/edge")
OPERATOR = Caller("token:bob", (("groups", ("x", "ops-2")), ("team", ("ledger",))))
ADA = Caller("token:ada", (("duty", ("yes",)),))


@pytest.mark.parametrize(
    ("caller", "method", "tenant_id", "rules"),
    [
        (EDGE, "p.EventService/Ingest", "casino-1", ["edge"]),
        (EDGE, "p.EventService/Ingest", "bingo", []),
        (EDGE, "p.EventService/Ingest", "casino", []),
        (EDGE, "p.EventService/Ingest", "", []),
        (EDGE, "p.EventService/Ingest", "*", []),
        (EDGE, "p.EventService/Ingest", None, ["edge"]),
        (EDGE, "p.EventService/IngestMore", "casino-1", []),
        (EDGE, "q.p.EventService/Ingest", "casino-1", []),
        (EDGE, "p.WalletService/GetWallet", "casino-1", []),
        (Caller("spiffe://d/edge2"), "p.EventService/Ingest", "casino-1", []),
        (Caller("spiffe://d/edge/x"), "p.EventService/Ingest", "casino-1", []),
        (Caller("token:spiffe://d/edge"), "p.EventService/Ingest", "casino-1", []),
        (OPERATOR, "p.WalletService/GetWallet", "bingo", ["operators"]),
        (OPERATOR, "p.WalletService/GetWallet", "*", ["operators"]),
        (OPERATOR, "p.WalletService/GetWallet", "", ["operators"]),
        (OPERATOR, "p.WalletService/SetWallet", "bingo", []),
        (OPERATOR, "p.Wallet/Service/GetWallet", "bingo", []),
        (Caller("token:bob", (("groups", ("ops",)),)), "p.WalletService/GetWallet", "bingo", []),
        (Caller("token:bob", (("groups", ("sops",)), ("team", ("ledger",)))), "p.W/Get", "bingo", []),
        (Caller("token:bob"), "p.WalletService/GetWallet", "bingo", []),
        (ADA, "p.WalletService/SetWallet", "bingo", ["ada on duty"]),
        (ADA, "p.WalletService/SetWallet", "*", []),
        (Caller("token:ada"), "p.WalletService/SetWallet", "bingo", []),
        (Caller("spiffe://d/ada", (("duty", ("yes",)),)), "p.WalletService/SetWallet", "bingo", []),
    ],
)
def test_allow_what_a_rule_names(
    caller: Caller, method: str, tenant_id: str | None, rules: list[str]
) -> None:
    """And refuse everything else, naming what is missing."""
    assert [rule.name for rule in POLICY.rules_for(caller, method, tenant_id)] == rules
    if rules:
        POLICY.check(caller, method, tenant_id)
    else:
        with pytest.raises(PermissionMissing) as caught:
            POLICY.check(caller, method, tenant_id)
        assert caught.value.metadata == {
            "method": method,
            "tenant_id": tenant_id or "",
            "identity": caller.identity,
        }


def test_list_shows_tenants_of_rules_with_its_method() -> None:
    """Not those of other rules of the same caller."""
    assert POLICY.sees(OPERATOR, "p.TenantService/ListTenants")("bingo")
    assert POLICY.sees(ADA, "p.TenantService/ListTenants")("bingo")
    assert not POLICY.sees(ADA, "p.TenantService/ListTenants")("poker")
    assert not POLICY.sees(EDGE, "p.TenantService/ListTenants")("casino-1")


TEXTS = st.text("ab/.*?[]^$\n", max_size=12)


@given(TEXTS, TEXTS)
def test_pattern_stands_for_what_globs_stand_for(pattern: str, text: str) -> None:
    """With `**` for any characters, and nothing of regular expressions or brackets."""
    literal = "".join(f"[{c}]" if c in "?[" else c for c in pattern)
    loosely = fnmatch.fnmatchcase(text, literal)
    if matches(pattern, text):
        assert loosely
    elif loosely:
        assert "*" in pattern
        assert "/" in text


@given(TEXTS, TEXTS)
def test_pattern_is_what_a_regular_expression_would_find(pattern: str, text: str) -> None:
    """Which is right, but may try every way of dividing a text among the stars."""
    parts = re.split(r"(\*+)", pattern)
    kinds = (("[^/]*" if part == "*" else ".*") if "*" in part else re.escape(part) for part in parts)
    found = re.compile("".join(kinds), re.DOTALL).fullmatch(text)
    assert matches(pattern, text) == (pattern == "*" or found is not None)


def test_pattern_with_many_stars_takes_no_longer() -> None:
    """As a regular expression this takes longer than anybody waits."""
    assert not matches("*a" * 100 + "b", "a" * 255)
    assert matches("*a" * 100 + "b", "a" * 254 + "b")


@given(TEXTS)
def test_pattern_without_stars_stands_for_itself_alone(text: str) -> None:
    """Whatever its characters mean elsewhere."""
    if "*" not in text:
        assert matches(text, text)
        assert not matches(text, text + "a")
        assert not matches(text, "a" + text)


@given(st.text(max_size=20), st.text(max_size=20), st.none() | st.text(max_size=20))
def test_nobody_who_is_not_named_is_allowed_anything(
    identity: str, method: str, tenant_id: str | None
) -> None:
    """Whatever is asked for."""
    if identity != "spiffe://d/edge":
        with pytest.raises(PermissionMissing):
            POLICY.check(Caller(identity), method, tenant_id)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "rule"),
        (b"rule = []", "rule"),
        (b"[[rule]]\nname = 'a'", "methods"),
        (b"[[rule]]\nname = 'a'\nmethods = ['*']\ntenants = ['*']", "neither identities nor claims"),
        (b"[[rule]]\nname = 'a'\nidentities = []\nmethods = ['*']\ntenants = ['*']", "identities"),
        (b"[[rule]]\nname = 'a'\nidentities = ['']\nmethods = ['*']\ntenants = ['*']", "identities"),
        (b"[[rule]]\nname = 'a'\nclaims = {}\nmethods = ['*']\ntenants = ['*']", "claims"),
        (
            b"[[rule]]\nname = 'a'\nclaims = {g = ['x']}\nmethods = ['*']\ntenants = ['*']\nacts_for = ['*']",
            "acts_for does nothing for tokens",
        ),
        (
            b"[[rule]]\nname='a'\nidentities=['token:a*']\nmethods=['*']\ntenants=['*']\nacts_for=['*']",
            "acts_for does nothing for tokens",
        ),
        (
            b"[[rule]]\nname = 'a'\nidentities = ['x']\nmethods = ['*']\ntenants = ['*']\nacts_for = []",
            "acts_for",
        ),
        (b"[[rule]]\nname = 'a'\nclaims = { g = [] }\nmethods = ['*']\ntenants = ['*']", "claims"),
        (b"[[rule]]\nname = 'a'\nidentities = ['*']\nmethods = ['*']\ntenants = []", "tenants"),
        (b"[[rule]]\nname = 'a'\nidentities = ['*']\nmethods = ['GetTenant']\ntenants = ['*']", "slash"),
        (b"[[rule]]\nname = 'a'\nidentity = ['*']\nmethods = ['*']\ntenants = ['*']", "identity"),
        (b"[[rule]]\nname = 'a'\nidentities = '*'\nmethods = ['*']\ntenants = ['*']", "array"),
        (2 * b"[[rule]]\nname = 'a'\nidentities = ['*']\nmethods = ['*']\ntenants = ['*']\n", "two rules"),
        (b"\xff", "utf-8|decode|invalid"),
    ],
)
def test_policy_that_makes_no_sense_is_refused(text: bytes, problem: str) -> None:
    """With a sentence for the operator: a rule that is misread would allow or refuse the wrong thing."""
    with pytest.raises(ValueError, match=f"(?i){problem}"):
        Policy(text)


def test_methods_that_do_not_exist_are_found() -> None:
    """A misspelt method allows nothing, which its author should know."""
    assert unmatched_methods(POLICY, ["p.EventService/Ingested", "p.W/GetX"]) == {
        "edge": ("p.EventService/Ingest",),
        "operators": ("p.*/List*",),
    }


PLACES = [None, "*", "casino-1", "bingo", "elsewhere"]


@given(
    caller=st.sampled_from([EDGE, OPERATOR, ADA, Caller("spiffe://d/other"), Caller("token:bob")]),
    needed=st.dictionaries(
        st.sampled_from(["p.EventService/Ingest", "p.A/GetB", "p.A/ListB", "p.A/SetB", "q.A/GetB"]),
        st.sampled_from(PLACES),
    ),
    person=st.sampled_from(["", "bob", "eve"]),
)
def test_what_is_told_is_what_is_checked(caller: Caller, needed: dict[str, str | None], person: str) -> None:
    """Method by method, in their order, for a caller itself or for a person for whom it acts."""
    policy = Policy(
        (POLICY_TEXT + b'[[rule]]\nname = "acting"\nidentities = ["spiffe://d/*"]\n')
        + b'methods = ["p.*/*"]\ntenants = ["bingo"]\nacts_for = ["bob"]\n'
    )

    def passes(method: str, tenant_id: str | None) -> bool:
        try:
            policy.check(caller, method, tenant_id)
            if person:
                policy.check_acting(caller, method, tenant_id, person)
        except (PermissionMissing, PersonNotPermitted):
            return False
        return True

    expected = tuple(method for method, tenant_id in needed.items() if passes(method, tenant_id))
    assert policy.allowed(caller, needed, person=person) == expected

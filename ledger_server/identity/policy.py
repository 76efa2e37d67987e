"""Owns the policy: who may call which methods for which tenants, and how much.

What no rule allows is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from ledger_server.domain.errors import PermissionMissing, PersonNotPermitted
from ledger_server.identity.caller import TOKEN_PREFIX, Caller
from ledger_server.identity.patterns import EVERYTHING, matches
from ledger_server.identity.quotas import Kind, Quota

_Text = Annotated[str, Meta(min_length=1, max_length=255)]
_MOST: Final = 2**53
_Texts = Annotated[tuple[_Text, ...], Meta(min_length=1)]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may call which methods for which tenants; each is a pattern (`matches`)."""

    name: _Text
    methods: _Texts
    tenants: _Texts
    identities: Annotated[tuple[_Text, ...], Meta(min_length=1)] | None = None
    claims: Annotated[dict[_Text, _Texts], Meta(min_length=1)] | None = None
    acts_for: Annotated[tuple[_Text, ...], Meta(min_length=1)] | None = None
    """For which persons a service may do it: subjects of tokens; None: for nobody."""

    def is_for(self, caller: Caller) -> bool:
        """Whether the rule is for this caller: each of identities and claims that it names must fit."""
        if self.identities is not None and not _any(self.identities, caller.identity):
            return False
        told = dict(caller.claims)
        return all(
            any(_any(wanted, value) for value in told.get(name, ()))
            for name, wanted in (self.claims or {}).items()
        )

    def allows(self, caller: Caller, method: str, tenant_id: str | None) -> bool:
        """Whether the rule allows a call; see `Policy.check`."""
        return self.is_for(caller) and self.covers(method, tenant_id)

    def lets_act_for(self, person: str) -> bool:
        """Whether the rule lets its callers act for a person."""
        return self.acts_for is not None and _any(self.acts_for, person)

    def covers(self, method: str, tenant_id: str | None) -> bool:
        """Whether the rule is for a method and a tenant, whoever calls."""
        return _any(self.methods, method) and self._has(tenant_id)

    def _has(self, tenant_id: str | None) -> bool:
        if tenant_id is None:
            return True
        if tenant_id == EVERYTHING:
            return EVERYTHING in self.tenants
        return _any(self.tenants, tenant_id)


class QuotaRule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A quota for each of some tenants, or for each of some callers; what it leaves out the settings say."""

    name: _Text
    tenants: Annotated[tuple[_Text, ...], Meta(min_length=1)] | None = None
    identities: Annotated[tuple[_Text, ...], Meta(min_length=1)] | None = None
    calls_per_second: Annotated[float, Meta(gt=0, lt=_MOST)] | None = None
    calls_under_way: Annotated[int, Meta(ge=1, lt=_MOST)] | None = None
    bytes_under_way: Annotated[int, Meta(ge=1, lt=_MOST)] | None = None

    def is_for(self, kind: Kind, name: str) -> bool:
        """Whether it is for a tenant, or a caller, of that name."""
        patterns = self.tenants if kind == "tenant" else self.identities
        return patterns is not None and _any(patterns, name)


class _File(Struct, forbid_unknown_fields=True):
    rule: Annotated[list[Rule], Meta(min_length=1)]
    quota: list[QuotaRule] = []


class Policy:
    """All rules."""

    def __init__(self, text: bytes) -> None:
        """Read a policy.

        Raises:
            ValueError: it says something that has no meaning.
        """
        try:
            file = msgspec.toml.decode(text, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from None
        self.rules = tuple(file.rule)
        self._quotas = tuple(file.quota)
        for quota in self._quotas:
            if (quota.tenants is None) == (quota.identities is None):
                raise ValueError(f"quota {quota.name!r} needs either tenants or identities")
        names = [rule.name for rule in self.rules]
        for rule in self.rules:
            if names.count(rule.name) > 1:
                raise ValueError(f"two rules have the name {rule.name!r}")
            if rule.identities is None and rule.claims is None:
                raise ValueError(f"rule {rule.name!r} has neither identities nor claims")
            if rule.acts_for is not None and (rule.claims is not None or only_tokens(rule)):
                raise ValueError(
                    f"rule {rule.name!r}: acts_for does nothing for tokens, whose callers act for themselves"
                )
            for pattern in rule.methods:
                if pattern != EVERYTHING and "/" not in pattern and "**" not in pattern:
                    raise ValueError(f"rule {rule.name!r}: {pattern!r} has no method behind a slash")
        self._allowed = lru_cache(maxsize=8_192)(self._find)
        self._lets_act = lru_cache(maxsize=8_192)(self._find_acting)
        self.quota = lru_cache(maxsize=8_192)(self._quota)

    def check(self, caller: Caller, method: str, tenant_id: str | None) -> None:
        """Check that a rule allows a call.

        Args:
            method: as `defter.ledger.v1.TenantService/GetTenant`.
            tenant_id: of the request; `*` for all tenants together; None where the method is of no tenant.
        Raises:
            PermissionMissing: none does.
        """
        if not self.allows(caller, method, tenant_id):
            raise PermissionMissing(method=method, tenant_id=tenant_id or "", identity=caller.identity)

    def allows(self, caller: Caller, method: str, tenant_id: str | None) -> bool:
        """Whether a rule allows a call, as `check` says it."""
        return self._allowed(caller, method, tenant_id)

    def check_acting(self, caller: Caller, method: str, tenant_id: str | None, person: str) -> None:
        """Check that one and the same rule allows a call and lets its caller act for a person.

        Args:
            method, tenant_id: as in `check`.
            person: the subject of the person's tokens.
        Raises:
            PersonNotPermitted: none does.
        """
        if not self._lets_act(caller, method, tenant_id, person):
            raise PersonNotPermitted(
                method=method, tenant_id=tenant_id or "", identity=caller.identity, person=person
            )

    def sees(self, caller: Caller, method: str) -> Callable[[str], bool]:
        """Return a function that tells whether a list may show a tenant."""
        return lambda tenant_id: self._allowed(caller, method, tenant_id)

    def allowed(
        self, caller: Caller, needed: Mapping[str, str | None], *, person: str = ""
    ) -> tuple[str, ...]:
        """Return those of some methods that a rule allows, in their order.

        Nothing of it is remembered: whoever asks about many tenants leaves what calls need where it is.

        Args:
            needed: the tenant of each method, as in `check`.
            person: for whom a service would act; one and the same rule must let it. Empty: for nobody.
        """
        rules = [
            rule for rule in self.rules if rule.is_for(caller) and (not person or rule.lets_act_for(person))
        ]
        return tuple(
            method
            for method, tenant_id in needed.items()
            if any(rule.covers(method, tenant_id) for rule in rules)
        )

    def rules_for(self, caller: Caller, method: str, tenant_id: str | None) -> tuple[Rule, ...]:
        """Return the rules that allow a call."""
        return tuple(rule for rule in self.rules if rule.allows(caller, method, tenant_id))

    def _quota(self, kind: Kind, name: str, usual: Quota) -> Quota:
        """Return the quota of a tenant or a caller; where several name a number, the smallest counts.

        Args:
            usual: has the numbers that no quota of the file names.
        """
        fitting = [quota for quota in self._quotas if quota.is_for(kind, name)]
        rates = [quota.calls_per_second for quota in fitting if quota.calls_per_second is not None]
        calls = [quota.calls_under_way for quota in fitting if quota.calls_under_way is not None]
        sizes = [quota.bytes_under_way for quota in fitting if quota.bytes_under_way is not None]
        return Quota(
            calls_per_second=min(rates, default=usual.calls_per_second),
            calls_under_way=min(calls, default=usual.calls_under_way),
            bytes_under_way=min(sizes, default=usual.bytes_under_way),
        )

    def _find(self, caller: Caller, method: str, tenant_id: str | None) -> bool:
        return bool(self.rules_for(caller, method, tenant_id))

    def _find_acting(self, caller: Caller, method: str, tenant_id: str | None, person: str) -> bool:
        return any(rule.lets_act_for(person) for rule in self.rules_for(caller, method, tenant_id))


def unmatched_methods(policy: Policy, methods: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the patterns of each rule that stand for no method at all, which are misspelt."""
    known = tuple(methods)
    found = {
        rule.name: tuple(
            pattern for pattern in rule.methods if not any(matches(pattern, method) for method in known)
        )
        for rule in policy.rules
    }
    return {name: patterns for name, patterns in found.items() if patterns}


def only_tokens(rule: Rule) -> bool:
    """Whether all identities of a rule are of tokens."""
    return all(pattern.startswith(TOKEN_PREFIX) for pattern in rule.identities or ())


def _any(patterns: Iterable[str], text: str) -> bool:
    return any(matches(pattern, text) for pattern in patterns)

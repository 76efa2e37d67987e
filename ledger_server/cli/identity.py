"""Owns the commands about identity and permission, which need no server: `certs`, `token` and `policy`."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ledger_server.cli.certificate_folder import (
    AUTHORITY,
    DOMAIN,
    SERVER,
    SERVICES,
    SIGNING_KEY,
    TOKEN_KEYS,
    identity_of,
    make_certificates,
    write_file,
)
from ledger_server.identity.caller import TOKEN_PREFIX, Caller
from ledger_server.identity.issuing import new_signing_key, sign_token, with_public_part
from ledger_server.identity.patterns import EVERYTHING, matches
from ledger_server.identity.policy import Policy, Rule, only_tokens, unmatched_methods
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.person_field import person_field
from ledger_server.rpc.tenant_scope import needed_tenant

certs = typer.Typer(no_args_is_help=True, help="Certificates for development.")
token = typer.Typer(no_args_is_help=True, help="Tokens, where there is no identity provider.")
policy = typer.Typer(no_args_is_help=True, help="What a policy says.")
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)
app.add_typer(certs, name="certs")
app.add_typer(token, name="token")
app.add_typer(policy, name="policy")

_Claims = Annotated[list[str] | None, typer.Option("--claim", help="NAME=VALUE; several are allowed")]
_KeyFile = Annotated[Path, typer.Option("--key", help="the private signing key")]


@certs.command()
def dev(
    folder: Annotated[Path, typer.Argument(help="where they are written; must not have any yet")],
    domain: Annotated[str, typer.Option(help="of the identities: spiffe://DOMAIN/edge")] = DOMAIN,
    host: Annotated[list[str] | None, typer.Option(help="name or address of the server; repeatable")] = None,
    days: Annotated[int, typer.Option(min=1, max=825, help="how long they count")] = 30,
) -> None:
    """Make an authority, certificates for a server, its callers and an operator, and keys for tokens.

    The authority's own key is not kept: who finds the folder can't make further identities.
    """
    if any(folder.glob("*")):
        _refuse(f"{folder} is not empty")
    with _refusing(folder):
        make_certificates(
            folder,
            domain=domain,
            hosts=[*(host or ()), "localhost", "127.0.0.1", "::1"],
            now=datetime.now(UTC),
            life=timedelta(days=days),
        )
    for name in SERVICES:
        typer.echo(f"{folder / name}.pem, .key: {identity_of(name, domain)}")
    typer.echo(f"{folder / SERVER}.pem, .key: the server; {folder / AUTHORITY}: the authority of all")
    typer.echo(f"{folder / SIGNING_KEY}: signs tokens; {folder / TOKEN_KEYS}: the server's key set")


@token.command()
def key(
    file: Annotated[Path, typer.Argument(help="where the private key is written; must not exist")],
    key_id: Annotated[str, typer.Option("--id", help="its `kid`, such as the month")],
    keys: Annotated[Path, typer.Option(help="the server's key set, to which its public part is added")],
) -> None:
    """Make a signing key. An older one is removed from the key set by hand, once its tokens have expired."""
    if file.exists():
        _refuse(f"{file} exists")
    with _refusing(keys):
        signing_key = new_signing_key(key_id)
        key_set = with_public_part(keys.read_bytes() if keys.exists() else None, signing_key)
        write_file(file, signing_key, secret=True)
        write_file(keys, key_set)
    typer.echo(f"{file} signs tokens as {key_id!r}; {keys} has its public part")


@token.command()
def issue(  # noqa: PLR0917  # typer passes options by name
    subject: Annotated[str, typer.Argument(help="who it is for; the identity is `token:` and this")],
    signing_key: _KeyFile,
    issuer: Annotated[str, typer.Option(envvar="DEFTER_TOKEN_ISSUER", help="its `iss`")],
    audience: Annotated[str, typer.Option(envvar="DEFTER_TOKEN_AUDIENCE", help="its `aud`")],
    minutes: Annotated[int, typer.Option(min=1, max=1_440, help="how long it counts")] = 60,
    claim: _Claims = None,
) -> None:
    """Sign a token and print it: `grpcurl -H "authorization: Bearer $(defter token issue ...)"`."""
    with _refusing(signing_key):
        text = sign_token(
            signing_key.read_bytes(),
            subject=subject,
            issuer=issuer,
            audience=audience,
            claims=_claims(claim),
            now=datetime.now(UTC),
            life=timedelta(minutes=minutes),
        )
    typer.echo(text)


@policy.command()
def check(
    file: Annotated[Path, typer.Argument(envvar="DEFTER_POLICY_FILE", help="the policy")],
    who: Annotated[str | None, typer.Option(help="spiffe://..., a DNS name, or token:SUBJECT")] = None,
    method: Annotated[str | None, typer.Option(help="package.Service/Method, or a pattern of them")] = None,
    tenant: Annotated[str | None, typer.Option(help="a tenant; `*`: all of them together")] = None,
    claim: _Claims = None,
) -> None:
    """Explain a policy: who may do METHOD? what may WHO do? may WHO do METHOD for TENANT?

    Exit codes: 0 somebody may; 1 nobody may, or a pattern of the policy is for no method; 2 it is no policy.
    """
    with _refusing(file):
        rules = Policy(file.read_bytes())
        claims = _claims(claim)
    if claims and (who is None or not who.startswith(TOKEN_PREFIX)):
        _refuse(f"--claim: only a token has claims: --who {TOKEN_PREFIX}SUBJECT")
    known = every_method()
    asked = [name for name in known if method is None or matches(method, name)]
    if not asked:
        _refuse(f"--method: {method} is no method")
    caller = None if who is None else Caller(who, tuple(sorted(claims.items())))
    unmatched = unmatched_methods(rules, known)
    for name, patterns in unmatched.items():
        typer.echo(f"rule {name!r}: no method is like {', '.join(patterns)}", err=True)
    answered = [line for name in asked for line in _answers(rules, caller, name, tenant)]
    typer.echo("\n".join(answered) if answered else "nobody may" if caller is None else f"{who} may not")
    raise typer.Exit(int(not answered or bool(unmatched)))


def _answers(rules: Policy, caller: Caller | None, method: str, tenant: str | None) -> Iterator[str]:
    """Yield a line for each rule that allows a method; without a tenant asked for, whatever its tenants."""
    needed = needed_tenant(method, tenant)
    for rule in rules.rules:
        if caller is not None and not rule.is_for(caller):
            continue
        if rule.covers(method, needed):
            named = _named(rule) if caller is None else caller.identity
            typed = EVERYTHING if needed == EVERYTHING else tenant or ", ".join(rule.tenants)
            yield f"{method}  {typed}  {named}  (rule {rule.name!r}{_persons(rule, method)})"


def _persons(rule: Rule, method: str) -> str:
    """Return for whom services may do it; tokens act for themselves."""
    if rule.acts_for is not None:
        return f"; a service acts for {', '.join(rule.acts_for)}"
    of_tokens = rule.claims is not None or only_tokens(rule)
    names_person = bool(person_field(every_method()[method]))
    return "; a service acts for nobody, and this names a person" if names_person and not of_tokens else ""


def _named(rule: Rule) -> str:
    claims = [f"{name}={'|'.join(values)}" for name, values in (rule.claims or {}).items()]
    return " with ".join(filter(None, (", ".join(rule.identities or ()), ", ".join(claims))))


def _claims(given: list[str] | None) -> dict[str, tuple[str, ...]]:
    claims: dict[str, tuple[str, ...]] = {}
    for each in given or ():
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise ValueError(f"--claim: {each} is not NAME=VALUE")
        claims[name] = (*claims.get(name, ()), value)
    return claims


@contextlib.contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Turn an error about a file into a line and exit code 2."""
    try:
        yield
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        _refuse(f"{file}: {error}")


def _refuse(problem: str) -> None:
    typer.echo(problem, err=True)
    raise typer.Exit(2)

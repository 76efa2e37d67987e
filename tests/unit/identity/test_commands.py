"""The commands make what a server takes, and explain a policy, without a server."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ledger_server.cli.certificate_folder import SERVICES
from ledger_server.cli.verbs import app
from ledger_server.identity.certificates import Authority
from ledger_server.identity.policy import Policy, unmatched_methods
from ledger_server.identity.tokens import Expected, TokenKeys
from ledger_server.rpc.methods import every_method
from tests.unit.operator.test_documentation import OPERATIONS

EXAMPLE = OPERATIONS / "policy.example.toml"
GAME = "spiffe://defter.example/game"
INGEST = "defter.payments.v1.ProviderEventService/IngestProviderEvents"


def run(*words: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def issue(folder: Path, *words: object) -> Result:
    """Sign a token with the key of a folder."""
    told = ("--issuer", "i", "--audience", "a")
    return run("token", "issue", "ada", "--key", folder / "token.key", *told, *words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with certificates."""
    made = run("certs", "dev", tmp_path / "certs", "--domain", "casino.example")
    assert made.exit_code == 0, made.output
    return tmp_path / "certs"


@pytest.mark.parametrize("name", SERVICES)
def test_certificates_prove_the_identities_that_were_told(folder: Path, name: str) -> None:
    """By the rules that a server goes by."""
    authority = Authority((folder / "authority.pem").read_bytes())
    caller, _ = authority.caller((folder / f"{name}.pem").read_bytes(), datetime.now(UTC))
    assert caller.identity == f"spiffe://casino.example/{name}"


def test_keys_are_for_their_owner_alone_and_the_authority_has_none(folder: Path) -> None:
    """So no further identities can be made of the folder."""
    for file in folder.iterdir():
        others = stat.S_IMODE(file.stat().st_mode) & 0o077
        assert bool(others) == (file.suffix != ".key"), file
    assert not (folder / "authority.key").exists()


def test_certificates_are_not_written_over_others(folder: Path) -> None:
    """A server may be using them."""
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert run("certs", "dev", folder).exit_code == 2
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_token_that_was_issued_is_taken(folder: Path) -> None:
    """With its claims; also by a key that was added later."""
    added = run("token", "key", folder / "second.key", "--id", "second", "--keys", folder / "token-keys.json")
    assert added.exit_code == 0, added.output
    keys = TokenKeys((folder / "token-keys.json").read_bytes())
    for name in ("token.key", "second.key"):
        (folder / name).replace(folder / "token.key")
        issued = issue(folder, "--claim", "groups=a", "--claim", "groups=b")
        token = keys.token(f"Bearer {issued.stdout.strip()}", Expected(issuer="i", audience="a"))
        token.check_time(datetime.now(UTC).timestamp())
        assert token.caller.identity == "token:ada"
        assert dict(token.caller.claims)["groups"] == ("a", "b")


@pytest.mark.parametrize("claim", ["groups", "=a", "sub=root", "exp=1", "aud=x", "nbf=0"])
def test_token_with_a_claim_that_is_none_is_refused(folder: Path, claim: str) -> None:
    """Nor may one of a token's own claims be said twice."""
    assert issue(folder, "--claim", claim).exit_code == 2


def test_key_is_not_made_over_another(folder: Path) -> None:
    """Neither its file nor its id."""
    for file, key_id in (("token.key", "new"), ("new.key", "development")):
        made = run("token", "key", folder / file, "--id", key_id, "--keys", folder / "token-keys.json")
        assert made.exit_code == 2, file
    assert not (folder / "new.key").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--who", "spiffe://defter.example/edge"), 0, [INGEST]),
        (("--who", "spiffe://defter.example/edge", "--method", "**/*Withdrawal"), 1, ["may not"]),
        (("--who", "spiffe://defter.example/stranger"), 1, ["may not"]),
        (("--method", INGEST), 0, ["spiffe://defter.example/edge"]),
        (("--method", "defter.payments.v1.OutboundService/StopOutbound"), 0, ["groups=on-duty", "*"]),
        (("--method", "defter.payments.v1.WithdrawalService/MarkWithdrawalPaid"), 1, ["nobody may"]),
        (("--who", "token:ada", "--method", "**/StopOutbound"), 1, ["may not"]),
        # What `defter head publish` calls, and what `defter head check` calls beside it.
        (("--who", "spiffe://defter.example/scheduler", "--method", "**/GetTenant"), 0, ["scheduler"]),
        (("--who", "spiffe://defter.example/scheduler", "--method", "**/ListTenants"), 0, ["scheduler"]),
        (("--who", "spiffe://defter.example/scheduler", "--method", "**/ListJournal"), 1, ["may not"]),
        (
            ("--who", "token:ada", "--claim", "groups=auditors", "--method", "**/ListJournal"),
            0,
            ["auditors"],
        ),
        (("--who", "token:ada", "--claim", "groups=auditors", "--method", "**/GetTenant"), 0, ["auditors"]),
        (("--who", "token:ada", "--claim", "groups=on-duty", "--method", "**/StopOutbound"), 0, ["on duty"]),
        (
            ("--who", "spiffe://defter.example/game", "--method", "**/PlaceHold", "--tenant", "casino-2"),
            0,
            ["game"],
        ),
        (
            ("--who", "spiffe://defter.example/game", "--method", "**/PlaceHold", "--tenant", "poker"),
            1,
            ["may not"],
        ),
        (("--method", "**/ApproveWithdrawal"), 0, ["(rule 'console acts for people'; a service acts for *)"]),
        (("--method", "**/ApproveWithdrawal"), 0, ["groups=payment-operators  (rule 'payment operators')"]),
        (("--method", "**/Nothing"), 2, ["is no method"]),
        (("--who", "spiffe://defter.example/edge", "--claim", "a=b"), 2, ["--claim"]),
    ],
)
def test_policy_is_explained(words: tuple[str, ...], code: int, said: list[str]) -> None:
    """Who may, what may, and whether."""
    answered = run("policy", "check", EXAMPLE, *words)
    assert answered.exit_code == code, answered.output
    for text in said:
        assert text in answered.output


def test_service_that_may_name_nobody_is_told(tmp_path: Path) -> None:
    """Its rule allows a call that it can't make."""
    file = tmp_path / "policy.toml"
    file.write_text(EXAMPLE.read_text().replace('acts_for = ["*"]\n', ""))
    answered = run("policy", "check", file, "--method", "**/RejectWithdrawal")
    assert (
        "(rule 'console acts for people'; a service acts for nobody, and this names a person)"
        in answered.output
    )
    assert "(rule 'payment operators')" in answered.output


def test_policy_with_a_misspelt_method_is_told(tmp_path: Path) -> None:
    """It allows nothing, which its author should know."""
    file = tmp_path / "policy.toml"
    file.write_text(EXAMPLE.read_text().replace("IngestProviderEvents", "IngestProviderEvent"))
    answered = run("policy", "check", file)
    assert answered.exit_code == 1
    assert "IngestProviderEvent" in answered.output


def test_policy_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the file's name and the problem."""
    (tmp_path / "policy.toml").write_text("[[rule]]\n")
    answered = run("policy", "check", tmp_path / "policy.toml")
    assert answered.exit_code == 2
    assert "policy.toml" in answered.output
    assert run("policy", "check", tmp_path / "nothing").exit_code == 2


def test_roles_that_are_shipped_name_methods_that_exist() -> None:
    """And the edge has one method alone."""
    policy = Policy(EXAMPLE.read_bytes())
    assert not unmatched_methods(policy, every_method())
    assert next(rule for rule in policy.rules if rule.name == "edge").methods == (INGEST,)

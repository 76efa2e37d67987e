"""One table for all schemes: what can't be read has an id of its own, says why, and can be read again."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent
from hypothesis import given
from hypothesis import strategies as st

from tests.edge.harness import PROVIDER, TENANT
from webhook_edge.scheme import Endpoint
from webhook_edge.schemes import scheme_named

UNSPECIFIED = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
TYPE = payment_pb2.UNREAD_REASON_TYPE
FIELD = payment_pb2.UNREAD_REASON_FIELD
BODY = payment_pb2.UNREAD_REASON_BODY


@dataclass(frozen=True)
class Kind:
    """One kind of delivery of a scheme.

    Attributes:
        content: of an event that moves money and can be read.
        event_id: the id that it has then.
        type_path: where its type stands.
        broken: places, and what makes the event unreadable there; its id stays readable.
        money: types that nobody knows, of families that move money.
        harmless: types that nobody knows, of others.
        quiet: types that are known and move nothing.
    """

    scheme: str
    content: Mapping[str, Any]
    event_id: str
    type_path: tuple[str | int, ...]
    broken: list[tuple[tuple[str | int, ...], Any]]
    money: list[str]
    harmless: list[str]
    quiet: list[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def endpoint(self, **options: str) -> Endpoint:
        """Return an endpoint of the scheme."""
        return Endpoint(
            name="one",
            tenant_id=TENANT,
            provider=PROVIDER,
            scheme=self.scheme,
            secrets=(),
            options={**self.options, **options},
        )

    def read(self, content: object, **options: str) -> list[ProviderEvent]:
        """Read a verified delivery of bytes, or of what is to be JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return scheme_named(self.scheme).events(body, self.headers, self.endpoint(**options))

    def again(self, stored: ProviderEvent, **options: str) -> list[ProviderEvent]:
        """Read a stored event again."""
        return scheme_named(self.scheme).read_again(stored, self.endpoint(**options))

    def changed(self, path: tuple[str | int, ...], value: object) -> dict[str, Any]:
        """Return the content with another value at a place."""
        content = copy.deepcopy(dict(self.content))
        place: Any = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return content

    def typed(self, name: str) -> dict[str, Any]:
        """Return the content with another type."""
        return self.changed(self.type_path, name)


def at(path: tuple[str | int, ...], *wrong: object) -> list[tuple[tuple[str | int, ...], object]]:
    """Return a place with each of several things that are wrong there."""
    return [(path, each) for each in wrong]


_ITEM = ("notificationItems", 0, "NotificationRequestItem")
KINDS = {
    "standard": Kind(
        scheme="standard",
        content={
            "type": "payment.captured",
            "created_at": "2030-01-01T12:00:00Z",
            "data": {"payment_id": "p1", "reference": "dep_1", "amount_minor": 1000, "currency": "EUR"},
        },
        event_id="msg_1",
        headers={"webhook-id": "msg_1"},
        type_path=("type",),
        broken=[
            *at(("data", "amount_minor"), *("1000", 1000.0, True, -1, 2**63, [], {})),
            *at(("data", "currency"), *(978, "€", "E" * 11, "", None)),
            *((("data", name), 7) for name in ("payment_id", "reference", "object_id", "stage", "final")),
            *at(("created_at",), *(1893499199, "2030-01-01T12:00:00", "soon")),
            *at(("data",), *(None, [], "x")),
        ],
        money=[
            *("payment.danced", "refund.reversed", "payout.celebrated", "dispute.moved", "fee.returned"),
            *("Payment.Captured", "PAYOUT.PAID", " payment.captured", "payment.captured "),
        ],
        harmless=["customer.created", "paid"],
        quiet=[],
    ),
    "stripe": Kind(
        scheme="stripe",
        content={
            "id": "evt_1",
            "object": "event",
            "type": "payment_intent.succeeded",
            "created": 1_893_499_200,
            "livemode": False,
            "data": {"object": {"id": "pi_1", "amount_received": 1000, "currency": "eur", "metadata": {}}},
        },
        event_id="evt_1",
        type_path=("type",),
        broken=[
            *at(("data", "object", "amount_received"), *("1000", 1.0, None, -1, 2**63)),
            *at(("data", "object", "currency"), *(None, 978, "€")),
            *at(("data", "object", "id"), *(None, 7, "")),
            *at(("created",), *(None, "soon", -1)),
            *at(("data",), *(None, [], "x")),
        ],
        money=["refund.reversed", "payout.celebrated", "charge.danced", "transfer.paid", "Charge.Captured"],
        harmless=["climate.order.created", "v1.billing.meter.error_report_triggered"],
        quiet=[
            *("payment_intent.created", "payment_intent.processing", "payment_intent.requires_action"),
            *("checkout.session.completed", "checkout.session.async_payment_succeeded", "customer.created"),
            *("invoice.paid", "setup_intent.succeeded", "payment_method.attached", "product.created"),
            *("account.updated", "balance.available", "radar.early_fraud_warning.created"),
        ],
    ),
    "adyen": Kind(
        scheme="adyen",
        content={
            "live": "false",
            "notificationItems": [
                {
                    "NotificationRequestItem": {
                        "amount": {"currency": "EUR", "value": 1000},
                        "eventCode": "REFUND",
                        "eventDate": "2030-01-01T12:00:00+00:00",
                        "merchantAccountCode": "Casino",
                        "merchantReference": "dep_1",
                        "originalReference": "PAY1",
                        "pspReference": "PSP1",
                        "success": "true",
                    }
                }
            ],
        },
        event_id="Casino:REFUND:PSP1:true",
        type_path=(*_ITEM, "eventCode"),
        broken=[
            *at((*_ITEM, "amount", "value"), *("ten", 1.5, None, -1, 2**63)),
            *at((*_ITEM, "amount", "currency"), *(None, 978)),
            *at((*_ITEM, "eventDate"), *(None, 7, "2030-01-01T12:00:00")),
            ((*_ITEM, "amount"), None),
        ],
        money=["CAPTURE_DANCED", "REFUND_FORGOTTEN", "CHARGEBACK_AGAIN", "PAYOUT_RETURNED"],
        harmless=["AUTHENTICATION", "DONATION"],
        quiet=["REPORT_AVAILABLE", "PENDING", "RECURRING_CONTRACT", "NOTIFICATION_OF_FRAUD"],
    ),
    "adyen platform": Kind(
        scheme="adyen",
        content={
            "type": "balancePlatform.transfer.updated",
            "environment": "test",
            "timestamp": "2030-01-01T12:00:00Z",
            "data": {
                "id": "TR1",
                "sequenceNumber": 3,
                "status": "booked",
                "direction": "outgoing",
                "type": "bankTransfer",
                "reference": "wd_1",
                "amount": {"currency": "EUR", "value": 1000},
                "updatedAt": "2030-01-01T12:00:00Z",
            },
        },
        event_id="TR1:3",
        headers={"hmacsignature": "x", "protocol": "HmacSHA256"},
        type_path=("type",),
        broken=[
            *at(("data", "amount", "value"), *("1000", 1.5, None, -1, 2**63)),
            *at(("data", "amount"), *(None, [], 7)),
            *at(("data", "updatedAt"), *(7, "soon")),
            (("data", "status"), None),
        ],
        money=["balancePlatform.transfer.danced"],
        harmless=["balancePlatform.cardOrder.created", "acs.authenticated"],
        quiet=["balancePlatform.accountHolder.updated", "balancePlatform.report.created"],
    ),
}
BROKEN = [(name, path, wrong) for name, kind in KINDS.items() for path, wrong in kind.broken]
UNKNOWN = [
    (name, type_, moves)
    for name, kind in KINDS.items()
    for moves, types in ((True, kind.money), (False, kind.harmless))
    for type_ in types
]

# What tells of money and not of whose: each way of leaving out a name, by each type that needs one.
NO_NAMES: list[Any] = [None, "", {}]
NAMELESS = [
    *(
        ("standard", type_, {"payment_id": ref, "reference": reference})
        for type_ in ("payment.captured", "refund.succeeded", "dispute.funds_withdrawn", "payout.paid")
        for ref in NO_NAMES[:2]
        for reference in (*NO_NAMES[:2], "order 7")
    ),
    *(
        ("stripe", type_, {"payment_intent": intent, "charge": charge})
        for type_ in ("refund.created", "refund.updated", "charge.dispute.funds_withdrawn")
        for intent in NO_NAMES
        for charge in NO_NAMES
    ),
]


def check_unread(event: ProviderEvent, kind: Kind, body: bytes) -> None:
    """Check what holds for everything that can't be read."""
    assert (event.type, event.payload) == (UNSPECIFIED, body)
    assert event.unread_reason
    assert event.reason
    assert event.event_id != kind.event_id
    assert 0 < len(event.event_id) <= 255
    assert event.event_id.isprintable()
    assert event.HasField("occur_time")


@pytest.mark.parametrize(("name", "path", "wrong"), BROKEN, ids=str)
def test_read_broken_event_leaves_its_id_to_the_mended_one(
    name: str, path: tuple[str | int, ...], wrong: object
) -> None:
    """Its own id follows from its bytes, and the mended delivery has the plain one."""
    kind = KINDS[name]
    content = kind.changed(path, wrong)
    body = json.dumps(content).encode()

    [event], [same], [other] = kind.read(body), kind.read(body), kind.read(body + b" ")
    [mended] = kind.read(kind.content)

    check_unread(event, kind, body)
    assert event == same
    assert len({event.event_id, other.event_id, mended.event_id}) == 3
    assert (event.unread_reason, event.moves_money) == (FIELD, True)
    assert (mended.event_id, mended.unread_reason) == (kind.event_id, 0)
    assert mended.type != UNSPECIFIED


@pytest.mark.parametrize("name", [name for name in KINDS if name != "adyen platform"])
def test_read_broken_event_tells_which_id_it_will_have(name: str) -> None:
    """So that the mended delivery resolves what was found."""
    kind = KINDS[name]

    ids = {kind.read(kind.changed(path, wrong))[0].read_event_id for path, wrong in kind.broken}

    assert ids == {kind.event_id}


@pytest.mark.parametrize(("name", "type_", "names"), NAMELESS, ids=str)
def test_read_event_that_names_no_payment_is_unread(name: str, type_: str, names: Mapping[str, Any]) -> None:
    """Nothing that is learned later could tell whose it is, and the sender's mended delivery has its id."""
    kind = KINDS[name]
    content = kind.typed(type_)
    within = content["data"] if name == "standard" else content["data"]["object"]
    within.update({"id": "obj_1", "object_id": "obj_1", "amount": 1000, "status": "succeeded", **names})
    body = json.dumps(content).encode()

    [event] = kind.read(body)

    check_unread(event, kind, body)
    assert (event.unread_reason, event.moves_money, event.read_event_id) == (FIELD, True, kind.event_id)


@pytest.mark.parametrize(("name", "type_", "moves"), UNKNOWN, ids=str)
def test_read_unknown_type_has_an_id_of_its_own(name: str, type_: str, moves: bool) -> None:
    """An upgrade may know it, and then a delivery of it is no duplicate."""
    kind = KINDS[name]
    body = json.dumps(kind.typed(type_)).encode()

    [event] = kind.read(body)

    check_unread(event, kind, body)
    assert (event.unread_reason, event.moves_money, event.provider_type) == (TYPE, moves, type_)


@pytest.mark.parametrize(
    ("name", "type_"), [(name, type_) for name, kind in KINDS.items() for type_ in kind.quiet], ids=str
)
def test_read_known_type_that_moves_nothing_is_read(name: str, type_: str) -> None:
    """What says nothing of money is no complaint."""
    kind = KINDS[name]

    [event] = kind.read(kind.typed(type_))

    assert (event.type, event.unread_reason) == (UNSPECIFIED, 0)


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"null", b"{}", b'{"data":{}}', b"[" * 100_000])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "adyen"])
def test_read_body_without_type_may_have_moved_money(name: str, body: bytes) -> None:
    """Of what nobody can tell a person hears."""
    kind = KINDS[name]

    [event] = kind.read(body)

    check_unread(event, kind, body)
    assert (event.unread_reason, event.moves_money) == (BODY, True)


@pytest.mark.parametrize("name", KINDS)
def test_read_again_what_can_be_read_says_the_same(name: str) -> None:
    """The payload and what is kept beside it are all that a reader needs."""
    kind = KINDS[name]
    [read] = kind.read(kind.content)
    delivery = {"standard": "msg_1", "adyen platform": "body"}.get(name, "")
    stored = ProviderEvent(
        payload=read.payload, delivery=delivery, unread_reason=FIELD, provider_type=read.provider_type
    )

    assert kind.again(stored) == [read]


@pytest.mark.parametrize(("name", "path", "wrong"), BROKEN, ids=str)
def test_read_again_what_is_broken_still_is_the_same_event(
    name: str, path: tuple[str | int, ...], wrong: object
) -> None:
    """Reading again changes nothing where nothing was learnt."""
    kind = KINDS[name]
    [event] = kind.read(kind.changed(path, wrong))

    assert kind.again(event) == [event]


CONFIGURED: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("stripe", {"api_version": "2026"}, {}),
    ("stripe", {"livemode": "true"}, {"livemode": "false"}),
    ("adyen", {"live": "true"}, {"live": "false"}),
    ("adyen platform", {"live": "true"}, {"live": "false"}),
]


@pytest.mark.parametrize(("name", "wrong", "right"), CONFIGURED, ids=str)
def test_read_again_after_the_configuration_is_right_says_what_it_says(
    name: str, wrong: dict[str, str], right: dict[str, str]
) -> None:
    """An endpoint that was set up for another version loses nothing."""
    kind = KINDS[name]
    [event] = kind.read(kind.content, **wrong)

    [read] = kind.again(event, **right)

    assert event.unread_reason in {
        payment_pb2.UNREAD_REASON_VERSION,
        payment_pb2.UNREAD_REASON_ENVIRONMENT,
    }
    assert [read] == kind.read(kind.content)
    assert read.type != UNSPECIFIED


def test_read_again_what_older_edges_stored_says_what_it_says() -> None:
    """They kept no id beside a payload of Standard Webhooks, and of Adyen's several items each alone."""
    standard, adyen = KINDS["standard"], KINDS["adyen"]
    [message] = standard.read(standard.content)
    [item] = adyen.read(adyen.content)
    alone = json.dumps(adyen.content["notificationItems"][0]["NotificationRequestItem"]).encode()

    [first] = standard.again(ProviderEvent(event_id="msg_1", payload=message.payload))
    [second] = adyen.again(ProviderEvent(payload=alone), live="false")

    assert first == message
    assert (second.event_id, second.type) == (item.event_id, item.type)


def test_read_item_of_several_again_says_the_same() -> None:
    """Each item is stored with what is around it, lone surrogates and all."""
    kind = KINDS["adyen"]
    items = [
        {
            "NotificationRequestItem": {
                **kind.content["notificationItems"][0]["NotificationRequestItem"],
                **more,
            }
        }
        for more in ({"pspReference": "A"}, {"pspReference": "B", "reason": "é\ud800"}, {"pspReference": "C"})
    ]
    events = kind.read({"live": "false", "notificationItems": items}, live="false")

    assert [kind.again(event, live="false") for event in events] == [[event] for event in events]
    assert len({hashlib.sha256(event.payload).digest() for event in events}) == 3


@pytest.mark.parametrize("code", ["CANCEL_OR_REFUND"])
@pytest.mark.parametrize("action", [None, "cancel", "refund"])
def test_read_what_is_not_signed_decides_nothing(code: str, action: str | None) -> None:
    """Whoever holds a signed item could say the one or the other; a person looks."""
    kind = KINDS["adyen"]
    content = kind.typed(code)
    item = content["notificationItems"][0]["NotificationRequestItem"]
    item["additionalData"] = {} if action is None else {"modification.action": action}
    refused = copy.deepcopy(content)
    refused["notificationItems"][0]["NotificationRequestItem"]["success"] = "false"

    [done], [not_done] = kind.read(content), kind.read(refused)

    assert (done.type, done.unread_reason) == (UNSPECIFIED, payment_pb2.UNREAD_REASON_UNSIGNED)
    assert done.moves_money
    assert (not_done.type, not_done.unread_reason) == (UNSPECIFIED, 0)


ACCOUNTS: list[tuple[str, str, tuple[str | int, ...], str]] = [
    ("stripe", "account", ("account",), "acct_1"),
    ("adyen", "merchant_account", (*_ITEM, "merchantAccountCode"), "Casino"),
    ("adyen platform", "balance_account", ("data", "balanceAccount"), "BA1"),
]


@pytest.mark.parametrize(("name", "option", "path", "ours"), ACCOUNTS, ids=str)
def test_read_event_of_another_account_is_not_ours(
    name: str, option: str, path: tuple[str | int, ...], ours: str
) -> None:
    """Nothing is left of it; our own says the same as without the option, which takes all."""
    kind = KINDS[name]

    def of(account: str) -> dict[str, Any]:
        return kind.changed(path, {"id": account} if option == "balance_account" else account)

    assert kind.read(of("acct_other"), **{option: ours}) == []
    assert kind.read(of(ours), **{option: ours}) == kind.read(of(ours))
    assert len(kind.read(of("acct_other"))) == 1


def test_read_several_items_keeps_those_of_our_account() -> None:
    """One delivery may tell of several accounts."""
    kind = KINDS["adyen"]
    item = kind.content["notificationItems"][0]["NotificationRequestItem"]
    items = [
        {"NotificationRequestItem": {**item, "merchantAccountCode": account}}
        for account in ("Other", "Casino", "Third")
    ]

    events = kind.read({"live": "false", "notificationItems": items}, merchant_account="Casino")

    assert [event.event_id for event in events] == ["Casino:REFUND:PSP1:true"]


def test_read_event_of_the_platform_itself_is_not_the_connected_accounts() -> None:
    """An event without an account is of the platform's own."""
    assert KINDS["stripe"].read(KINDS["stripe"].content, account="acct_1") == []


@given(name=st.sampled_from(sorted(KINDS)), body=st.binary(max_size=80))
def test_read_any_bytes_is_unread_under_an_id_of_their_own(name: str, body: bytes) -> None:
    """Whatever was signed, other bytes are another event."""
    kind = KINDS[name]

    assert kind.read(body) == kind.read(body)
    for event, other in zip(kind.read(body), kind.read(body + b"x"), strict=True):
        assert event.event_id != other.event_id
        assert event.unread_reason

"""Own what a hostile sender sends: every request follows from a seed, its number and the time."""

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from bench.http_connection import request_head
from bench.http_servers import SCHEMES, path_of
from tests.edge.hostile.parts import ANY_REFUSAL, Hostile, Parts
from webhook_edge.body import MOST_BYTES
from webhook_edge.sending import SignedWebhook

_SIGNATURES: Final = {
    "standard": "webhook-signature",
    "stripe": "stripe-signature",
    "adyen": "hmacsignature",
}
_TIMED: Final = ("standard", "stripe")
_REFUSED: Final = frozenset({400, 401})


class Maker(Parts):
    """Makes one request."""

    def genuine(self) -> Hostile:
        """Control: as the provider sends it."""
        webhook = self.webhook()
        return self.whole(webhook, 200, genuine=True, body=webhook.body)

    def forged(self) -> Hostile:
        """Signed with a secret that is not the endpoint's."""
        return self.whole(self.webhook(whose="theirs"), 401)

    def changed(self) -> Hostile:
        """Signed, and then another amount put in."""
        webhook = self.webhook()
        changed = webhook.body.replace(b'": 1', b'": 9')
        assert changed != webhook.body
        return self.whole(SignedWebhook(body=changed, headers=webhook.headers), 401)

    def untimely(self) -> Hostile:
        """Signed with the true secret, for a time too far ahead or behind."""
        self.scheme = self.random.choice(_TIMED)
        away = timedelta(seconds=self.random.choice([-1, 1]) * self.random.randint(310, 10**7))
        return self.whole(self.webhook(at=self.now() + away), 401)

    def doubled(self) -> Hostile:
        """A genuine webhook with a second signature header, before or after the first."""
        webhook = self.webhook()
        name = _SIGNATURES[self.scheme]
        pairs = [(name, webhook.headers.get(name, "x")), (name, self.text())]
        self.random.shuffle(pairs)
        others = [(key, value) for key, value in webhook.headers.items() if key != name]
        return self.composed([*others, *pairs], webhook.body, _REFUSED)

    def garbled(self) -> Hostile:
        """A genuine body, with its headers gone or turned into anything."""
        webhook = self.webhook(whose="theirs")
        headers = {
            name: self.random.choice([self.text(), "9" * 400, value[:-5], "", value + ",v1,\xff"])
            for name, value in webhook.headers.items()
            if self.random.random() < 0.8
        }
        return self.composed(list(headers.items()), webhook.body, _REFUSED)

    def many_headers(self) -> Hostile:
        """A forged webhook with hundreds of headers, or with one that is larger than all may be."""
        webhook = self.webhook(whose="theirs")
        if self.random.random() < 0.5:
            more = [(f"x-{number % 7}", self.text()) for number in range(self.random.randint(50, 250))]
        else:
            more = [("x-huge", "h" * self.random.randint(40_000, 200_000))]
        request = [*webhook.headers.items(), *more]
        return self.composed(request, webhook.body, _REFUSED | {413}, silent=True)

    def encoded(self) -> Hostile:
        """A forged body of another type, another charset or compressed."""
        webhook = self.webhook(whose="theirs")
        encoding, body = self.random.choice(
            [
                ("gzip", gzip.compress(webhook.body, mtime=0)),
                ("gzip", gzip.compress(b"0" * 1_000_000, mtime=0)),
                ("br", webhook.body),
                ("identity", webhook.body.decode().encode("utf-16")),
            ]
        )
        kind = self.random.choice(
            ["application/xml", "text/plain; charset=utf-7", "multipart/form-data", "\x7f"]
        )
        headers = {**webhook.headers, "content-encoding": encoding, "content-type": kind}
        return self.composed(list(headers.items()), body, _REFUSED)

    def unsigned(self) -> Hostile:
        """No signature at all, over whatever there is."""
        return self.composed([], self.rubbish(), _REFUSED)

    def signed_rubbish(self) -> Hostile:
        """Signed with the true secret, over what no provider says; taken for what it is worth, or refused."""
        body = self.rubbish()
        headers = list(self.signature(body).items())
        return self.composed(headers, body, frozenset({200, 400, 401}), signed_body=body)

    def second_item(self) -> Hostile:
        """Adyen: a genuine item beside a forged one, in either order."""
        self.scheme = "adyen"
        items = [
            json.loads(self.webhook(whose=whose).body)["notificationItems"][0] for whose in ("ours", "theirs")
        ]
        items += [items[0]] * self.random.randint(0, 3)
        self.random.shuffle(items)
        body = json.dumps({"live": "false", "notificationItems": items}).encode()
        return self.composed([], body, frozenset({401}))

    def shifted(self) -> Hostile:
        """Adyen: fields moved over a colon, under a signature that fits either reading."""
        self.scheme = "adyen"
        content = json.loads(self.webhook(reference="one:two").body)
        item = content["notificationItems"][0]["NotificationRequestItem"]
        item["merchantAccountCode"] += ":one"
        item["merchantReference"] = "two"
        return self.composed([], json.dumps(content).encode(), frozenset({401}))

    def chunked(self) -> Hostile:
        """A forged webhook in chunks of any size, with extensions."""
        webhook = self.webhook(whose="theirs")
        rest, chunks = webhook.body, b""
        while rest:
            size = self.random.randint(1, 90)
            chunks += b"%x;%s\r\n%s\r\n" % (len(rest[:size]), b"e" * self.random.randint(0, 9), rest[:size])
            rest = rest[size:]
        headers = [*webhook.headers.items(), ("transfer-encoding", "chunked"), ("connection", "close")]
        head = request_head("POST", path_of(self.scheme), headers)
        return Hostile(scheme=self.scheme, content=head + chunks + b"0\r\n\r\n", statuses=frozenset({401}))

    def truncated(self) -> Hostile:
        """A genuine webhook whose sender leaves before its end."""
        content = self.whole(self.webhook(), 200).content
        end = self.random.randint(1, len(content) - 1)
        return Hostile(
            scheme=self.scheme, content=content[:end], statuses=ANY_REFUSAL, cuts=True, silent=True
        )

    def stalled(self) -> Hostile:
        """A genuine webhook whose last bytes never come."""
        content = self.whole(self.webhook(), 200).content
        return Hostile(scheme=self.scheme, content=content[:-9], statuses=frozenset({408}))

    def too_large(self) -> Hostile:
        """More than the bound, announced or in one endless chunk."""
        size = MOST_BYTES + self.random.randint(1, 200_000)
        framing = self.random.choice([("content-length", str(size)), ("transfer-encoding", "chunked")])
        head = request_head("POST", path_of(self.scheme), [framing, ("connection", "close")])
        if framing[0] == "transfer-encoding":
            head += b"%x\r\n" % size
        return Hostile(scheme=self.scheme, content=head + b"[" * size, statuses=frozenset({413}), cuts=True)

    def framed_twice(self) -> Hostile:
        """Two lengths, a length beside chunks, or a length that is none."""
        webhook = self.webhook(whose="theirs")
        framing = self.random.choice(
            [
                [("content-length", "5"), ("content-length", "6")],
                [("content-length", "-1")],
                [("content-length", "9" * 30)],
                [("transfer-encoding", "gzip")],
                [("transfer-encoding", "chunked, chunked")],
                [("content-length", "3"), ("transfer-encoding", "chunked")],
            ]
        )
        head = request_head("POST", path_of(self.scheme), [*webhook.headers.items(), *framing])
        content = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(webhook.body), webhook.body)
        return Hostile(scheme=self.scheme, content=content, statuses=ANY_REFUSAL, silent=True, hangs=True)

    def other_method(self) -> Hostile:
        """A genuine webhook by another method."""
        method = self.random.choice(
            ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "post", "X"]
        )
        return self.whole(self.webhook(), 405, method=method)

    def other_path(self) -> Hostile:
        """A genuine webhook to another scheme's endpoint, or to none."""
        other = self.random.choice([scheme for scheme in SCHEMES if scheme != self.scheme])
        path = self.random.choice(
            [
                f"/webhooks/{other}/{self.scheme}",
                f"{path_of(self.scheme)}/",
                f"/{path_of(self.scheme)}",
                "/webhooks/standard/%00%ff",
                "/webhooks/../webhooks",
                "/" + "a" * self.random.randint(1, 20_000),
            ]
        )
        return self.whole(self.webhook(), 404, path=path)


# How often each kind comes; those that are rare take the edge's time rather than its wits.
_KINDS: Final[Mapping[Callable[[Maker], Hostile], float]] = {
    Maker.genuine: 10,
    Maker.forged: 6,
    Maker.changed: 6,
    Maker.untimely: 6,
    Maker.doubled: 6,
    Maker.garbled: 6,
    Maker.many_headers: 3,
    Maker.encoded: 5,
    Maker.unsigned: 6,
    Maker.signed_rubbish: 6,
    Maker.second_item: 6,
    Maker.shifted: 5,
    Maker.chunked: 5,
    Maker.truncated: 5,
    Maker.stalled: 0.3,
    Maker.too_large: 0.5,
    Maker.framed_twice: 3,
    Maker.other_method: 4,
    Maker.other_path: 4,
}


KINDS: Final = frozenset(make.__name__.replace("_", " ") for make in _KINDS)
"""The names of all kinds."""


def hostile(seed: int, number: int, now: Callable[[], datetime]) -> tuple[str, Hostile]:
    """Return the name of a kind, and the request of a number; `now` tells the time of signatures."""
    maker = Maker(seed, number, now)
    [make] = maker.random.choices(list(_KINDS), weights=list(_KINDS.values()))
    return make.__name__.replace("_", " "), make(maker)

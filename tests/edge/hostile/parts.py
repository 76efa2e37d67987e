"""Own what hostile requests are made of: webhooks and rubbish, signed or not, put into HTTP."""

import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bench.http_connection import request_head
from bench.http_servers import SCHEMES, path_of, secret_of
from webhook_edge.sending import Sample, SignedWebhook, signed

_TYPES: Final = {"standard": "payment.captured", "stripe": "payment_intent.succeeded", "adyen": "CAPTURE"}
# What may come of bytes that are hardly HTTP; none of it is a success.
ANY_REFUSAL: Final = frozenset({400, 401, 404, 405, 408, 413})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One connection's worth of bytes.

    Attributes:
        content: sent as it is, and then, if `cuts`, nothing more.
        statuses: of which every answer has to be one.
        body: what the ledger may be given, where anything was signed with the true secret.
        genuine: whether it must be taken.
        silent: whether it may end without an answer.
        hangs: whether the edge may wait for more, so that nobody waits for the edge.
    """

    scheme: str
    content: bytes
    statuses: frozenset[int]
    body: bytes | None = None
    genuine: bool = False
    cuts: bool = False
    silent: bool = False
    hangs: bool = False


class Parts:
    """Makes the parts of one request, all of which follow from a seed, a number and the time."""

    def __init__(self, seed: int, number: int, now: Callable[[], datetime]) -> None:
        self.random = random.Random(f"{seed} {number}")  # reproducible, and no secret
        self.id = f"E{seed}x{number}"
        self.now = now
        self.scheme = self.random.choice(SCHEMES)

    def webhook(
        self, *, whose: str = "ours", at: datetime | None = None, reference: str = ""
    ) -> SignedWebhook:
        """Return a webhook as the provider's SDK signs it; `whose`: see `secret_of`."""
        sample = Sample(
            type=_TYPES[self.scheme],
            event_id=self.id,
            payment_ref=f"pay-{self.random.randrange(10**6)}",
            reference=reference,
            # The first digit is the one that `changed` replaces.
            amount_minor=int(f"1{self.random.randrange(10**6)}"),
        )
        return signed(self.scheme, sample, secret_of(self.scheme, whose), at or self.now())

    def signature(self, body: bytes) -> Mapping[str, str]:
        """Sign bytes with the true secret that the SDKs, which sign text, would not."""
        now, secret = int(self.now().timestamp()), secret_of(self.scheme)
        if self.scheme == "stripe":
            digest = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256)
            return {"stripe-signature": f"t={now},v1={digest.hexdigest()}"}
        if self.scheme == "adyen":
            digest = hmac.new(bytes.fromhex(secret), body, hashlib.sha256)
            return {
                "protocol": "HmacSHA256",
                "hmacsignature": base64.b64encode(digest.digest()).decode(),
            }
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = hmac.new(key, f"{self.id}.{now}.".encode() + body, hashlib.sha256).digest()
        return {
            "webhook-id": self.id,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }

    def rubbish(self) -> bytes:
        """Return a body that no provider sends: deep, huge, of another encoding, or of no form."""
        depth, digits = self.random.randint(1_000, 100_000), self.random.randint(20, 10_000)
        nested = b'{"data":' * depth
        start = self.random.choice(
            [
                b"[" * depth,
                nested + b"1" + b"}" * depth,
                b'{"type":"payment.captured","data":{"amount_minor":%s}}' % (b"9" * digits),
                b'{"type":"payment.captured","data":{"amount_minor":1e%s}}' % (b"9" * min(digits, 400)),
                b'{"id":NaN,"type":"\\ud800","data":{"object":{"amount":-0.0}}}',
                b'{"notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":[]}}}]}',
                b'{"notificationItems":' + b"[" * depth,
                self.random.randbytes(self.random.randint(0, 2_000)),
                b"\xff\xfe" + '{"id":"\u0000"}'.encode("utf-16-le"),
                b"",
            ]
        )
        # The end makes it one of its kind, by which it is known again.
        return start + b" " * 3 + self.id.encode()

    def whole(
        self,
        webhook: SignedWebhook,
        status: int,
        *,
        method: str = "POST",
        path: str = "",
        genuine: bool = False,
        body: bytes | None = None,
    ) -> Hostile:
        """Return a webhook in one piece, after which the edge closes."""
        headers = [
            *webhook.headers.items(),
            ("content-length", str(len(webhook.body))),
            ("connection", "close"),
        ]
        return Hostile(
            scheme=self.scheme,
            content=request_head(method, path or path_of(self.scheme), headers) + webhook.body,
            statuses=frozenset({status}),
            body=body,
            genuine=genuine,
        )

    def composed(
        self,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        statuses: frozenset[int],
        *,
        signed_body: bytes | None = None,
        silent: bool = False,
    ) -> Hostile:
        """Return headers and a body in one piece; `signed_body`: what the true secret has signed."""
        framed = [*headers, ("content-length", str(len(body))), ("connection", "close")]
        return Hostile(
            scheme=self.scheme,
            content=request_head("POST", path_of(self.scheme), framed) + body,
            statuses=statuses,
            body=signed_body,
            silent=silent,
        )

    def text(self) -> str:
        """Return a header's value of any printable characters, many of them not ASCII."""
        return "".join(chr(self.random.randint(0x20, 0xFF)) for _ in range(self.random.randint(0, 40)))

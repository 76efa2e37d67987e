"""Owns the spans of owed calls: they go on below the call that decided them, as far as this process knows."""

from collections.abc import Iterator
from contextlib import contextmanager

from defter_tracing import Kind, traces
from ledger_server.providers.adapter import ProviderCall
from ledger_server.store.outbox_store import ClaimedCall


@contextmanager
def step_span(tenant_id: str, call: ClaimedCall) -> Iterator[None]:
    """Make a span for one step of a call, if traces are on.

    The step is below what decided the call, also minutes later. Another process, or this one started anew,
    does not know that place: its steps begin traces, in which the payment's id leads back.
    """
    made = traces()
    if made is None:
        yield
        return
    attributes = {"defter.tenant_id": tenant_id, "defter.provider": call.provider}
    place = made.remembered((tenant_id, call.payment))
    name = f"owed {call.kind.name.lower()}"
    spans = (
        made.root(name, Kind.INTERNAL, attributes=attributes)
        if place is None
        else made.span(name, Kind.INTERNAL, attributes=attributes, below=place)
    )
    with spans:
        yield


@contextmanager
def asking_span(what: str, provider: str, call: ProviderCall) -> Iterator[list[str]]:
    """Make a span for one question to a provider, if traces are on; the kind of its answer is to be appended.

    Args:
        what: `make` or `look for`.
    """
    answer: list[str] = []
    made = traces()
    if made is None:
        yield answer
        return
    attributes = {"defter.provider": provider, "defter.payment_id": call.our_id}
    with made.span(f"{what} {call.kind.value}", Kind.CLIENT, attributes=attributes) as span:
        yield answer
        for kind in answer:
            span.say(defter__answer=kind)
            if kind == "Unknown":
                span.fail(kind)

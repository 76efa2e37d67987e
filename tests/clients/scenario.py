"""Own the reading of clients/scenario/scenario.json, step by step, through any client."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from defter.ledger.v1 import posting_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from defter_client import Checkpoint, LedgerError
from tests.clients.drivers import RPCS, Driver

FILE: Final = Path(__file__).parents[2] / "clients" / "scenario" / "scenario.json"
STEPS: Final[list[dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))["steps"]
_MADE_KEY_LENGTH: Final = 26
_UNTIL_SECONDS: Final = 60.0
_NAME: Final = re.compile(r"\$\{([^}]+)\}")


def over_http(control: str, what: str = "break") -> Callable[[], None]:
    """Return what has the hand of a stack do something: cut all connections, by default."""

    def do() -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{control}/{what}", method="POST")):
            pass

    return do


class Scenario:
    """The steps, with what earlier ones have saved."""

    def __init__(self, driver: Driver, tenant: str, cut: Callable[[], None]) -> None:
        """Take no step yet.

        Args:
            cut: cuts all connections to the server.
        """
        self._driver = driver
        self._known: dict[str, Any] = {"tenant": tenant}
        self._cut = cut

    async def run(self) -> int:
        """Take all steps; return how many there are."""
        for step in STEPS:
            try:
                await self._take(step)
            except (AssertionError, LedgerError) as error:
                raise AssertionError(f"{step['name']}: {error}") from error
        return len(STEPS)

    async def _take(self, step: dict[str, Any]) -> None:
        match step.get("do", "call"):
            case "call":
                await self._call(step)
            case "until":
                await self._until(step)
            case "list":
                await self._list(step)
            case "stream":
                await self._stream(step)
            case "watch":
                await self._watch(step)
            case other:
                raise AssertionError(f"nobody knows how to {other}")

    async def _call(self, step: dict[str, Any]) -> None:
        key = step.get("key", "")
        try:
            response, used, replayed = await self._driver.call(step["method"], self._request(step), key)
        except LedgerError as error:
            self._check_error(step, error)
            return
        assert "error" not in step, response
        assert replayed == step.get("replayed", False)
        if RPCS[step["method"]].use.value == "keyed":
            assert used == key if key else len(used) == _MADE_KEY_LENGTH
        found = as_json(response)
        check(self._filled(step.get("response", {})), found)
        if "save" in step:
            self._known[step["save"]] = found

    def _check_error(self, step: dict[str, Any], error: LedgerError) -> None:
        wanted = self._filled(step.get("error"))
        assert wanted, error
        found = {
            "reason": error.reason,
            "code": error.code.name,
            "kind": error.kind,
            "replayed": error.replayed,
            "fields": {name: _text(getattr(error, name)) for name in wanted["fields"]},
        }
        assert found == {"replayed": False} | wanted
        assert error.key == step["key"] if "key" in step else len(error.key) in (0, _MADE_KEY_LENGTH)
        assert not error.outcome_unknown

    async def _until(self, step: dict[str, Any]) -> None:
        deadline = time.monotonic() + _UNTIL_SECONDS
        while True:
            response, _, _ = await self._driver.call(step["method"], self._request(step), "")
            try:
                check(self._filled(step["response"]), as_json(response))
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # noqa: ASYNC251  # nothing else runs in this loop
            else:
                return

    async def _list(self, step: dict[str, Any]) -> None:
        items = [item async for item in self._driver.items(step["method"], self._request(step))]
        assert len(items) == step["count"]
        check(self._filled(step["first"]), as_json(items[0]))

    async def _stream(self, step: dict[str, Any]) -> None:
        def made() -> Iterator[posting_pb2.PostTransactionItem]:
            for number in range(step["count"]):
                filled = self._filled(step["item"], i=str(number))
                yield ParseDict(filled, posting_pb2.PostTransactionItem())

        keys: list[str] = []
        async for result in self._driver.stream(list(made())):
            assert result.WhichOneof("outcome") == "transaction", result
            keys.append(result.idempotency_key)
            if len(keys) in step["break_after"]:
                self._cut()
        wanted = self._filled(step["item"]["idempotency_key"])
        assert keys == [wanted.replace("${i}", str(number)) for number in range(step["count"])]

    async def _watch(self, step: dict[str, Any]) -> None:
        until = int(self._filled(step["until"]))
        half = until // 2 if step.get("resume") else until
        watch = self._driver.watch(Checkpoint())
        for sequence in range(1, until + 1):
            if sequence == half + 1:
                watch.close()
                watch = self._driver.watch(str(watch.checkpoint))
            entry = await self._driver.take(watch)
            assert entry.sequence == entry.record.sequence == sequence
            if sequence in step["break_after"]:
                self._cut()
        watch.close()

    def _request(self, step: dict[str, Any]) -> Message:
        kind: type[Message] = GetMessageClass(RPCS[step["method"]].request)
        return ParseDict(self._filled(step["request"]), kind())

    def _filled(self, value: Any, **more: str) -> Any:
        """Return a value with its `${name}` replaced by what is known; others stay."""
        if isinstance(value, dict):
            return {name: self._filled(each, **more) for name, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each, **more) for each in value]
        if not isinstance(value, str):
            return value

        def known(found: re.Match[str]) -> str:
            place: Any = self._known | more
            for part in found[1].split("."):
                if not isinstance(place, Mapping) or part not in place:
                    return found[0]
                place = place[part]
            return str(place)

        return _NAME.sub(known, value)


def as_json(message: Message) -> Any:
    """Return a message in protobuf's JSON, with the names of the protos."""
    return MessageToDict(message, preserving_proto_field_name=True)


def check(wanted: Any, found: Any, place: str = "response") -> None:
    """Check that everything wanted is there: members are equal, lists are as long."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{place} is {found!r}"
        for name, each in wanted.items():
            check(each, found.get(name, _default(each)), f"{place}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), f"{place} is {found!r}"
        assert len(found) == len(wanted), f"{place} has {len(found)} elements"
        for index, each in enumerate(wanted):
            check(each, found[index], f"{place}[{index}]")
    else:
        assert found == wanted, f"{place} is {found!r}, wanted {wanted!r}"


def _default(wanted: Any) -> Any:
    # Protobuf's JSON leaves out what is 0 or false.
    return {"0": "0", False: False}.get(wanted) if isinstance(wanted, str | bool) else None


def _text(fact: Any) -> str | None:
    return fact.isoformat() if isinstance(fact, datetime) else None if fact is None else str(fact)

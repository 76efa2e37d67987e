"""Own a channel that goes by its files: whoever replaces a certificate need not open another client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc

from defter_channel.proof import Contents, Proof
from defter_channel.watched_files import WatchedFiles


class RenewedChannel(grpc.aio.Channel):
    """A channel that is opened anew once its files have changed; calls under way end on the one before.

    Files that can't be used leave the open channel, with an error in the log.
    """

    def __init__(self, proof: Proof, open_channel: Callable[[Contents], grpc.aio.Channel]) -> None:
        """Open the first channel; nothing is sent yet.

        Args:
            open_channel: opens one by what the files say.
        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._files = WatchedFiles(proof)
        self._open_channel = open_channel
        self._open = _Open(open_channel(self._files.contents))
        self._leaving: set[_Open] = set()

    def look(self) -> None:
        """Look at the files now."""
        self._renew(self._files.look())

    def current(self) -> _Open:
        """Return the channel for a call that begins now."""
        self._renew(self._files.look_if_due())
        return self._open

    def _renew(self, contents: Contents | None) -> None:
        if contents is None:
            return
        before, self._open = self._open, _Open(self._open_channel(contents))
        self._leaving = {each for each in self._leaving if not each.is_closed}
        self._leaving.add(before)
        before.leave()

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what makes calls of a method, on whatever channel is the current one then."""
        return _Method(self, "unary_unary", method, arguments, options)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what makes calls of a method, as `unary_unary`."""
        return _Method(self, "unary_stream", method, arguments, options)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what makes calls of a method, as `unary_unary`."""
        return _Method(self, "stream_unary", method, arguments, options)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what makes calls of a method, as `unary_unary`."""
        return _Method(self, "stream_stream", method, arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close the channel, and those before it whose calls are still under way."""
        await asyncio.gather(*(each.channel.close(grace) for each in (self._open, *self._leaving)))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # gRPC's
        """Return the state of the current channel."""
        return self.current().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel has another state."""
        await self.current().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self.current().channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Open:
    """An open channel, with the calls that are under way on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.methods: dict[tuple[str, str], Any] = {}
        self._under_way = 0
        self._is_leaving = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed because no call was under way any more."""
        return self._closing is not None and self._closing.done()

    def entered(self, call: Any) -> Any:
        """Count a call until it has ended."""
        self._under_way += 1
        call.add_done_callback(self._left)
        return call

    def leave(self) -> None:
        """Close the channel as soon as no call is under way."""
        self._is_leaving = True
        if self._under_way == 0 and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.channel.close())

    def _left(self, _: object) -> None:
        self._under_way -= 1
        if self._is_leaving:
            self.leave()


class _Method:
    """Makes the calls of one method."""

    def __init__(
        self,
        channel: RenewedChannel,
        kind: str,
        method: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._arguments = arguments
        self._options = options

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Begin a call."""
        current = self._channel.current()
        known = current.methods.get((self._kind, self._method))
        if known is None:
            known = getattr(current.channel, self._kind)(self._method, *self._arguments, **self._options)
            current.methods[self._kind, self._method] = known
        return current.entered(known(*arguments, **options))

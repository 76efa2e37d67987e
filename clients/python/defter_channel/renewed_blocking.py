"""Own a channel of gRPC's blocking stack that goes by its files, as `RenewedChannel` does of the aio one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import grpc

from defter_channel.proof import Contents, Proof
from defter_channel.watched_files import WatchedFiles


class RenewedBlockingChannel(grpc.Channel):
    """A channel that is opened anew once its files have changed; calls under way end on the one before.

    gRPC frees a channel when neither its owner nor a call knows it any more, so none has to be counted.
    """

    def __init__(self, proof: Proof, open_channel: Callable[[Contents], grpc.Channel]) -> None:
        """Open the first channel; nothing is sent yet.

        Args:
            open_channel: opens one by what the files say.
        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._files = WatchedFiles(proof)
        self._open_channel = open_channel
        self._turn = threading.Lock()
        self._open = open_channel(self._files.contents)
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, path: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what makes calls of a method on the channel for a call that begins now."""
        with self._turn:
            contents = self._files.look_if_due()
            if contents is not None:
                self._open, self._methods = self._open_channel(contents), {}
            known = self._methods.get((kind, path))
            if known is None:
                known = getattr(self._open, kind)(path, *arguments, **options)
                self._methods[kind, path] = known
            return known

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

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: Any = False
    ) -> None:
        """Tell of the state of the channel that is the current one now."""
        self._open.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Tell it no more."""
        self._open.unsubscribe(callback)

    def close(self) -> None:
        """Close the channel; calls under way on it are cancelled."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Method:
    """Makes the calls of one method, in each way that gRPC has."""

    def __init__(
        self,
        channel: RenewedBlockingChannel,
        kind: str,
        path: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self._found: Callable[[], Any] = lambda: channel.method(kind, path, arguments, options)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Make a call, or begin a stream."""
        return self._found()(*arguments, **options)

    def with_call(self, *arguments: Any, **options: Any) -> Any:
        """Make a call; return the response and the call."""
        return self._found().with_call(*arguments, **options)

    def future(self, *arguments: Any, **options: Any) -> Any:
        """Begin a call."""
        return self._found().future(*arguments, **options)

"""Own the event loop of the simulation: time that jumps, and processes that stand still or die.

Nobody really waits: when no task can run and no database is at work, time jumps to the next timer. Every task
belongs to the process in whose context it was made. Between any two of its steps a process may be stopped,
which holds back all its tasks while the world goes on, or killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import os
import selectors
import socket
from asyncio import events
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Coroutine
from concurrent.futures import Future as ThreadFuture
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.simulation.border.database_wires import DatabaseWire

START: Final = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
# A database that needs longer than this for one statement is stuck, not slow.
_STUCK_SECONDS: Final = 120.0
# How many steps a cancelled task may still make in a dying process; after that it is dropped.
_MOST_CANCELLATIONS: Final = 20
_T = TypeVar("_T")

PROCESS: contextvars.ContextVar[Body | None] = contextvars.ContextVar("process", default=None)


class Body:
    """A process as its machine sees it: its tasks, its connections, and whether it stands still.

    Attributes:
        steps: how many steps its tasks have made.
        at_step: what happens to the process before a step, by the step's number.
        wall: the time of its wall clock, in seconds since 1970.
        frozen_seconds: for how long all clocks of its machine have stood still, which only others can notice.
    """

    def __init__(self, name: str, loop: SimulatedLoop) -> None:
        self.name = name
        self.steps = 0
        self.at_step: dict[int, Callable[[], None]] = {}
        self.wall: Callable[[], float] = loop.time
        self.frozen_seconds = 0.0
        self.stopped = False
        self.dead = False
        self.gone = False
        self.wires: set[DatabaseWire] = set()
        self.sockets: set[asyncio.BaseTransport] = set()
        self._loop = loop
        self._held: list[events.Handle] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run something in this process."""
        task: asyncio.Task[_T] = self._loop.create_task(work, context=self._context.copy())
        return task

    def own(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that was made in this process, so that it ends with it."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=self._loop.outside)

    def must_wait(self, handle: events.Handle) -> bool:
        """Count a step; return whether the step has to wait, since the process stands still before it.

        Steps of a dead process are dropped.
        """
        if self.gone:
            return True
        if not self.stopped and not self.dead:
            self.steps += 1
            action = self.at_step.pop(self.steps, None)
            if action is not None:
                action()
        if self.stopped:
            self._held.append(handle)
        return self.stopped

    def stop(self) -> None:
        """Stand still, as by SIGSTOP; what the database then does to open transactions happens at once."""
        self.stopped = True
        for wire in list(self.wires):
            wire.forsake()

    def cut_off(self) -> None:
        """Lose every connection, as after a long silence at this end."""
        self.hang_up()
        for wire in self.wires:
            wire.cut()

    def go_on(self) -> None:
        """Take up every step that was held back, in order."""
        if self.dead or not self.stopped:
            return
        self.stopped = False
        for wire in self.wires:
            wire.forsaken = False
        held, self._held = self._held, []
        for handle in held:
            self._loop.take_up(handle)

    def hang_up(self) -> None:
        """Let the other ends of its connections to providers be gone."""
        for transport in self.sockets:
            self._context.copy().run(transport.abort)  # type: ignore[attr-defined]  # sockets have it
        self.sockets.clear()

    async def kill(self) -> None:
        """End at once: nothing of the process reaches anybody any more."""
        self.dead = True
        # In the process's own context, so that tasks that follow belong to the process.
        self.hang_up()
        for wire in list(self.wires):
            self._context.copy().run(wire.abort)
        # Only memory is left. The tasks are unwound while they are cut off from everything.
        self.stopped = False
        held, self._held = self._held, []
        for handle in held:
            self._loop.take_up(handle)
        for _ in range(_MOST_CANCELLATIONS):
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)
        self.gone = True


class _Step(events.Handle):
    __slots__ = ()

    def _run(self) -> None:
        body = self._context.get(PROCESS)  # type: ignore[attr-defined]  # of CPython's Handle
        if body is None or not body.must_wait(self):
            super()._run()


class _Timer(events.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        body = self._context.get(PROCESS)  # type: ignore[attr-defined]
        if body is None or not body.must_wait(self):
            super()._run()


class _Selector(selectors.DefaultSelector):
    """Waits only for databases and threads: if neither is at work, time jumps instead."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready, and let time jump when nothing is."""
        self.loop.count_turn()
        found = super().select(0)
        if found or timeout == 0:
            return found
        if self.loop.busy:
            found = super().select(_STUCK_SECONDS)
            if not found:
                raise RuntimeError(f"a database does not answer: {self.loop.busy_names()}")
            return found
        if timeout is None:
            raise RuntimeError("nothing will ever happen any more")
        self.loop.jump(timeout)
        return []


# Typed as anything: what is overridden here is CPython's own.
_Base: Any = BaseSelectorEventLoop


class SimulatedLoop(_Base):  # type: ignore[misc]
    """Runs the world.

    Attributes:
        outside: the context of everything that belongs to no process.
        connect: takes a connection to an address that is not real: the server's end of a pair of sockets.
    """

    def __init__(self, clock_file: Path) -> None:
        selector = _Selector()
        selector.loop = self
        self._now = 0.0
        self._wires: set[DatabaseWire] = set()
        self._threads = 0
        self._turns_left = 0
        self._more_turns = 0
        self._bounded: asyncio.Task[Any] | None = None
        self._clock = os.open(clock_file, os.O_RDWR | os.O_CREAT, 0o644)
        super().__init__(selector)
        self._clock_resolution = 1e-6
        self.outside = contextvars.Context()
        self.connect: dict[str, Callable[[], asyncio.Protocol]] = {}
        self.set_task_factory(_make_task)
        self.jump(0.0)

    def time(self) -> float:
        """Return the simulated seconds since the start; every process's monotonic clock."""
        return self._now

    @property
    def now(self) -> datetime:
        """The true time of the world, which is the database's."""
        return START + timedelta(seconds=self._now)

    def jump(self, seconds: float) -> None:
        """Let time pass, and tell the database."""
        self._now += seconds
        os.pwrite(self._clock, self.now.isoformat(timespec="microseconds").encode(), 0)

    def bound(self, task: asyncio.Task[Any], turns: int) -> None:
        """Cancel a task after so many turns of the loop, and raise if it then goes on as long again."""
        self._bounded, self._turns_left = task, turns
        self._more_turns = turns

    def count_turn(self) -> None:
        """Count a turn of this loop; raises RuntimeError if the loop goes on endlessly."""
        self._turns_left -= 1
        if self._turns_left >= 0 or self._bounded is None or self._bounded.done():
            return
        if not self._more_turns:
            raise RuntimeError("what was cancelled goes on and on")
        self._turns_left, self._more_turns = self._more_turns, 0
        self._bounded.cancel()

    @property
    def busy(self) -> bool:
        """Whether something outside this loop is at work."""
        return self._threads > 0 or any(wire.busy for wire in self._wires)

    def busy_names(self) -> list[str]:
        """Name whose connections are at work, for a person."""
        return [wire.owner.name if wire.owner else "outside" for wire in self._wires if wire.busy]

    def forget_wire(self, wire: DatabaseWire) -> None:
        """Let go of a connection that was closed."""
        self._wires.discard(wire)

    def take_up(self, handle: events.Handle) -> None:
        """Schedule a step that was held back as the next one."""
        if not handle.cancelled():
            self._ready.append(handle)

    def close(self) -> None:
        """Close for good."""
        super().close()
        os.close(self._clock)

    # The methods below override CPython's base loop, where a process's steps and connections are made.

    def _call_soon(self, callback: Any, args: Any, context: Any) -> events.Handle:
        handle = _Step(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> events.TimerHandle:
        """Call at a simulated time."""
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # of CPython's TimerHandle
        return timer

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Run in a thread; time does not jump meanwhile."""
        self._threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended, context=self.outside)
        return future

    def _thread_ended(self, _: ThreadFuture[Any] | asyncio.Future[Any]) -> None:
        self._threads -= 1

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **named: Any) -> Any:
        """Connect to a database, or to an address that exists in the simulation alone."""
        body = PROCESS.get()
        if body is not None and body.dead:
            raise ConnectionRefusedError("this process is dead")
        serve = self.connect.get(host)
        if serve is None:
            return await super().create_connection(factory, host, port, **named)
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        self.outside.run(self._make_socket_transport, theirs, serve())
        connected = await super().create_connection(factory, sock=ours)
        if body is not None:
            body.sockets.add(connected[0])
        return connected

    def _sock_connect_cb(self, connected: Any, sock: socket.socket, address: Any) -> None:
        """Stop watching an established connection, even if its process can't run."""
        super()._sock_connect_cb(connected, sock, address)
        if connected.done() and sock.fileno() >= 0:
            self._remove_writer(sock.fileno())

    def _make_socket_transport(self, sock: socket.socket, protocol: Any, *args: Any, **named: Any) -> Any:
        if sock.family == socket.AF_UNIX:
            return super()._make_socket_transport(sock, protocol, *args, **named)
        wire = DatabaseWire(self, sock, protocol, *args, **named)
        wire.owner = PROCESS.get()
        self._wires.add(wire)
        if wire.owner is not None:
            wire.owner.wires.add(wire)
        return wire


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
    context = named.get("context")
    body = PROCESS.get() if context is None else context.get(PROCESS)
    if body is not None:
        body.own(task)
    return task


@contextlib.contextmanager
def simulated_loop(clock_file: Path) -> Any:
    """Yield a loop for one run of histories."""
    loop = SimulatedLoop(clock_file)
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()

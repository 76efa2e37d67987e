"""Has loaded the code of the commands, and forks for each of them; it is run as a script.

It never begins a thread, and nothing of gRPC but its import, so its children are as good as new processes.
"""

from __future__ import annotations

import gc
import io
import marshal
import os
import select
import signal
import socket
import sys
import threading
from typing import TextIO

import typer._adapters  # what a program loads at its first option

import ledger_server.operator.program
from ledger_server.cli import start

LOADED = (typer._adapters, ledger_server.operator.program)


def serve(place: str) -> bool:
    """Fork for each caller until the standard input ends; return whether this is a command's process."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        assert threading.active_count() == 1
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listening.fileno(), 0], [], [])
            if 0 in ready:
                return False
            caller, _ = listening.accept()
            with caller:
                if os.fork() == 0:
                    listening.close()
                    return keep(caller)


def keep(caller: socket.socket) -> bool:
    """Fork the command and wait for it; return in its process alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(caller, 4, 3, socket.MSG_WAITALL)
    words, environment, folder = marshal.loads(whole(caller, int.from_bytes(size, "big")))
    command = os.fork()
    if command == 0:
        caller.close()
        become(words, environment, folder, streams)
        return True
    caller.sendall(command.to_bytes(4, "big"))
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, caller.fileno()], [], [])
    if ended not in ready:  # whoever stood for the command was killed
        os.kill(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    if ended in ready:
        caller.sendall(status.to_bytes(4, "big"))
    os._exit(0)


def whole(caller: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    received = bytearray()
    while len(received) < size:
        more = caller.recv(size - len(received))
        assert more
        received += more
    return bytes(received)


def become(words: list[bytes], environment: dict[bytes, bytes], folder: bytes, streams: list[int]) -> None:
    """Take the caller's streams, folder, environment and words."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # What Python's streams know of what they write to they have learnt of this process's own.
    sys.stdin = stream_of(0, sys.stdin)
    sys.stdout = stream_of(1, sys.stdout)
    sys.stderr = stream_of(2, sys.stderr)
    os.chdir(folder)
    os.environ.clear()
    os.environb.update(environment)
    sys.argv = ["defter", *map(os.fsdecode, words)]


def stream_of(number: int, old: TextIO) -> TextIO:
    """Return one of Python's own streams anew."""
    return io.TextIOWrapper(
        open(number, "rb" if number == 0 else "wb", closefd=False),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=number == 2,
    )


if __name__ == "__main__":
    # Nobody waits for those that wait for the commands.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    if serve(sys.argv[1]):
        start.main()

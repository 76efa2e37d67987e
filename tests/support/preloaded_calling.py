"""Stands for one command: asks the process that has the code for it, and ends as the command ends.

It is run as a script and imports next to nothing, since it is what each command costs.
"""

import _socket
import marshal
import os
import signal
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Have a command run with the streams of this process."""
    place, *words = sys.argv[1:]
    asked = marshal.dumps(([os.fsencode(word) for word in words], dict(os.environb), os.getcwdb()))  # noqa: PTH109  # pathlib takes longer to import than all else
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(place)
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    size = len(asked).to_bytes(4, "big")
    connection.sendmsg([size], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    while asked:
        asked = asked[connection.send(asked) :]
    process_id = _number(connection)
    for forwarded in FORWARDED:
        signal.signal(forwarded, lambda number, _: os.kill(process_id, number))
    status = _number(connection)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _number(connection: "_socket.socket") -> int:
    received = b""
    while len(received) < 4:
        more = connection.recv(4 - len(received))
        if not more:
            sys.exit("the process that has the code has gone")
        received += more
    return int.from_bytes(received, "big")


if __name__ == "__main__":
    main()

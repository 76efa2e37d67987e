"""Own the process: JSON over HTTP for the supplier of games, the ledger's client behind it.

Run by `python -m examples.game_service`; the environment names the server, the proof's files and the port.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from defter_client import BlockingLedgerClient, Fault, InvalidRequest, LedgerError, Proof, RetryLater
from examples.game_service.rounds import Reply, Rounds, State

PROOF: Final = {
    "authority_file": "DEFTER_SERVER_AUTHORITY_FILE",
    "certificate_file": "DEFTER_CALLER_CERTIFICATE_FILE",
    "key_file": "DEFTER_CALLER_KEY_FILE",
}


class Handler(BaseHTTPRequestHandler):
    """Answers the supplier. Whatever may still come to something is 503, so that it is sent again."""

    rounds: Rounds

    def do_POST(self) -> None:
        """Take a message."""
        messages: dict[str, Callable[..., Reply]] = {
            "/bet": self.rounds.bet,
            "/win": self.rounds.win,
            "/rollback": self.rounds.rollback,
        }
        if self.path not in messages:
            return self._answer(404, {"reason": "no such message"})
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
            reply = messages[self.path](**body)
        except (TypeError, ValueError, InvalidRequest) as error:
            return self._answer(400, {"reason": str(error)})
        except (RetryLater, Fault) as error:
            return self._answer(503, asdict(Reply(State.NOT_YET, error.reason)))
        except LedgerError as error:
            return self._answer(500, {"reason": error.reason})
        return self._answer(503 if reply.state is State.NOT_YET else 200, asdict(reply))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def main() -> None:
    """Serve until Ctrl-C."""
    files = {field: os.environ.get(name) for field, name in PROOF.items()}
    proof = Proof(**{field: Path(file) for field, file in files.items() if file})
    target = os.environ.get("DEFTER_SERVER", "127.0.0.1:50051")
    with BlockingLedgerClient(target, tenant="demo", proof=proof) as ledger:
        Handler.rounds = Rounds(ledger, supplier="acme")
        server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("GAME_PORT", "8090"))), Handler)
        print(f"games: http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

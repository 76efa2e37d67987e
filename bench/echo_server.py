"""Own the ceiling: bare gRPC with nothing behind it, as a process of its own.

Run as `python -m bench.echo_server --port N`, with the bytes of one real PostTransactionResponse on
standard input. Requests are parsed and the response is serialised each time, as the ledger must. With
`--tuned` it runs and takes calls as the ledger with the same settings does, otherwise as `grpc.aio` does.
"""

import argparse
import signal
import sys

import grpc
import uvloop
from defter.ledger.v1.posting_pb2 import PostTransactionRequest, PostTransactionResponse

from ledger_server.process.settings import Settings
from ledger_server.process.tuning import let_threads_finish, relax_collector
from ledger_server.rpc.grpc_server import open_server


async def serve(port: int, response: PostTransactionResponse, *, tuned: bool) -> None:
    """Answer every PostTransaction with `response` until the process is ended."""

    async def post_transaction(_: PostTransactionRequest, __: object) -> PostTransactionResponse:
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        post_transaction,
        request_deserializer=PostTransactionRequest.FromString,
        response_serializer=PostTransactionResponse.SerializeToString,
    )
    server = open_server((), calls_ahead=Settings().calls_ahead if tuned else 0)
    service = grpc.method_handlers_generic_handler(
        "defter.ledger.v1.PostingService", {"PostTransaction": handler}
    )
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    if tuned:
        relax_collector()
    await server.wait_for_termination()


def main() -> None:
    """Read the response, then serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tuned", action="store_true", help="run and take calls as the ledger does")
    arguments = parser.parse_args()
    response = PostTransactionResponse.FromString(sys.stdin.buffer.read())
    # Nothing is worth draining here: the default action ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if arguments.tuned and Settings().batch_scheduling:
        let_threads_finish()
    uvloop.run(serve(arguments.port, response, tuned=arguments.tuned))


if __name__ == "__main__":
    main()

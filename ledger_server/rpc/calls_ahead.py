"""Owns the refusal of a grpcio on which calls can't be asked for ahead."""

import grpc


class CallsAheadRefused(ValueError):
    """Calls can't be asked for ahead with the installed grpcio; without calls ahead the server starts."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"DEFTER_CALLS_AHEAD: calls can't be asked for ahead with grpcio {grpc.__version__}: {why}; "
            "with DEFTER_CALLS_AHEAD=0 the stock server of grpc.aio runs, on any version"
        )

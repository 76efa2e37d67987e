"""Own the opening of a channel: plaintext on this machine, or TLS with the proof of who calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from defter_channel.proof import Contents, Proof
from defter_channel.renewed import RenewedChannel
from defter_channel.renewed_blocking import RenewedBlockingChannel


def open_channel(target: str, proof: Proof | None, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
    """Return a channel; nothing is sent yet.

    A token that is replaced in its file counts at once; certificates, keys and authorities within seconds.

    Raises:
        ProofUnusable: a file can't be read, or the files do not go together.
    """
    if proof is None or proof.authority_file is None:
        if proof is not None:
            proof.check()
        return grpc.aio.insecure_channel(target, options=list(options))
    return RenewedChannel(proof, lambda contents: _secure_channel(target, proof, contents, options))


def _secure_channel(
    target: str, proof: Proof, contents: Contents, options: Sequence[tuple[str, Any]]
) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(target, _credentials(proof, contents), options=list(options))


def open_blocking_channel(
    target: str, proof: Proof | None, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """Return a channel of gRPC's blocking stack, as `open_channel` does of the other one.

    Raises:
        ProofUnusable: a file can't be read, or the files do not go together.
    """
    if proof is None or proof.authority_file is None:
        if proof is not None:
            proof.check()
        return grpc.insecure_channel(target, options=list(options))
    return RenewedBlockingChannel(
        proof,
        lambda contents: grpc.secure_channel(target, _credentials(proof, contents), options=list(options)),
    )


def _credentials(proof: Proof, contents: Contents) -> grpc.ChannelCredentials:
    credentials = grpc.ssl_channel_credentials(contents.authority, contents.key, contents.certificate)
    if proof.token_file is None:
        return credentials
    return grpc.composite_channel_credentials(
        credentials, grpc.metadata_call_credentials(_Bearer(proof.token_file))
    )


class _Bearer(grpc.AuthMetadataPlugin):
    """Adds the token of a file to each call."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, _: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        """Read the token; an unreadable one fails the call."""
        try:
            text = self._file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            callback((), error)
            return
        callback((("authorization", f"Bearer {text}"),), None)

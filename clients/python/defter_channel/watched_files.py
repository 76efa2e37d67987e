"""Own the files of a proof while a channel is open: when they are looked at, and what they say by now."""

from __future__ import annotations

import logging
import time
from typing import Final

from defter_channel.proof import Contents, Proof, ProofUnusable

LOOK_SECONDS: Final = 2.0
"""The files are looked at by a call, at most this often."""
_log = logging.getLogger("defter_channel")


class WatchedFiles:
    """What the files of a proof say; files that can't be used leave what was said before."""

    def __init__(self, proof: Proof) -> None:
        """Read them.

        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._proof = proof
        self._stamps = proof.stamps()
        self.contents = proof.read()
        self._looked_at = time.monotonic()
        self._problem = ""

    def look_if_due(self) -> Contents | None:
        """Return what they say if that is new, as `look`, but look no more often than `LOOK_SECONDS`."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return None
        return self.look()

    def look(self) -> Contents | None:
        """Return what they say if that is new and can be used, else None."""
        self._looked_at = time.monotonic()
        stamps = self._proof.stamps()
        if stamps == self._stamps:
            return None
        try:
            contents = self._proof.read()
        except ProofUnusable as error:
            # The stamps stay old, so it is read again: perhaps one file of two was replaced so far.
            if str(error) != self._problem:
                _log.error("the proof is not read, the last one stays: %s", error)
            self._problem = str(error)
            return None
        self._stamps, self._problem = stamps, ""
        if contents == self.contents:
            return None
        self.contents = contents
        _log.info("the proof was read anew")
        return contents

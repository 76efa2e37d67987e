"""Owns how a server process runs: how its threads are scheduled, and how often cycles are collected."""

import contextlib
import gc
import os
import sys
from typing import Final

# Requests make many objects; gRPC leaves one cycle a call behind. At Python's defaults looking for cycles
# costs a tenth of the time; this many new objects are looked through in 2 ms, in which all callers wait.
_YOUNG_OBJECTS: Final = 5_000


def let_threads_finish() -> None:
    """Ask that threads which wake up don't interrupt one that runs; call it before there are threads.

    gRPC has half a dozen that bring events to the event loop's thread. As a rule each of them, when it
    wakes up, takes that thread's CPU away to bring it a single event (decision 15).
    """
    if sys.platform == "linux":
        # Where a sandbox forbids it, the server is slower and just as right.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def relax_collector() -> None:
    """Look for reference cycles more rarely, and never again among what start-up has made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)

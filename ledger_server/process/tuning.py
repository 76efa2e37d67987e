"""Owns the tuning of a server process: thread scheduling, and how often cycles are collected."""

import contextlib
import gc
import os
import sys
from typing import Final

# Requests make many objects, and gRPC leaves one cycle per call behind. With Python's defaults the search for
# cycles costs a tenth of the time. This many new objects are searched in 2 ms, during which all callers wait.
_YOUNG_OBJECTS: Final = 5_000


def let_threads_finish() -> None:
    """Ask that threads which wake up don't interrupt one that runs; call it before there are threads.

    gRPC has half a dozen threads that bring events to the event loop's thread. By default each of them, when
    it wakes up, takes the CPU away from that thread to bring it a single event (decision 15).
    """
    if sys.platform == "linux":
        # In a sandbox that forbids this, the server is slower and just as correct.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def relax_collector() -> None:
    """Look for reference cycles more rarely, and never again among what start-up has made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)

"""Simulate the whole border: our processes, clocks and pauses, and a provider with its webhooks.

A history follows from its seed (`plan.py`). Two processes, started as the product starts itself
(`process.py`), run on one event loop in which time jumps and any process can be stopped, frozen with all its
clocks, or killed between any two of its steps (`loop.py`). They talk to a real PostgreSQL, whose clock
`defter_now()` is the simulation's, and through the real adapters to a provider that is written from the
vendors' contracts (`provider.py`, `dialects.py`). People and webhooks come from `world.py`. At the end all
faults of the provider, clocks and processes are healed; then `oracle.py` compares what the provider has done
with what the ledger says.

`make simulate` runs many histories; `DEFTER_SIMULATION_SEED=n` makes the short form run history n alone, and
`make simulate ARGS="--seeds n"` prints its result.
"""

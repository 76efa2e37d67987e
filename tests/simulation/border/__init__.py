"""Simulate the whole border: processes, clocks and pauses here, a provider and its webhooks there.

A history follows from its seed (`plan.py`). Two processes, started as the product starts itself
(`process.py`), run on one event loop in which time jumps and any process can be stopped, frozen with all its
clocks, or killed between any two of its steps (`loop.py`). They talk to a real PostgreSQL, whose clock
`defter_now()` is the simulation's, and through the real adapters to a provider that is written from the
vendors' contracts (`provider.py`, `dialects.py`). People and webhooks come from `world.py`. At the end the
provider is well, every clock is right and nobody is stopped; then `oracle.py` looks at what the provider has
done and what the ledger says.

`make simulate` runs many; `DEFTER_SIMULATION_SEED=n` has the short form run history n alone, and
`make simulate ARGS="--seeds n"` says what became of it.
"""

"""Own the seed of everything that tests choose at random; the run's header prints it."""

import os
import secrets

SEED_VARIABLE = "DEFTER_TEST_SEED"
# Kept in the environment, so that the workers of a parallel run share it.
SEED = os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(2**32)))

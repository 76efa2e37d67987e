"""Own the tests of Defter."""

import pytest

# What a failed assertion compared is told, also where helpers compare.
pytest.register_assert_rewrite("tests.support", "tests.simulation")

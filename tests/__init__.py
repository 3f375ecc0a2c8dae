"""Tests: ``unit`` in memory, ``functional`` with real parts, ``fault`` with parts that die.

Generated examples have no deadline, for the machine's speed is not what is tested; in CI they are the
same at each run.
"""

import os

from hypothesis import settings

settings.register_profile("nfp", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("nfp")

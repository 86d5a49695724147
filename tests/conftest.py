"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# Timing never decides a test. In CI the same examples are drawn each time: a new counterexample belongs to whoever
# changes the code, not to whoever lands next.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

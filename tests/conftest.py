"""What holds for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Timing never decides a test. In CI the same examples are drawn each time: a new counterexample belongs to whoever
# changes the code, not to whoever lands next.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

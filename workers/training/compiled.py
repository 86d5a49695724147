"""How the inner loops of augmentation are compiled. Imported only where a sample is moved: Numba takes 0.3 s."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])

# A compiled function is read back by pickle: only from beside this file, where whoever can write could change the
# program itself. Where that cannot be written, every process compiles for four to five seconds.
_CACHED = os.access(Path(__file__).parent, os.W_OK)

# Without fast-math: sums keep their order, and a product and a sum stay two operations. NumPy's error model divides
# without a branch, which would keep a loop from becoming vector instructions.
compiled: Callable[[F], F] = partial(numba.njit, nogil=True, cache=_CACHED, error_model="numpy")

# For a part of a compiled function: compiled with it alone, which halves the seconds that it takes.
inlined: Callable[[F], F] = partial(numba.njit, inline="always", error_model="numpy")

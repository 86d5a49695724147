"""Makes `study_maker` and `older_demo` importable for the tests of the analysis."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

"""Makes `study_maker` importable for the tests of the analysis."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

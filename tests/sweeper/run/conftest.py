"""Makes `study_maker` importable for the tests of what follows a study."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))

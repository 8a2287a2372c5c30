"""Commands that are killed, and two at once. Files of other folders are found as pytest does."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("data", "hub")]

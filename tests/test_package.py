"""What a user meets first: the import and the command line."""

import subprocess
import sys


def test_import_is_light() -> None:
    code = (
        "import sys, svp_diffusers; "
        "print([m for m in ('torch', 'diffusers', 'librosa', 'insightface') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

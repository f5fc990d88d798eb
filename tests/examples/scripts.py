"""Runs a script of the examples as a user does."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTES = ("oneDNN", "cpu_feature_guard", "cuda", "computation_placer")
"""Words of what TensorFlow notes at its start."""


def run_script(name: str, dataset: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script, without what tests set to silence TensorFlow."""
    return subprocess.run(
        [sys.executable, EXAMPLES / name, dataset],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={
            name: value
            for name, value in os.environ.items()
            if name != "TF_CPP_MIN_LOG_LEVEL"
        },
    )

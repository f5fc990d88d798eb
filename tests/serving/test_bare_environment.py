"""An export where TensorFlow alone is installed, and with TensorFlow's own tool."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tfcausal.serving import check_saved_model
from tfcausal.serving.model_card import GOLDEN_FILE

pytestmark = pytest.mark.slow


def cases(exported: Path) -> list[dict[str, Any]]:
    """Returns the golden requests as the check reads them."""
    found = []
    for case in json.loads((exported / GOLDEN_FILE).read_text(encoding="utf-8")):
        outputs = case["rest"]["response"]["outputs"]
        found.append(
            {
                "signature": case["signature"],
                "inputs": case["rest"]["request"]["inputs"],
                "expected": outputs
                if isinstance(outputs, dict)
                else {"embedding": outputs},
            }
        )
    return found


def test_a_fresh_virtual_environment_answers(tmp_path: Path, exported: Path) -> None:
    """It installs TensorFlow from the package registry, which takes minutes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    wanted = [f"{name}=={version(name)}" for name in ("tensorflow", "numpy")]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *wanted],
        check=True,
    )
    stored = tmp_path / "cases.json"
    stored.write_text(json.dumps(cases(exported)), encoding="utf-8")
    checked = subprocess.run(
        [python, "-I", check_saved_model.__file__, str(exported), str(stored)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr[-2000:]


def test_tensorflows_own_tool_shows_and_runs_it(exported: Path) -> None:
    tool = Path(sys.executable).with_name("saved_model_cli")
    shown = subprocess.run(
        [tool, "show", "--dir", exported, "--tag_set=serve", "--signature_def=explain"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ("user_id", "item_id", "score_interest", "known_user"):
        assert f"['{name}']" in shown
    ran = subprocess.run(
        [
            *(tool, "run", "--dir", exported, "--tag_set=serve"),
            "--signature_def=explain",
            "--input_exprs=user_id=['u1'];item_id=['i2']",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Result for output key score_conformity" in ran

"""What deploy/dataflow says of the jobs is true."""

import importlib.util
import json
import re
import subprocess
import sys
from argparse import ArgumentParser
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

from tests.beam_jobs.chain import steps
from tests.test_import_rules import WORKERS_MAY_IMPORT, imports

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "dataflow"


def tool(name: str) -> ModuleType:
    """Returns one of tools/, which are scripts and no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_templates_have_the_jobs_options() -> None:
    flex_templates = tool("flex_templates")
    files = {path.stem for path in FOLDER.glob("*.json")}
    assert {job.name for job in flex_templates.JOBS} == files
    assert files == steps(Path("source"), Path("dataset")).keys()
    for job in flex_templates.JOBS:
        found = (FOLDER / f"{job.name}.json").read_text(encoding="utf-8")
        assert found == flex_templates.metadata(job), "run tools/flex_templates"
        parser = ArgumentParser(add_help=False)
        job.flags._add_argparse_args(parser)
        flags = {action.dest for action in parser._actions}
        names = {parameter["name"] for parameter in json.loads(found)["parameters"]}
        assert names == flags | {"sdk_container_image"}


@pytest.mark.parametrize("job", ["ingest", "item_concepts"])
def test_a_job_runs_as_a_file(job: str, tmp_path: Path) -> None:
    # As the launcher of a Flex Template runs it, every flag with its value.
    script = ROOT / "beam_jobs" / f"{job}.py"
    flags = ["--dataset=none", "--concepts=genre", "--overwrite=true"]
    if job == "ingest":
        flags = ["--input=none", "--format=csv", "--output=none", "--overwrite=true"]
    done = subprocess.run(
        [sys.executable, str(script), *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"{job}: .*none.*\n", done.stderr)


def test_the_image_has_what_the_jobs_import() -> None:
    image = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"constraint constraints.txt \\\n\s+(.*) \\\n", image)
    found: dict[str, str] = {}
    for text in listed.replace("'", "").split():
        name, _, extras = text.rstrip("]").partition("[")
        found[name] = ""
        tool("lock").pins(name, tuple(filter(None, extras.split(","))), found)
    owners = packages_distributions()
    sources = [
        path
        for folder in (
            "beam_jobs",
            *(f"tfcausal/{room}" for room in WORKERS_MAY_IMPORT),
        )
        for path in (ROOT / folder).rglob("*.py")
    ]
    needed = {
        re.sub(r"[-_.]+", "-", owners[name][0]).lower()
        for path in sources
        for name in {
            found.module.partition(".")[0] for found in imports(path.read_text())
        }
        if name not in sys.stdlib_module_names
    }
    assert len(needed) > 4
    assert needed - {"tfcausal"} <= found.keys()

"""Which room may look into which: every import in the package is walked.

A room imports only from the rooms before it in ROOMS. A library that only one room may
touch is imported there alone.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    ("schema", "stats"),
    ("data",),
    ("keras_compat",),
    ("samplers",),
    ("losses",),
    ("layers",),
    ("methods",),
    ("training",),
    ("evaluation",),
    ("serving",),
    ("reports",),
    ("cli",),
)
BELOW_ALL = ("errors", "version")
HEIGHT = {room: height for height, rooms in enumerate(ROOMS) for room in rooms}
OWNERS = {
    "keras": "keras_compat",
    "tf_keras": "keras_compat",
    "tensorflow_recommenders": "keras_compat",
    "scann": "serving",
    "matplotlib": "reports",
    "sklearn": "reports",
}
ONLY_INSIDE_FUNCTIONS = ("scann", "matplotlib", "sklearn")
# Losses run on every backend of Keras 3, and Beam's workers start without TensorFlow.
WITHOUT_TENSORFLOW = ("losses", "beam_jobs")
WORKERS_MAY_IMPORT = ("schema", "stats", *BELOW_ALL)
WHOLE = "the package as a whole is for its users; import a room of it"


@dataclass(frozen=True)
class Import:
    module: str
    inside_function: bool


def imports(source: str) -> Iterator[Import]:
    """Yields every module that a source imports, functions' own imports too."""

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # The last name may be a module too: from tfcausal.methods import dice.
            if module.split(".")[0] in ("tfcausal", "beam_jobs"):
                for alias in node.names:
                    yield Import(f"{module}.{alias.name}", inside)
            else:
                yield Import(module, inside)
        elif isinstance(node, ast.Call) and node.args:
            name = node.args[0]
            called = ast.unparse(node.func).split(".")[-1]
            if called in ("import_module", "__import__") and isinstance(
                name, ast.Constant
            ):
                yield Import(str(name.value), inside)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside or function)

    yield from visit(ast.parse(source), False)


def faults(path: str, source: str) -> list[str]:
    """Returns what a file imports against the rules."""
    parts = Path(path).with_suffix("").parts
    found = []
    for imported in imports(source):
        names = imported.module.split(".")
        rule = (
            _worker_rule(names, imported)
            if parts[0] == "beam_jobs"
            else _room_rule(parts, names)
        )
        room = parts[1] if parts[0] == "tfcausal" and len(parts) > 1 else parts[0]
        owner = OWNERS.get(names[0])
        if owner is not None and room != owner:
            rule = f"only {owner} imports {names[0]}"
        if names[0] == "tensorflow" and room in WITHOUT_TENSORFLOW:
            rule = f"{room} works without TensorFlow"
        if names[0] in ONLY_INSIDE_FUNCTIONS and not imported.inside_function:
            rule = f"{names[0]} is imported inside functions"
        if rule:
            found.append(f"{path} imports {imported.module}: {rule}")
    return found


def _worker_rule(names: list[str], imported: Import) -> str:
    if names[0] != "tfcausal":
        return ""
    if len(names) == 1:
        return WHOLE
    if names[1] in WORKERS_MAY_IMPORT:
        return ""
    if names[1] == "serving" and imported.inside_function:
        return ""
    return "jobs import schema and stats; serving only inside functions"


def _room_rule(parts: tuple[str, ...], names: list[str]) -> str:
    if names[0] in ("apache_beam", "beam_jobs"):
        return "tfcausal never imports Beam"
    room = parts[1]
    if room in ("schema", "stats") and names[0] not in (
        "tfcausal",
        "numpy",
        "pyarrow",
        *sys.stdlib_module_names,
    ):
        return "schema and stats import numpy and pyarrow only"
    if names[0] != "tfcausal" or room == "__init__":
        return ""
    if len(names) == 1:
        return WHOLE
    if room in BELOW_ALL:
        return "errors and version import no room"
    if names[1] in BELOW_ALL:
        return ""
    for name in (room, names[1]):
        if name not in HEIGHT:
            return f"{name} must have its place in ROOMS"
    if names[1] == room:
        shared = (
            *("__init__", "base", "click", "histories", "options", "registry"),
            *("towers", "triplets"),
        )
        if room == "methods" and parts[2] not in shared:
            if names[2:] and names[2] in shared:
                return ""
            return "a method imports no other method"
        return ""
    if HEIGHT[names[1]] > HEIGHT[room] or (
        HEIGHT[names[1]] == HEIGHT[room] and room == "schema"
    ):
        return f"{room} comes before {names[1]}"
    return ""


def sources() -> list[Path]:
    return sorted(
        path
        for room in ("tfcausal", "beam_jobs")
        for path in (ROOT / room).rglob("*.py")
    )


@pytest.mark.parametrize(
    "path", sources(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_follow_the_rooms(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    assert faults(relative, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tfcausal/schema/a.py", "import tensorflow"),
        ("tfcausal/schema/a.py", "from tfcausal.stats import mixing"),
        ("tfcausal/stats/a.py", "from tfcausal.data.interactions import read_part"),
        ("tfcausal/training/a.py", "from tfcausal.evaluation import metrics"),
        ("tfcausal/losses/a.py", "import keras"),
        ("tfcausal/losses/a.py", "def f():\n    import tensorflow as tf"),
        (
            "tfcausal/data/a.py",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from tfcausal.serving import client",
        ),
        ("tfcausal/evaluation/a.py", "def f():\n    import apache_beam"),
        ("tfcausal/evaluation/a.py", "def f():\n    import scann"),
        ("tfcausal/serving/a.py", "import scann"),
        ("tfcausal/methods/a.py", "from tfcausal.methods.dice import DICE"),
        ("tfcausal/methods/a.py", "from tfcausal.methods import dice"),
        ("tfcausal/methods/a.py", "from tfcausal import methods"),
        ("tfcausal/methods/a.py", "from tfcausal import cli"),
        ("tfcausal/data/a.py", "import tfcausal"),
        ("tfcausal/data/a.py", "from tfcausal import keras_compat"),
        ("tfcausal/unplaced/a.py", "from tfcausal.schema import columns"),
        ("tfcausal/cli/a.py", "import importlib\nimportlib.import_module('tf_keras')"),
        ("tfcausal/cli/a.py", "def f():\n    import matplotlib.pyplot"),
        ("tfcausal/errors.py", "from tfcausal.schema import columns"),
        ("tfcausal/version.py", "from tfcausal import errors"),
        ("beam_jobs/a.py", "import tfcausal"),
        ("beam_jobs/a.py", "import tensorflow as tf"),
        ("beam_jobs/a.py", "from tfcausal.data import interactions"),
        ("beam_jobs/a.py", "from tfcausal.serving import client"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(faults(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tfcausal/serving/a.py", "def f():\n    import scann"),
        ("tfcausal/methods/a.py", "from tfcausal.methods.base import Method"),
        ("tfcausal/methods/a.py", "from tfcausal.methods import registry"),
        ("tfcausal/stats/a.py", "from tfcausal.schema.columns import USER"),
        ("tfcausal/cli/a.py", "from tfcausal.serving import client"),
        ("beam_jobs/a.py", "def f():\n    from tfcausal.serving import client"),
        ("beam_jobs/a.py", "import apache_beam as beam\nfrom beam_jobs import split"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert faults(path, source) == []

"""Bazel's BUILD misses no source: its globs are expanded and compared with the tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.test_import_rules import imports

ROOT = Path(__file__).parents[1]
FOLDERS = ("tfcausal", "beam_jobs", "tests", "examples", "tools")


def sources_of(build: str, root: Path) -> set[str]:
    """Returns the files that the `srcs` of a BUILD file name, globs expanded."""
    tree = ast.parse(build)
    tables = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "srcs":
                    found |= set(_files(keyword.value, tables, root))
    return found


def _files(node: ast.expr, tables: dict[str, dict], root: Path) -> Iterator[str]:
    if isinstance(node, ast.BinOp):
        yield from _files(node.left, tables, root)
        yield from _files(node.right, tables, root)
    elif isinstance(node, ast.List):
        yield from (ast.literal_eval(entry) for entry in node.elts)
    elif isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        assert node.func.id == "glob"
        assert not node.keywords, "a glob that leaves files out is not understood here"
        for pattern in node.args[0].elts:
            for text in _patterns(pattern, tables):
                for path in root.glob(text):
                    if not _is_in_another_package(path, root):
                        yield path.relative_to(root).as_posix()


def _is_in_another_package(path: Path, root: Path) -> bool:
    """Tells whether a BUILD file of its own hides a folder from the top's globs."""
    folders = path.relative_to(root).parents
    return any((root / folder / "BUILD").exists() for folder in list(folders)[:-1])


def _patterns(node: ast.expr, tables: dict[str, dict]) -> list[str]:
    """Expands a pattern with a room's name in it, for every room."""
    if isinstance(node, ast.Constant):
        return [node.value]
    (rooms,) = tables.values()
    code = compile(ast.Expression(node), "BUILD", "eval")
    return [eval(code, {"room": room}) for room in rooms]


def python_files(root: Path) -> set[str]:
    files = {
        path.relative_to(root).as_posix()
        for folder in FOLDERS
        for path in (root / folder).rglob("*.py")
    }
    return files | {path.name for path in root.glob("*.py")}


def test_every_source_has_a_target() -> None:
    covered = sources_of((ROOT / "BUILD").read_text(encoding="utf-8"), ROOT)
    assert python_files(ROOT) - covered == set()


def test_a_missing_source_is_found(tmp_path: Path) -> None:
    for name in ("tfcausal/schema/a.py", "tfcausal/new/b.py", "setup.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    covered = sources_of((ROOT / "BUILD").read_text(encoding="utf-8"), tmp_path)
    assert python_files(tmp_path) - covered == {"tfcausal/new/b.py"}


def test_a_folder_with_a_build_file_of_its_own_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "tfcausal/schema/inner").mkdir(parents=True)
    (tmp_path / "tfcausal/schema/inner/a.py").touch()
    (tmp_path / "tfcausal/schema/inner/BUILD").touch()
    covered = sources_of((ROOT / "BUILD").read_text(encoding="utf-8"), tmp_path)
    assert python_files(tmp_path) - covered == {"tfcausal/schema/inner/a.py"}


def undeclared(build: str, root: Path) -> set[str]:
    """Returns "room -> room" for every import whose library BUILD does not name."""
    tree = ast.parse(build)
    (rooms,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    )
    return {
        f"{room} -> {names[1]}"
        for room, deps in rooms.items()
        for path in (root / "tfcausal" / room).rglob("*.py")
        for imported in imports(path.read_text(encoding="utf-8"))
        if (names := imported.module.split("."))[0] == "tfcausal" and names[1:]
        if names[1] in rooms and names[1] not in (room, *deps)
    }


def test_libraries_name_what_their_rooms_import() -> None:
    assert undeclared((ROOT / "BUILD").read_text(encoding="utf-8"), ROOT) == set()


def test_an_undeclared_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "tfcausal/losses").mkdir(parents=True)
    path = tmp_path / "tfcausal/losses/a.py"
    path.write_text("def f():\n    from tfcausal.schema import columns\n")
    build = (ROOT / "BUILD").read_text(encoding="utf-8")
    assert undeclared(build, tmp_path) == {"losses -> schema"}


def test_every_test_file_is_a_test_target() -> None:
    build = (ROOT / "BUILD").read_text(encoding="utf-8")
    assert 'for path in glob(["tests/**/test_*.py"])' in build
    assert "py_test(" in build


def packaged_data(setup: str, root: Path) -> set[str]:
    """Returns the files that `package_data` of a setup.py takes into a wheel."""
    (patterns,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(setup))
        if isinstance(node, ast.keyword) and node.arg == "package_data"
    )
    return {
        path.relative_to(root).as_posix()
        for package, names in patterns.items()
        for name in names
        for path in (root / package).glob(name)
    }


def test_a_wheel_has_every_data_file() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tfcausal").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert "tfcausal/reports/assets/page.html" in data
    assert data == packaged_data(setup, ROOT)

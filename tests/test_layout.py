"""The files of the package import each other in one direction, are short, and have names that identify them."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TWINS = ("aorch/ledger/sqlite/", "aorch/ledger/postgres/")
NAMED_AFTER_A_NOUN = ("aorch/cli/commands/", "aorch/server/routes/", "aorch/server/schemas/")

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
GENERATED = {f"aorch/ledger/{database}/statements.py" for database in ("sqlite", "postgres")}
SUPPORT = {"support", "examples"}
"""Folders of tests that mirror no folder of the package."""


def modules() -> dict[str, Path]:
    """Each module of the package with its file."""
    files = sorted((ROOT / "aorch").rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports_of(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports anywhere: at the top, inside functions, and for type checkers."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                imported = f"{node.module}.{alias.name}"
                if imported in known or node.module in known:
                    yield imported if imported in known else node.module


def import_graph() -> dict[str, set[str]]:
    """For each module of the package, the modules that it imports."""
    known = modules()
    return {module: set(imports_of(file, known)) - {module} for module, file in known.items()}


def test_no_file_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise AssertionError(f"import circle (each is imported by the next): {circle}") from None


def test_the_import_graph_contains_imports_for_type_checkers_and_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "some_module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from aorch.engine.task import Answer\n"
        "def later():\n"
        "    import aorch.ids\n"
        "    from aorch import jsonio\n"
    )
    assert set(imports_of(file, modules())) == {"aorch.engine.task", "aorch.ids", "aorch.jsonio"}


def test_a_file_name_occurs_once() -> None:
    """So that a traceback or an editor's tab identifies the file."""
    names: dict[str, list[str]] = {}
    for file in modules().values():
        path = str(file.relative_to(ROOT))
        if file.name != "__init__.py" and not path.startswith((*TWINS, *NAMED_AFTER_A_NOUN)):
            names.setdefault(file.name, []).append(path)
    for file in (ROOT / "tests").rglob("*.py"):  # pytest imports them by their names alone
        if file.name != "conftest.py":
            names.setdefault(file.name, []).append(str(file.relative_to(ROOT)))
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


def test_no_file_is_longer_than_400_lines() -> None:
    files = {
        str(file.relative_to(ROOT)): file for folder in ("aorch", "tests") for file in (ROOT / folder).rglob("*.py")
    }
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in files.items()}
    assert {name for name, count in lines.items() if count > MOST_LINES_OF_A_FILE} == GENERATED


def test_no_function_of_the_package_is_longer_than_60_lines() -> None:
    long = {
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in modules().values()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert long == set()


def test_a_folder_of_tests_is_named_after_a_folder_of_the_package() -> None:
    folders = {file.parent.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("*.py")}
    package = {file.parent.relative_to(ROOT / "aorch") for file in modules().values()}
    assert {str(folder) for folder in folders - package} == SUPPORT

"""Small files and functions: the budget of CONTRIBUTING.md, checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_MAX_FILE = 450
_MAX_FUNCTION = 40


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (_ROOT / folder).rglob("*.py"))


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function's place and the lines of its body, docstring left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            yield f"{path}:{node.lineno} {node.name}", node.end_lineno - body[0].lineno + 1


def test_no_file_is_longer_than_the_budget() -> None:
    files = _files("src", "tests", "benchmarks", "examples")
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    assert len(lines) > 100
    assert {path: count for path, count in lines.items() if count > _MAX_FILE} == {}


def test_no_function_is_longer_than_the_budget() -> None:
    found = [function for path in _files("src") for function in _functions(path)]
    assert len(found) > 1000
    assert [(place, lines) for place, lines in found if lines > _MAX_FUNCTION] == []


def test_the_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text("utf-8").splitlines()) <= 150

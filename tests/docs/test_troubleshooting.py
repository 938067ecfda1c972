"""The troubleshooting page quotes messages that the package still has."""

import ast
import re
from pathlib import Path

import pytest

import dinotxt

_PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
_QUOTED = re.findall(r"^### (`+) ?(.+?) ?\1$", _PAGE.read_text("utf-8"), flags=re.M)
_MESSAGES = [message for _, message in _QUOTED]


def _text(node: ast.AST) -> str | None:
    """Return a literal with ``…`` where a value is put in; None for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return None


@pytest.fixture(scope="module")
def literals() -> str:
    files = Path(dinotxt.__file__).parent.rglob("*.py")
    trees = [ast.parse(path.read_text("utf-8")) for path in files]
    return "\0".join(filter(None, (_text(node) for tree in trees for node in ast.walk(tree))))


@pytest.mark.parametrize("message", _MESSAGES)
def test_a_quoted_message_is_in_the_source(message: str, literals: str) -> None:
    assert message.removesuffix("…") in literals


def test_every_entry_has_a_cause_and_a_fix() -> None:
    entries = re.split(r"^### ", _PAGE.read_text("utf-8"), flags=re.M)[1:]
    assert len(entries) == len(set(_MESSAGES)) > 70
    for entry in entries:
        assert re.search(r"^\*\*Cause\.\*\* .+\n\n\*\*Fix\.\*\* .+$", entry, flags=re.M), entry

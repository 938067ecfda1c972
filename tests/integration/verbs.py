"""Verbs called as on the command line, within the process of the tests."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from dinotxt.cli.main import app


def call(*arguments: object) -> Result:
    """Run a verb; an error that is no message of its own is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(result: Result) -> dict[str, Any]:
    """Return the JSON that a verb wrote to standard output."""
    content: dict[str, Any] = json.loads(result.stdout)
    return content

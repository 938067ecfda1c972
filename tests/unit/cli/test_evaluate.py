from dataclasses import fields
from typing import Annotated

import typer
from typer.testing import CliRunner

from dinotxt.cli import analyze, evaluate
from dinotxt.cli.evaluate import Settings
from dinotxt.cli.options import Shown, grouped
from dinotxt.evaluation import Options


def _groups(kind: type[Settings]) -> list[type[Settings]]:
    return [kind, *(deep for one in kind.__subclasses__() for deep in _groups(one))]


def test_every_group_says_what_evaluate_takes_with_its_defaults() -> None:
    groups = _groups(Settings)
    assert {one.__module__ for one in groups} == {analyze.__name__, evaluate.__name__}
    for group in groups:
        assert group().options() == Options()


def test_every_option_of_evaluate_can_be_given() -> None:
    known = {one.name for group in _groups(Settings) for one in group.parameters()}
    assert known == {field.name for field in fields(Options)}


def test_a_group_gives_its_fields_as_options_and_the_verb_gets_the_group() -> None:
    app = typer.Typer()

    @app.command()
    @grouped
    def verb(name: Annotated[str, typer.Argument()], shown: Shown, count: int = 2) -> None:
        """Say it."""
        typer.echo(f"{name} {shown.to_dict()} {count}")

    result = CliRunner().invoke(app, ["a", "--json", "-", "--count", "3"])
    assert result.output == "a {'json_path': '-', 'quiet': False} 3\n"
    assert CliRunner().invoke(app, ["a", "--shown", "x"]).exit_code == 2

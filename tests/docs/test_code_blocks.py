"""Every fenced block of the documentation is parsed; programs and cheap commands are run."""

import csv
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.testing import CliRunner

from dinotxt.cli.main import app
from dinotxt.config import load_config, to_json
from dinotxt.curation.config import CurationConfig
from dinotxt.recipes import recipe_names, recipe_path
from dinotxt.training.config import TrainConfig

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)
_KINDS = {"bash", "console", "csv", "json", "python", "text", "yaml"}
_OTHER_PROGRAMS = {"curl", "export", "ffmpeg", "hf", "img2dataset", "ray", "sed"}
_COMPLETION = {"--install-completion", "--show-completion"}  # they write to the shell's files
# What is run, page by page; all other lines are parsed.
_RUN = {
    "README.md": {"classify", "segment", "index", "search"},
    "quickstart.md": {"classify", "segment", "index", "search"},
    "guides/baselines.md": {"segment"},
    "guides/export.md": {"classify", "segment", "index", "search", "eval"},
    "guides/masks.md": {"segment"},
    "guides/search.md": {"index", "search"},
    "guides/segmentation.md": {"segment"},
}
_LEAVES = {
    "guides/search.md": ("dogs.html", "album.index/manifest.json", "album.index/thumbnails"),
    "guides/segmentation.md": ("out/street_overlay.png", "out/street_labels.png", "overlay.png"),
    "quickstart.md": ("labels.json", "overlays/street_overlay.png", "overlay.png"),
}
_SLOW = ("--seconds", "--crops 100", "--protocol", "ade20k", "coco", "laion", "val/", "val.tar")


class Block(NamedTuple):
    """A fenced block and where it stands."""

    page: str
    kind: str
    text: str


class Line(NamedTuple):
    """One command of a shell."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words without comments and without the variables set before it."""
        words = shlex.split(self.text.removeprefix("$ "), comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        return words

    @property
    def arguments(self) -> list[str] | None:
        """What follows ``dinotxt``, also under torchrun and ``python -m``; None for others."""
        words = self.words
        for start in (["dinotxt"], ["-m", "dinotxt"]):
            for place in range(len(words) - len(start) + 1):
                if words[place : place + len(start)] == start and (start[0] == "-m" or not place):
                    return words[place + len(start) :]
        return None


_BLOCKS = [
    Block(path.relative_to(_ROOT).as_posix().removeprefix("docs/"), kind, text)
    for path in _PAGES
    for kind, text in _FENCE.findall(path.read_text("utf-8"))
]


def _lines(blocks: list[Block]) -> Iterator[Line]:
    for block in blocks:
        if block.kind in {"bash", "console"}:
            for text in block.text.replace("\\\n", " ").splitlines():
                if text.strip() and not text.startswith("#"):
                    yield Line(block.page, text)


_LINES = list(_lines(_BLOCKS))
_OWN = [line for line in _LINES if line.arguments is not None]
_OTHERS = [line for line in _LINES if line.arguments is None]


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Parse a command line as Typer does, without running it; return its options."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("dinotxt", [*arguments])
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
    return dict(context.params)


def _check_configuration(values: dict[str, Any]) -> None:
    """Check the recipe and the changes of a command line against the configuration."""
    source = values.get("recipe") or values.get("config")
    overrides = values.get("overrides") or []
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")):
        assert source in recipe_names()
        TrainConfig.from_yaml(source, *overrides)
    elif (overrides and "epoch" in values) or "engine=ray" in overrides:
        load_config(CurationConfig, {"input": "x.tar", "output": "x"}, overrides)
    elif overrides:
        TrainConfig.from_yaml("own", *overrides)


@pytest.mark.parametrize("line", _OWN, ids=lambda line: f"{line.page}: {line.text}")
def test_a_command_line_of_dinotxt_parses(line: Line) -> None:
    arguments = line.arguments or []
    if _COMPLETION & {*arguments}:
        known = {name for one in typer.main.get_command(app).params for name in one.opts}
        assert known.issuperset(arguments)
    elif arguments != ["--version"]:
        _check_configuration(_parse(arguments))


@pytest.mark.parametrize("line", _OTHERS, ids=lambda line: f"{line.page}: {line.text}")
def test_another_command_names_what_exists(line: Line) -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    words = line.words
    if not words:
        assert re.match(r"export |[A-Z_]+=", line.text)
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (_ROOT / "Makefile").read_text("utf-8")
    elif words[0] == "pip":
        for extras in re.findall(r"dinotxt\[(.+?)\]", line.text):
            assert {*extras.split(",")} <= project["optional-dependencies"].keys()
    elif words[0] == "python" and words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    elif words[0] == "python":
        assert (_ROOT / words[1]).is_file()
    else:
        assert words[0] in _OTHER_PROGRAMS


@pytest.mark.parametrize("page", sorted({block.page for block in _BLOCKS}))
def test_the_shell_takes_every_block(page: str) -> None:
    scripts = [block.text for block in _BLOCKS if (block.page, block.kind) == (page, "bash")]
    script = "\n".join(scripts)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_block_says_what_it_is() -> None:
    assert {block.kind for block in _BLOCKS} <= _KINDS
    assert len(_BLOCKS) > 60


@pytest.mark.parametrize(
    "block",
    [block for block in _BLOCKS if block.kind == "yaml"],
    ids=lambda block: f"{block.page}: {block.text[:20]}",
)
def test_a_configuration_is_valid(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    if "input" in content or "metadata" in content:
        assert load_config(CurationConfig, {"output": "x", **content})
        return
    path = tmp_path / "page.yaml"
    path.write_text(yaml.safe_dump({"base": str(recipe_path("own")), **content}))
    config = to_json(TrainConfig.from_yaml(path))
    assert all(key in config for key in content)


@pytest.mark.parametrize(
    "block",
    [block for block in _BLOCKS if block.kind in {"json", "csv"}],
    ids=lambda block: block.page,
)
def test_data_that_are_shown_can_be_read(block: Block) -> None:
    if block.kind == "json":
        assert json.loads(block.text)
    else:
        rows = list(csv.reader(block.text.splitlines()))
        assert len({len(row) for row in rows}) == 1


def _is_cheap(line: Line) -> bool:
    arguments = line.arguments
    wanted = _RUN.get(line.page, set())
    return bool(arguments and arguments[0] in wanted and not any(one in line.text for one in _SLOW))


def _run_page(page: str) -> int:
    """Run the programs and the cheap commands of a page from top to bottom; count them."""
    names: dict[str, Any] = {}
    number = 0
    for block in _BLOCKS:
        if block.page != page:
            continue
        if block.kind == "python":
            exec(compile(block.text, page, "exec"), names)
            number += 1
        for line in filter(_is_cheap, _lines([block] if block.kind == "bash" else [])):
            arguments = line.arguments or []
            if arguments[:1] == ["segment"] and "highres" in arguments:
                arguments = [*arguments, "--crops", "2"]
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (line.text, result.output)
            number += 1
    return number


_RUNNABLE = {block.page for block in _BLOCKS if block.kind == "python"} | _RUN.keys()


@pytest.mark.usefixtures("sample_folder", "_small_models")
@pytest.mark.parametrize("page", sorted(_RUNNABLE))
def test_a_page_runs_from_top_to_bottom(page: str) -> None:
    assert _run_page(page) > 0
    for name in _LEAVES.get(page, ()):
        assert Path(name).exists(), name


@pytest.mark.slow
@pytest.mark.usefixtures("sample_folder")
@pytest.mark.parametrize("page", ["README.md", "quickstart.md"])
def test_the_first_pages_run_with_the_shipped_model(page: str) -> None:
    assert _run_page(page) > 3


def test_the_reference_names_every_verb() -> None:
    text = (_ROOT / "docs" / "reference" / "command-line.md").read_text("utf-8")
    command: Any = typer.main.get_command(app)
    for name, verb in command.commands.items():
        assert f"`{name}" in text, name
        for sub in getattr(verb, "commands", {}):
            assert sub in text, (name, sub)

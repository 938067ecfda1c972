"""The site has every page and is built without a warning."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]


def _pages(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else _pages(value)


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((_ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = list(_pages(settings["nav"]))
    docs = _ROOT / "docs"
    assert sorted(pages) == sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))


def test_every_picture_of_a_page_is_there() -> None:
    pages = list((_ROOT / "docs").rglob("*.md"))
    pictures = [
        (page, target)
        for page in pages
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)", page.read_text("utf-8"))
    ]
    assert len(pictures) > 3
    assert [found for found in pictures if not (found[0].parent / found[1]).is_file()] == []


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    settings = yaml.safe_load((_ROOT / "mkdocs.yml").read_text("utf-8"))
    shutil.copytree(_ROOT / "docs", tmp_path / "docs")
    settings["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(_ROOT / "src")]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    pages = list(_pages(settings["nav"]))
    built = [(tmp_path / "site" / page).with_suffix(".html") for page in pages]
    assert [path for path in built if not path.is_file()] == []
    reference = (tmp_path / "site" / "reference" / "using.html").read_text("utf-8")
    assert "dinotxt.inference.encoder.Encoder" in reference
    assert (tmp_path / "site" / "images" / "modes.jpg").is_file()

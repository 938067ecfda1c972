"""The site has every page and is built without a warning."""

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


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "using.html").read_text("utf-8")
    assert "dinotxt.inference.encoder.Encoder" in reference
    assert (tmp_path / "site" / "images" / "modes.jpg").is_file()

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dinotxt.checkpoints.catalogue import MODELS
from dinotxt.cli.options import complete_device, complete_model, complete_templates, expand_pictures
from dinotxt.results.skip import Skip
from dinotxt.text.prompt import template_sets

RUN = (
    "import atexit, sys\n"
    "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
    "from dinotxt.cli.main import app\n"
    "app(prog_name='dinotxt')"
)


def complete(words: str) -> tuple[list[str], bool]:
    """Ask as bash does; return what it would offer, and whether torch was imported for it."""
    environment = {
        **os.environ,
        "_DINOTXT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], capture_output=True, text=True, env=environment, check=False
    )
    return done.stdout.split(), done.stderr.split()[-1] == "True"


def test_bash_is_offered_verbs_and_models_without_torch() -> None:
    verbs, has_torch = complete("dinotxt ex")
    assert verbs == ["export"]
    models, has_torch_too = complete("dinotxt classify --model dinov")
    assert set(models) == {"dinov2-vitl14", "dinov3-vitl16"}
    assert not has_torch
    assert not has_torch_too


def test_models_are_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "lichen").mkdir(parents=True)
    (tmp_path / "light").mkdir()
    (tmp_path / "list.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert complete_model("li") == ["lite", "light"]
    assert complete_model("runs/") == ["runs/lichen"]
    assert complete_model(f"{tmp_path}/ru") == [f"{tmp_path}/runs"]
    assert complete_model("absent/x") == []
    assert set(complete_model("")) >= set(MODELS)


def test_template_sets_and_devices_are_offered() -> None:
    assert complete_templates("") == list(template_sets())
    assert complete_templates("openai") == ["openai-7", "openai-80"]
    assert complete_device("cu") == ["cuda", "cuda:0"]


def test_broken_link_in_a_folder_is_reported_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "album" / "more").mkdir(parents=True)
    (tmp_path / "album" / "a.jpg").touch()
    link = tmp_path / "album" / "more" / "b.jpg"
    link.symlink_to("gone.jpg")
    skips: list[Skip] = []
    found = expand_pictures([str(tmp_path / "album")], skips.append)
    assert found == [str(tmp_path / "album" / "a.jpg")]
    assert [skip.path for skip in skips] == [str(link)]

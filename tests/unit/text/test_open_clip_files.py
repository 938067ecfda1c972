import importlib.util

import pytest

from dinotxt.errors import BackendError
from dinotxt.text.open_clip_files import open_clip_path


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install open-clip-torch"):
        open_clip_path("zero_shot_metadata.py")


def test_missing_file_names_the_command() -> None:
    with pytest.raises(BackendError, match="--force-reinstall"):
        open_clip_path("no_such_file.gz")

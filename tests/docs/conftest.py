"""The files that the pages of the documentation name, and a small model in place of theirs."""

from pathlib import Path

import pytest
from PIL import Image

import dinotxt
from dinotxt.inference.encoder import Encoder, load

_PICTURES = (
    *("photo.jpg", "street.jpg", "photos/a.png", "photos/b.png", "frames/00001.jpg"),
    *("album/2024/a.png", "album/2024/summer/b.png", "album/2025/c.png"),
)


def _write_pictures(folder: Path) -> None:
    for number, name in enumerate(_PICTURES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (64, 48), (40 + 25 * number, 90, 160))
        picture.paste((200, 60, 10 * number), (8, 8, 40, 40))
        picture.save(path)


def _write_masks(folder: Path) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (64, 48), (40, 90, 160)).save(folder / "images" / "a.png")
    Image.new("L", (64, 48), 1).save(folder / "labels" / "a.png")
    (folder / "classes.txt").write_text("road\ntree\n")


@pytest.fixture
def sample_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures and pairs under the names that pages use."""
    folder = tmp_path / "work"
    _write_pictures(folder)
    _write_masks(folder / "val")
    rows = [f"{name},a picture of number {n}" for n, name in enumerate(_PICTURES)]
    (folder / "pairs.csv").write_text("\n".join(["path,caption", *rows]) + "\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def _small_models(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name of a model that is not a folder here mean the tiny random one."""

    def fake(name: str, *_: object, **__: object) -> Encoder:
        return load(name if Path(name, "config.json").is_file() else str(tiny_model))

    monkeypatch.setattr("dinotxt.inference.encoder.load", fake)
    monkeypatch.setattr(dinotxt, "load", fake, raising=False)
    monkeypatch.setattr("webbrowser.open", lambda _: True)

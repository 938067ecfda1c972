"""The contract that users import: names, laziness and start-up."""

import subprocess
import sys

import pytest

import dinotxt

_HEAVY = ("torch", "torchvision", "timm", "open_clip", "transformers", "sklearn", "scipy")


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_public_names_are_the_designed_ones() -> None:
    assert dinotxt.__all__ == [
        "DinotxtError",
        "Encoder",
        "HighRes",
        "ImageIndex",
        "LabelFeatures",
        "Segmenter",
        "SlidingWindow",
        "TrainConfig",
        "Trainer",
        "ZeroShotClassifier",
        "__version__",
        "evaluate",
        "load",
    ]
    assert dinotxt.__all__ == sorted(dinotxt.__all__)


@pytest.mark.parametrize("name", dinotxt.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(dinotxt, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        _ = dinotxt.encode


def test_importing_dinotxt_imports_nothing_heavy() -> None:
    assert not _modules_after("import dinotxt").intersection((*_HEAVY, "numpy", "PIL"))


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "from typer.testing import CliRunner\nfrom dinotxt.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0"
    )
    assert not _modules_after(code).intersection(_HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "config",
        "data.pictures.image",
        "data.pictures.transform",
        "metrics",
        "results",
        "search.index",
        "text.tokenizer",
    ],
)
def test_light_packages_run_without_torch(module: str) -> None:
    assert not _modules_after(f"import dinotxt.{module}").intersection(("torch", "timm"))

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.sources import build_module


@pytest.fixture
def own_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("stranger_package")
    monkeypatch.setitem(sys.modules, "stranger_package", module)
    return module


def config(name: str, weights: str | None = "random", **options: object) -> BackboneConfig:
    return BackboneConfig(name=name, weights=weights, options=options)


def test_an_unknown_timm_name_is_an_error_with_names_that_exist() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        build_module(config("resnet118"))


def test_an_unknown_option_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match="colour"):
        build_module(config("resnet18", colour="red"))


def test_a_function_of_the_user_builds_the_module(own_package: ModuleType) -> None:
    def build(width: int) -> nn.Module:
        module = nn.Linear(1, width)
        module.forward_features = module.forward  # type: ignore[assignment]
        module.num_features = width  # type: ignore[assignment]
        return module

    own_package.build = build  # type: ignore[attr-defined]
    first = build_module(config("stranger_package:build", None, width=3), trust_code=True)
    second = build_module(config("stranger_package:build", None, width=3), trust_code=True)
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    "name", ["stranger_package:missing", "no_such_package:build", "stranger_package:"]
)
@pytest.mark.usefixtures("own_package")
def test_a_function_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="write `package"):
        build_module(config(name), trust_code=True)


def test_a_function_that_returns_no_backbone_is_an_error(own_package: ModuleType) -> None:
    own_package.build = nn.Identity  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="forward_features"):
        build_module(config("stranger_package:build"), trust_code=True)


def test_a_function_that_fails_is_an_error_with_its_words(own_package: ModuleType) -> None:
    def build() -> nn.Module:
        raise RuntimeError("weights.bin is not here")

    own_package.build = build  # type: ignore[attr-defined]
    words = r"stranger_package:build failed: RuntimeError: weights\.bin is not here"
    with pytest.raises(ConfigError, match=words):
        build_module(config("stranger_package:build"), trust_code=True)


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:exec"])
def test_the_standard_library_is_never_called(name: str) -> None:
    with pytest.raises(ConfigError, match="standard library"):
        build_module(config(name, command="true"), trust_code=True)


def test_a_function_is_called_only_where_it_is_trusted(own_package: ModuleType) -> None:
    calls: list[int] = []
    own_package.build = lambda: calls.append(1)  # type: ignore[attr-defined]
    for name in ("stranger_package:build", "no_such_package:build"):
        with pytest.raises(ConfigError, match=r"may run no code.*--trust-code"):
            build_module(config(name))
    assert calls == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint_path", "weights.pth"),
        ("pretrained_cfg", {"url": "http://127.0.0.1/x"}),
        ("pretrained_cfg_overlay", {"file": "x"}),
        ("pretrained_strict", False),
        ("cache_dir", "x"),
        ("features_only", True),
        ("num_classes", 3),
        ("in_chans", 5),
        ("act_layer", "../x"),
        ("act_layer", "http://127.0.0.1/x"),
        ("drop_rate", 1e300),
        ("norm_layer", object()),
    ],
)
def test_options_are_plain_values_for_the_network_itself(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"backbone\.options\.{key}"):
        build_module(BackboneConfig(name="resnet18", weights="random", options={key: value}))


def test_weights_that_cannot_be_downloaded_are_an_error_that_names_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(CheckpointError, match=r"backbone\.weights"):
        build_module(config("resnet18.a1_in1k", None))


def test_a_files_weights_are_loaded(tmp_path: Path) -> None:
    source = build_module(config("resnet18"))
    torch.save(source.state_dict(), tmp_path / "resnet.pth")
    with torch.random.fork_rng():
        loaded = build_module(config("resnet18", str(tmp_path / "resnet.pth")))
    assert torch.equal(loaded.layer4[1].conv2.weight, source.layer4[1].conv2.weight)

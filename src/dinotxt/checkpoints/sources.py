"""From a configuration to a model: weights out of wheels, URLs and local files."""

from dataclasses import dataclass, replace
from pathlib import Path

import timm
from torch import Tensor, nn

from dinotxt.checkpoints.hub import fetch
from dinotxt.checkpoints.wheels import WHEELS, wheel_path
from dinotxt.errors import ConfigError
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


def _local(name: str) -> str:
    if name.startswith(_WHEEL):
        return str(wheel_path(name.removeprefix(_WHEEL)))
    return name

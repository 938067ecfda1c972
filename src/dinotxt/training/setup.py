"""What a run is made of: its model, its pairs, its batches and its validation."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dinotxt.data.pairs import read_pairs
from dinotxt.data.record import Pair
from dinotxt.data.sampler import EpochSampler
from dinotxt.data.transform import Transform, TransformConfig
from dinotxt.data.view import RandomView
from dinotxt.errors import ConfigError
from dinotxt.models.backbone import Backbone
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.results.skip import Skip
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.batches import Batches, VisionSource
from dinotxt.training.captions import CaptionTable
from dinotxt.training.config import DataConfig, TrainConfig
from dinotxt.training.validation import Validation
from dinotxt.training.vision import Pictures

OnSkip = Callable[[Skip], None]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_UNKNOWN = (0.5, 0.25)


@dataclass(frozen=True, slots=True)
class RunData:
    """The data of a run.

    Attributes:
        batches: The training batches.
        validation: None without validation pairs.
        keys: The key of every training pair.
        fingerprint: A hash of all keys and captions, so that a run cannot go on with other data.
    """

    batches: Batches
    validation: Validation | None
    keys: tuple[str, ...]
    fingerprint: str


def transform_config(config: DataConfig, backbone: Backbone) -> TransformConfig:
    """Return the transform of a run: the backbone's own mean and deviation unless stated."""
    own = getattr(backbone.module, "pretrained_cfg", None) or {}
    channels = backbone.config.in_channels
    mean, std = _IMAGENET if channels == 3 else (((x,) * channels) for x in _UNKNOWN)
    if len(own.get("mean", ())) == channels:
        mean, std = tuple(own["mean"]), tuple(own["std"])
    return config.transform(mean, std)


def prepare_data(
    config: TrainConfig,
    model: DinoTxt,
    tokenizer: Tokenizer,
    transform: Transform,
    *,
    device: torch.device,
    on_skip: OnSkip | None,
) -> RunData:
    """Read the pairs and build the batches and the validation.

    Raises:
        DataError: If pairs cannot be read, or the cache is of another backbone or transform.
        ConfigError: If there are fewer pairs than one batch needs.
    """
    train, held_out = _split_pairs(config.data, on_skip)
    captions = CaptionTable([p.captions for p in train], tokenizer, seed=config.seed)
    batches = Batches(
        _vision(config, train, model, transform),
        captions,
        EpochSampler(len(train), config.batch_size, config.seed),
        micro_batch_size=config.micro_batch_size or config.batch_size,
        average_captions=config.data.captions == "averaged",
    )
    validation = None
    if held_out:
        validation = Validation(
            Pictures(held_out, transform),
            CaptionTable([p.captions for p in held_out], tokenizer, seed=config.seed),
            num_pairs=len(held_out),
            device=device,
            num_workers=config.data.num_workers,
            on_skip=on_skip,
        )
    keys = tuple(pair.key for pair in train)
    return RunData(batches, validation, keys, _fingerprint(train, held_out))


def _split_pairs(data: DataConfig, on_skip: OnSkip | None) -> tuple[list[Pair], list[Pair]]:
    pairs = read_pairs(data.train, on_skip=on_skip)
    if data.val is None:
        return pairs, []
    if isinstance(data.val, str):
        return pairs, read_pairs(data.val, on_skip=on_skip)
    held_out = [pair for pair in pairs if _share(pair.key) < data.val]
    train = [pair for pair in pairs if _share(pair.key) >= data.val]
    if not held_out or not train:
        raise ConfigError(
            f"data.val: a share of {data.val} of {len(pairs)} pairs leaves {len(train)} for "
            f"training and {len(held_out)} for validation; change it or name a validation set."
        )
    return train, held_out


def _share(key: str) -> float:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _vision(
    config: TrainConfig, pairs: Sequence[Pair], model: DinoTxt, transform: Transform
) -> VisionSource:
    data = config.data
    if data.cache is None:
        view = RandomView(data.views, transform) if data.views else None
        return Pictures(pairs, transform, view=view, seed=config.seed)
    if not model.backbone.config.frozen:
        raise ConfigError("data.cache holds frozen tokens: set model.backbone.frozen to true.")
    from dinotxt.data.feature_store import FeatureStore
    from dinotxt.training.vision import CachedTokens

    store = FeatureStore.open(data.cache)
    store.check(model.backbone.weights_hash, transform.fingerprint)
    return CachedTokens(
        store, [pair.key for pair in pairs], head=model.vision_head.config, seed=config.seed
    )


def _fingerprint(*parts: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pairs in parts:
        for pair in pairs:
            digest.update("\0".join((pair.key, *pair.captions, "\n")).encode("utf-8", "replace"))
        digest.update(b"\1")
    return digest.hexdigest()

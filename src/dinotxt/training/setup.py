"""What a run is made of: its model, its pairs, its batches and its validation."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dinotxt.data.features import FeatureStore
from dinotxt.data.order import CuratedPairs, CuratedSampler, EpochSampler, pair_ids
from dinotxt.data.pictures import RandomView, Transform, TransformConfig
from dinotxt.data.readers import Pair, expand, read_pairs
from dinotxt.data.streaming import StreamConfig
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Backbone
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import DataConfig, TrainConfig
from dinotxt.training.distributed import World
from dinotxt.training.feed import (
    Batches,
    CachedTokens,
    CaptionTable,
    Pictures,
    Pooled,
    StreamBatches,
    Validation,
    VisionSource,
    local_data,
    needed_patches,
    open_stream,
    pooled_kind,
)

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class RunData:
    """The data of a run.

    Attributes:
        batches: The training batches.
        validation: None without validation pairs.
        keys: The key of every training pair.
        fingerprint: A hash of all keys and captions, so that a run cannot go on with other data.
    """

    batches: Batches | StreamBatches
    validation: Validation | None
    keys: Sequence[str]
    fingerprint: str


def check_places(data: DataConfig) -> None:
    """Refuse pairs that are not there, before a backbone is downloaded or built.

    Raises:
        DataError: If a path means no file; streams are not looked at.
    """
    if data.streaming is not None:
        return
    for place in (data.train, data.val):
        if isinstance(place, str):
            file = place.rpartition("#")[0] if ".json#" in place else place
            expand(file, lambda _: None)


def transform_config(config: DataConfig, backbone: Backbone) -> TransformConfig:
    """Return the transform of a run: the backbone's own mean and deviation unless stated.

    They stand in timm's configuration of the model or in a Hugging Face folder; else ImageNet's
    are taken for three channels and 0.5 and 0.25 for others.
    """
    channels = backbone.config.in_channels
    mean, std = _IMAGENET if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
    own = _published(backbone)
    if len(own[0]) == len(own[1]) == channels:
        mean, std = own
    return config.transform(mean, std)


def _published(backbone: Backbone) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation that come with a backbone; empty where none do."""
    timm = getattr(backbone.module, "pretrained_cfg", None) or {}
    if "mean" in timm:
        return tuple(timm["mean"]), tuple(timm["std"])
    path = Path(backbone.config.name.removeprefix("hf:")) / "preprocessor_config.json"
    if not path.is_file():
        return (), ()
    content = read_json(path)
    return tuple(content.get("image_mean", ())), tuple(content.get("image_std", ()))


class RunBuilder:
    """Builds the data of a run around its model.

    Args:
        config: The run's configuration.
        model: The model, with its backbone.
        tokenizer: The text encoder's.
        transform: The transform of plain pictures.
        world: The processes of the run, each of which gets its part of a batch.
        on_skip: Hears of pairs that cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: DinoTxt,
        tokenizer: Tokenizer,
        transform: Transform,
        *,
        world: World,
        on_skip: OnSkip,
    ) -> None:
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.transform = transform
        self.world = world
        self.on_skip = on_skip

    def build(self) -> RunData:
        """Read the pairs and build the batches and the validation.

        Raises:
            DataError: If pairs cannot be read, or a cache is of another backbone or transform.
            ConfigError: If there are fewer pairs than one batch needs.
        """
        if self.config.data.streaming is not None:
            return self._streamed(self.config.data.streaming)
        train, held_out = _split_pairs(self.config.data, self.on_skip)
        train, batches = self._batches(train)
        validation = None
        if held_out:
            held_out, validation = self._validation(held_out)
        keys = tuple(pair.key for pair in train)
        fingerprint = _fingerprint(train, held_out)
        if self.config.data.curation is not None:
            fingerprint += f"-{CuratedPairs(self.config.data.curation).fingerprint}"
        return RunData(batches, validation, keys, fingerprint)

    def _streamed(self, settings: StreamConfig) -> RunData:
        stream = open_stream(
            self.config,
            settings,
            self.tokenizer,
            self.transform,
            on_skip=self.on_skip,
            ranks=(self.world.rank, self.world.size),
        )
        held_out: list[Pair] = []
        validation = None
        if isinstance(self.config.data.val, str):
            data = local_data(self.config.data.val, settings, self.on_skip)
            held_out, validation = self._validation(read_pairs(data, on_skip=self.on_skip))
        fingerprint = f"{stream.fingerprint}-{_fingerprint(held_out)}"
        return RunData(stream.batches, validation, stream.keys, fingerprint)

    def _batches(self, pairs: list[Pair]) -> tuple[list[Pair], Batches]:
        config, data = self.config, self.config.data
        view = RandomView(data.views, self.transform) if data.views else None
        kind = needed_patches(config)
        pairs, vision = self._vision(pairs, data.cache, view, kind)
        batches = Batches(
            vision,
            self._captions(pairs),
            self._sampler(pairs),
            micro_batch_size=config.micro_batch_size or config.batch_size,
            all_captions=data.captions != "drawn",
            rank=self.world.rank,
            num_ranks=self.world.size,
        )
        return pairs, batches

    def _sampler(self, pairs: list[Pair]) -> EpochSampler | CuratedSampler:
        config = self.config
        if config.data.curation is None:
            return EpochSampler(len(pairs), config.batch_size, config.seed)
        curated = CuratedPairs(config.data.curation)
        return CuratedSampler(pair_ids(pairs), curated, config.batch_size, config.seed)

    def _validation(self, pairs: list[Pair]) -> tuple[list[Pair], Validation]:
        kind = pooled_kind(self.config.model.vision_head)
        pairs, vision = self._vision(pairs, self.config.data.val_cache, None, kind)
        validation = Validation(
            vision,
            self._captions(pairs),
            num_pairs=len(pairs),
            world=self.world,
            num_workers=self.config.data.num_workers,
            on_skip=self.on_skip,
        )
        return pairs, validation

    def _vision(
        self, pairs: list[Pair], cache: Path | None, view: RandomView | None, kind: Pooled | None
    ) -> tuple[list[Pair], VisionSource]:
        if cache is None:
            return pairs, Pictures(pairs, self.transform, view=view, seed=self.config.seed)
        store = _open_cache(cache, self.config.data, self.model, self.transform)
        pairs, rows = _cached(store, pairs, self.on_skip)
        return pairs, CachedTokens(store, rows, kind=kind, seed=self.config.seed)

    def _captions(self, pairs: Sequence[Pair]) -> CaptionTable:
        captions = [pair.captions for pair in pairs]
        return CaptionTable(captions, self.tokenizer, seed=self.config.seed)


def _split_pairs(data: DataConfig, on_skip: OnSkip) -> tuple[list[Pair], list[Pair]]:
    pairs = read_pairs(data.train, on_skip=on_skip)
    if data.val is None:
        return pairs, []
    if isinstance(data.val, str):
        return pairs, read_pairs(local_data(data.val, None, on_skip), on_skip=on_skip)
    count = max(1, round(data.val * len(pairs)))
    if count >= len(pairs):
        raise ConfigError(
            f"data.val: a share of {data.val} of {len(pairs)} pairs leaves none for training; "
            "lower it, add pairs or name a validation set."
        )
    chosen = {pair.key for pair in sorted(pairs, key=lambda pair: _digest(pair.key))[:count]}
    held_out = [pair for pair in pairs if pair.key in chosen]
    return [pair for pair in pairs if pair.key not in chosen], held_out


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _open_cache(path: Path, data: DataConfig, model: DinoTxt, transform: Transform) -> FeatureStore:
    if not model.backbone.config.frozen:
        raise ConfigError("data.cache holds frozen tokens: set model.backbone.frozen to true.")
    store = FeatureStore.open(path)
    store.check(weights_hash=model.backbone.weights_hash, transform_hash=transform.fingerprint)
    held = store.spec.info.get("view")
    if data.views is not None and held is not None:
        wanted = json.loads(json.dumps(asdict(data.views)))
        if {key: held.get(key) for key in wanted} != wanted:
            raise DataError(
                f"{path} holds views {held}, and data.views is {wanted}: make them equal or "
                "cache again."
            )
    return store


def _cached(
    store: FeatureStore, pairs: Sequence[Pair], on_skip: OnSkip
) -> tuple[list[Pair], list[int]]:
    """Return the pairs that a cache has, and where; the others are reported."""
    position = {key: row for row, key in enumerate(store.keys)}
    for pair in pairs:
        if pair.key not in position:
            on_skip(Skip(pair.image.name, f"is not in the cache {store.path}"))
    kept = [pair for pair in pairs if pair.key in position]
    if not kept:
        raise DataError(f"{store.path} holds none of the pairs: cache the same data.")
    return kept, [position[pair.key] for pair in kept]


def _fingerprint(*parts: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pairs in parts:
        for pair in pairs:
            digest.update("\0".join((pair.key, *pair.captions, "\n")).encode("utf-8", "replace"))
        digest.update(b"\1")
    return digest.hexdigest()

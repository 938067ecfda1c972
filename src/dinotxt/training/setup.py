"""What a run is made of: its model, its pairs, its batches and its validation."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from dinotxt.checkpoints.sources import find_classifier
from dinotxt.data.features import FeatureStore
from dinotxt.data.order import CuratedPairs, CuratedSampler, EpochSampler, pair_ids
from dinotxt.data.pictures import RandomView, Transform, TransformConfig
from dinotxt.data.readers import Pair, expand, read_pairs
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Backbone
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.text.terms import read_terms
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import ClassifierConfig, DataConfig, SourceConfig, TrainConfig
from dinotxt.training.distributed import World
from dinotxt.training.feed import (
    Batches,
    BatchReader,
    CachedTokens,
    CaptionTable,
    ClassifierPairs,
    MixedBatches,
    Pictures,
    Pooled,
    RealFeatures,
    StreamBatches,
    Validation,
    VisionSource,
    divide,
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
        fingerprint: A hash of all keys and captions, so that a run cannot go on with other data.
        lies_under: Which class of a teacher lies under which of its terms; None without one.
    """

    batches: BatchReader
    validation: Validation | None
    fingerprint: str
    lies_under: Tensor | None = None


def check_places(config: TrainConfig) -> None:
    """Refuse pairs that are not there, before a backbone is downloaded or built.

    Raises:
        DataError: If a path means no file; streams are not looked at.
        ConfigError: If there is a teacher and no cache for it.
    """
    data = config.data
    if config.teachers is not None and not data.is_cached:
        raise ConfigError(
            "teachers begin with cached features: run `dinotxt cache` for data.train and set "
            "data.cache, or the `cache` of each source."
        )
    if data.is_streamed:
        return
    for place in (*(source.path for source in data.sources), data.val):
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


class _Part(TypedDict, total=False):
    """Which part of a batch a process gets, in which pieces."""

    micro_batch_size: int | None
    rank: int
    num_ranks: int


@dataclass(frozen=True, slots=True)
class _Source:
    """A set of training pairs: its batches, its pairs where they are known, and those set apart."""

    batches: BatchReader
    pairs: Sequence[Pair] = ()
    held_out: Sequence[Pair] = ()
    fingerprint: str = ""


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
        self._part = _Part(
            micro_batch_size=config.micro_batch_size, rank=world.rank, num_ranks=world.size
        )

    def build(self) -> RunData:
        """Read the pairs and build the batches and the validation.

        Raises:
            DataError: If pairs cannot be read, or a cache is of another backbone or transform.
            ConfigError: If there are fewer pairs than one batch needs.
        """
        config, data = self.config, self.config.data
        made = round(config.teachers.share * config.batch_size) if config.teachers else 0
        counts = divide(config.batch_size - made, [source.weight for source in data.sources])
        sources = [
            self._source(source, count, _source_seed(config.seed, number))
            for number, (source, count) in enumerate(zip(data.sources, counts, strict=True))
        ]
        held_out = [pair for source in sources for pair in source.held_out]
        if isinstance(data.val, str):
            place = local_data(data.val, data.stream, self.on_skip)
            held_out = read_pairs(place, on_skip=self.on_skip)
        validation = None
        if held_out:
            held_out, validation = self._validation(held_out)
        prints = [source.fingerprint for source in sources if source.fingerprint]
        prints.append(_fingerprint(*(source.pairs for source in sources), held_out))
        if data.curation is not None:
            prints.append(CuratedPairs(data.curation).fingerprint)
        batches, lies_under = [source.batches for source in sources], None
        if config.teachers is not None:
            teacher = self._teacher(config.teachers, batches, made)
            batches.append(teacher)
            prints.append(teacher.fingerprint)
            lies_under = torch.from_numpy(teacher.terms.lies_under())
        return RunData(self._mixed(batches), validation, "-".join(prints), lies_under)

    def _mixed(self, sources: Sequence[BatchReader]) -> BatchReader:
        """Return the micro-batches of this process."""
        if len(sources) == 1:
            return sources[0]
        return MixedBatches(sources, **self._part)

    def _source(self, source: SourceConfig, count: int, seed: int) -> _Source:
        """Read a set of pairs; alone, its batches are those of this process."""
        config, data = self.config, self.config.data
        is_alone = count == config.batch_size
        part = self._part if is_alone else {}
        view = RandomView(data.views, self.transform) if data.views else None
        settings = data.streaming(source.path)
        if settings is not None:
            if not is_alone:
                settings = replace(settings, lanes=math.gcd(settings.lanes, count))
            reader, order, fingerprint = open_stream(
                source.path, settings, batch_size=count, seed=seed, on_skip=self.on_skip
            )
            stream = StreamBatches(
                reader,
                order,
                self.transform,
                self.tokenizer,
                seed=seed,
                view=view,
                all_captions=data.captions != "drawn",
                **part,
            )
            return _Source(stream, fingerprint=fingerprint)
        pairs, held_out = _split_pairs(source.path, data.val, self.on_skip)
        pairs, vision = self._vision(pairs, source.cache, view, needed_patches(config), seed)
        batches = Batches(
            vision,
            self._captions(pairs, seed),
            self._sampler(pairs, count, seed),
            keys=tuple(pair.key for pair in pairs),
            all_captions=data.captions != "drawn",
            **part,
        )
        return _Source(batches, pairs, held_out)

    def _teacher(
        self, config: ClassifierConfig, sources: Sequence[BatchReader], count: int
    ) -> ClassifierPairs:
        local = [source for source in sources if isinstance(source, Batches)]
        real = RealFeatures([one.vision for one in local], [one.num_items for one in local])
        is_seen = config.feature == "avg" and "cls" in self.model.vision_head.config.pooling
        if is_seen and real.has_own_cls():
            raise ConfigError(
                "teachers: a classifier on the average patch says nothing of this backbone's cls "
                "token: set model.vision_head.pooling to avg."
            )
        return ClassifierPairs(
            config,
            find_classifier(self.model.backbone, config.weights),
            read_terms(config.names),
            real,
            self.tokenizer,
            count=count,
            seed=self.config.seed,
            all_captions=self.config.data.captions != "drawn",
        )

    def _sampler(self, pairs: list[Pair], count: int, seed: int) -> EpochSampler | CuratedSampler:
        if self.config.data.curation is None:
            return EpochSampler(len(pairs), count, seed)
        curated = CuratedPairs(self.config.data.curation)
        return CuratedSampler(pair_ids(pairs), curated, count, seed)

    def _validation(self, pairs: list[Pair]) -> tuple[list[Pair], Validation]:
        kind = pooled_kind(self.config.model.vision_head)
        seed = self.config.seed
        pairs, vision = self._vision(pairs, self.config.data.val_cache, None, kind, seed)
        validation = Validation(
            vision,
            self._captions(pairs, seed),
            num_pairs=len(pairs),
            world=self.world,
            num_workers=self.config.data.num_workers,
            on_skip=self.on_skip,
        )
        return pairs, validation

    def _vision(
        self,
        pairs: list[Pair],
        cache: Path | None,
        view: RandomView | None,
        kind: Pooled | None,
        seed: int,
    ) -> tuple[list[Pair], VisionSource]:
        if cache is None:
            return pairs, Pictures(pairs, self.transform, view=view, seed=seed)
        store = _open_cache(cache, self.config.data, self.model, self.transform)
        pairs, rows = _cached(store, pairs, self.on_skip)
        return pairs, CachedTokens(store, rows, kind=kind, seed=seed)

    def _captions(self, pairs: Sequence[Pair], seed: int) -> CaptionTable:
        captions = [pair.captions for pair in pairs]
        return CaptionTable(captions, self.tokenizer, seed=seed)


def _source_seed(seed: int, number: int) -> int:
    """Return the seed of a source's draws: the run's for the first."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def _split_pairs(
    path: str, val: str | float | None, on_skip: OnSkip
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on, and a share of them that is set apart where one is given."""
    pairs = read_pairs(path, on_skip=on_skip)
    if not isinstance(val, float):
        return pairs, []
    count = max(1, round(val * len(pairs)))
    if count >= len(pairs):
        raise ConfigError(
            f"data.val: a share of {val} of {len(pairs)} pairs leaves none for training; "
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

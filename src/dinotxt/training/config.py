"""The configuration of a training run: what ``dinotxt train`` reads."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, field_validator

from dinotxt.config import configuration, load_config
from dinotxt.data.pictures import ChannelMapping, TransformConfig, ViewConfig
from dinotxt.data.streaming import StreamConfig
from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.models.config import ModelConfig, changes_patches
from dinotxt.recipes import recipe_path

Exchanged = Literal["ring", "gather"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


@configuration
class ComputeConfig:
    """Speed and memory. But for ``precision``, the keys change results by rounding alone.

    Attributes:
        parallel: What several processes share: ``ddp`` copies the trained weights, ``fsdp`` (FSDP2)
            shards them, their gradients and the optimiser's moments.
        exchange: How processes compare features in the loss: texts travel in a ``ring``, or each
            process holds all of them (``gather``: more memory, fewer messages).
        precision: ``bfloat16``: towers run under autocast where the device has it; weights,
            gradients, the loss and the optimiser stay in float32.
        compile: Compile the trained blocks, one by one (``torch.compile``).
        activation_checkpointing: Keep only the inputs of trained blocks and compute them again in
            the backward pass.
    """

    parallel: Literal["ddp", "fsdp"] = "ddp"
    exchange: Exchanged = "ring"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    activation_checkpointing: bool = False


@configuration
class GramConfig:
    """Keep the similarities among a picture's patches, as DINOv3's text training can.

    The squared difference of two Gram matrices, that of the vision head's patches and that of the
    backbone's, is averaged over the pictures of the batch and added to the loss.

    Attributes:
        weight: Its factor.
        normalize: Compare cosines rather than dot products.
        patches: How many patches of a picture, drawn anew each step, are compared; None: all.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0
    normalize: bool = True
    patches: Annotated[int, Field(ge=2)] | None = None


@configuration
class ClipLossConfig:
    """The softmax loss of CLIP (the paper's).

    Attributes:
        gram: A second loss, of the patches; None: off.
    """

    kind: Literal["clip"] = "clip"
    gram: GramConfig | None = None


@configuration
class SigmoidLossConfig:
    """The sigmoid loss of SigLIP, with a trained bias.

    Attributes:
        bias: Where the bias starts.
        gram: A second loss, of the patches; None: off.
    """

    kind: Literal["sigmoid"] = "sigmoid"
    bias: float = -10.0
    gram: GramConfig | None = None


LossConfig = Annotated[ClipLossConfig | SigmoidLossConfig, Field(discriminator="kind")]


@configuration
class SourceConfig:
    """One of several sets of training pairs.

    Attributes:
        path: The pairs: any form of ``--data``.
        weight: Its part of each batch, as against the weights of the others.
        cache: A folder that ``dinotxt cache`` wrote for ``path``; None: read the pictures.
    """

    path: str
    weight: Positive = 1.0
    cache: Path | None = None


@configuration
class DataConfig:
    """What the run sees.

    Attributes:
        train: The pairs: any form of ``--data``, or several of them as a list of ``{path, weight,
            cache}``. Each batch then holds the same number of pairs of a source, by its weight,
            and each source has epochs of its own.
        val: Pairs for the validation, or the share of ``train`` that is set apart (chosen by a
            hash of the key, so the same pictures every time); None: no validation.
        cache: A folder that ``dinotxt cache`` wrote for ``train``, where that is one path; None:
            read the pictures.
        val_cache: A folder that ``dinotxt cache`` wrote for ``val``, without views; None: the
            frozen tokens are computed once when the run starts.
        curation: A curation folder with the draws of each epoch.
        stream: How shards are streamed rather than read in any order; None: an address such as
            ``s3://bucket/train-{000..099}.tar`` is streamed with the defaults, local files not.
        size: The side of the square input in pixels.
        resize: ``crop`` (short side, then centre), ``squash`` (ignore the aspect ratio).
        mean: Subtracted from each channel (0 to 1); None: the backbone's own.
        std: Divides each channel; None: the backbone's own.
        views: Random crops and flips of the training pictures; None: the plain picture.
        captions: One caption a picture and epoch is ``drawn``, the features of all its captions
            are ``averaged``, or ``all`` of them are texts of their own in the loss.
        mixup: Each pair is mixed with another one of its micro-batch, tokens with tokens and what
            the text projection gets likewise, by a share from Beta(mixup, mixup); None: not.
        channels: Which channels of the file to read, in this order, for pictures that are not RGB.
        value_range: The values of the file that become 0 and 1, for 16-bit or float pictures.
        num_workers: Processes that decode pictures.
        timeout: Seconds to wait for one of them before the run stops.
        max_skipped: The share of pairs that may turn out to be unusable before the run stops.
    """

    train: Annotated[
        Annotated[str, Tag("path")]
        | Annotated[tuple[SourceConfig, ...], Field(min_length=1), Tag("sources")],
        Discriminator(lambda value: "path" if isinstance(value, str) else "sources"),
    ]
    val: str | Annotated[float, Field(gt=0, lt=1)] | None = None
    cache: Path | None = None
    val_cache: Path | None = None
    curation: Path | None = None
    stream: StreamConfig | None = None
    size: PositiveInt = 224
    resize: Literal["crop", "squash"] = "crop"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    views: ViewConfig | None = None
    captions: Literal["drawn", "averaged", "all"] = "drawn"
    mixup: Positive | None = None
    channels: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    num_workers: Annotated[int, Field(ge=0)] = 2
    timeout: Positive = 300.0
    max_skipped: Fraction = 0.1

    @field_validator("val", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """Read ``5e-2`` as a number, which YAML takes for text."""
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    def __post_init__(self) -> None:
        """Check how the keys go together."""
        if not isinstance(self.train, str):
            for name in ("cache", "curation"):
                if getattr(self, name) is not None:
                    own = ": give each source its own `cache`" if name == "cache" else ""
                    raise ValueError(f"{name} goes with one path in train, not with a list{own}")
        if self.is_cached and any(source.cache is None for source in self.sources):
            raise ValueError("train: give every source a cache, or none")
        if not self.is_streamed:
            return
        if self.is_cached or self.curation is not None:
            raise ValueError(
                "a stream cannot have a cache or a curation, which need every pair at hand: use "
                "local tars and set data.stream to null"
            )
        if isinstance(self.val, float):
            raise ValueError("a stream cannot set a share apart: let data.val name other data")

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """Return the sets of training pairs, one or more."""
        if isinstance(self.train, str):
            return (SourceConfig(path=self.train, cache=self.cache),)
        return self.train

    @property
    def is_cached(self) -> bool:
        """Tell if any training pairs are read from a cache."""
        return any(source.cache is not None for source in self.sources)

    @property
    def is_streamed(self) -> bool:
        """Tell if any training pairs come as a stream."""
        return any(self.streaming(source.path) is not None for source in self.sources)

    def streaming(self, path: str) -> StreamConfig | None:
        """Return how the pairs of a source are streamed; None where they are not."""
        return self.stream or (StreamConfig() if "://" in path else None)

    def transform(self, mean: tuple[float, ...], std: tuple[float, ...]) -> TransformConfig:
        """Return the transform of the validation, and of training without views.

        Args:
            mean: The backbone's mean, used where the configuration has none.
            std: The backbone's standard deviation, likewise.
        """
        mapping = None
        if self.channels is not None or self.value_range is not None:
            low, high = self.value_range or (0.0, 255.0)
            mapping = ChannelMapping(channels=self.channels, low=low, high=high)
        return TransformConfig(
            size=self.size,
            resize=self.resize,
            mean=self.mean or mean,
            std=self.std or std,
            mapping=mapping,
        )


@configuration
class GroupConfig:
    """Other settings for some parameters.

    Attributes:
        prefix: How their names begin, such as ``text_encoder.encoder``.
        lr_factor: Their share of the learning rate; 0 freezes them for the run.
        weight_decay: Their weight decay; None: that of the others.
    """

    prefix: str
    lr_factor: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] | None = None


@configuration
class AdamWConfig:
    """AdamW, with a linear warm-up and a cosine to zero.

    Attributes:
        lr: The peak learning rate.
        weight_decay: Falls on matrices only.
        betas: The decay rates of the two moments.
        eps: The term that keeps the update finite.
        warmup_steps: Steps until the peak.
        clip_norm: The largest norm of the gradient; None: no clipping.
        groups: Exceptions for some parameters; the first that fits a name holds.
        average: Decay of a moving average of the weights, which then is what is evaluated and
            saved; None: the weights themselves.
    """

    kind: Literal["adamw"] = "adamw"
    lr: Positive = 7e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    eps: Positive = 1e-8
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    clip_norm: Positive | None = None
    groups: tuple[GroupConfig, ...] = ()
    average: Fraction | None = None


@configuration
class RidgeConfig:
    """A closed-form start for a linear head: predict whitened caption vectors from pooled tokens.

    Attributes:
        penalty: The weight of the squared coefficients (of standardised channels).
        whitening: The power of the caption covariance that is divided out, halved: 0 none, 1 all.
        passes: How often each picture is read, each time with another view.
    """

    kind: Literal["ridge"] = "ridge"
    penalty: Positive = 2.0
    whitening: Annotated[float, Field(ge=0, le=1)] = 0.5
    passes: PositiveInt = 1


@configuration
class ModelStartConfig:
    """The weights of a saved model of the same architecture.

    Attributes:
        path: Its folder, such as ``runs/lite/model``.
        fresh: How the names of parameters begin that keep their own initialisation instead.
    """

    kind: Literal["model"] = "model"
    path: Path
    fresh: tuple[str, ...] = ()


StartConfig = Annotated[RidgeConfig | ModelStartConfig, Field(discriminator="kind")]


@configuration
class ClassifierConfig:
    """Pairs that a classifier on the frozen backbone makes: features of its classes, their names.

    Such a picture of a class is the feature of a training picture, moved along the class's weights
    (times the covariance of all features) until the class leads every other one by ``margin``.
    Its caption is a name of the class or of a kind that it belongs to; pairs whose class lies under
    the other's caption are no negatives of each other.

    Attributes:
        share: Of every batch.
        names: ``imagenet``, or a file with a line a class, in the classifier's order: its names by
            ``|``, and its kinds from near to far, each behind a ``<``: ``tabby | tabby cat < cat``.
        weights: A file with the classifier's matrix ``weight [C, D]`` and ``bias [C]``
            (``.safetensors``, ``.pth``); None: the one that comes with the backbone.
        feature: What the classifier reads: the average patch (``avg``) or the ``cls`` token.
        clip: Whether features are never negative (they follow a ReLU), so made ones neither.
        margin: By how many logits the class leads.
        shrinkage: How much of the covariance is replaced by its mean on the diagonal.
        own_share: Captions with a name of the class itself, half of them the first one.
        templates: What captions are made with, in equal parts.
    """

    kind: Literal["classifier"] = "classifier"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.35
    names: str = "imagenet"
    weights: Path | None = None
    feature: Literal["avg", "cls"] = "avg"
    clip: bool = True
    margin: Positive = 8.0
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.05
    own_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("{}", "a photo of a {}.")


@configuration
class CheckpointConfig:
    """What is written of a run.

    Attributes:
        every: Steps between resumable checkpoints, which are always exact.
        keep: How many of them to keep.
        model_dtype: The type of the weights in ``model/``, the one to use and to share.
    """

    every: PositiveInt = 100
    keep: PositiveInt = 2
    model_dtype: Literal["float32", "float16"] = "float32"


@configuration
class EvaluateConfig:
    """How often to run the validation, in steps; the last step always does."""

    every: PositiveInt = 200


@configuration
class TrainConfig:
    """Everything that decides the outcome of a run.

    Attributes:
        output: The run folder; the same configuration goes on with what is in it.
        seed: Of the weights, the order, the views, the captions and the drop path.
        steps: Updates in all.
        batch_size: Pairs a step, over all processes.
        micro_batch_size: Pairs that a process holds with their activations at once. Smaller than
            its share of the batch: two passes (gradient caching) with equal results, but for
            ``data.mixup`` and dropout, which are drawn micro-batch by micro-batch.
        start: What the trained parameters start from besides their usual initialisation.
        teachers: What makes further pairs of each batch: ``classifier``, or that with settings.
        inference: How the model is best used; saved beside its weights.
        compute: Precision, memory and what several processes share.
    """

    output: Path
    seed: Annotated[int, Field(ge=0)] = 0
    steps: PositiveInt
    batch_size: PositiveInt
    micro_batch_size: PositiveInt | None = None
    model: ModelConfig
    data: DataConfig
    optim: AdamWConfig = AdamWConfig()
    loss: LossConfig = ClipLossConfig()
    start: StartConfig | None = None
    teachers: ClassifierConfig | None = None
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    inference: InferenceDefaults = InferenceDefaults()
    compute: ComputeConfig = ComputeConfig()

    @field_validator("teachers", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    def __post_init__(self) -> None:
        """Check how the sections go together."""
        if self.data.curation is not None and self.data.captions != "drawn":
            raise ValueError("data.curation draws single captions: set data.captions to drawn")
        if self.data.curation is not None and self.start is not None:
            raise ValueError("start reads all pairs, curated or not: set it to null")
        if self.data.is_streamed and self.start is not None:
            raise ValueError("start reads all pairs in order, not a stream: set it to null")
        if self.data.captions == "all" and self.loss.kind != "clip":
            raise ValueError("data.captions: all needs loss.kind clip")
        if self.data.mixup is not None and self.data.captions != "drawn":
            raise ValueError("data.mixup mixes single captions: set data.captions to drawn")
        if self.loss.gram is not None and not changes_patches(self.model.vision_head):
            raise ValueError(
                "loss.gram compares the vision head's patches with the backbone's, and this head "
                "leaves them as they are: set model.vision_head.num_blocks or dim, or loss.gram "
                "to null"
            )
        self._check_teachers()

    def _check_teachers(self) -> None:
        if self.teachers is None:
            return
        if self.loss.kind != "clip" or self.data.curation is not None:
            raise ValueError("teachers need loss.kind clip and no data.curation")
        if self.teachers.feature == "cls" and self.model.vision_head.pooling != "cls":
            raise ValueError(
                "teachers: a classifier on the cls token says nothing of patches: set "
                "model.vision_head.pooling to cls"
            )

    @classmethod
    def from_yaml(cls, source: str | Path, *overrides: str) -> "TrainConfig":
        """Read a recipe by name, or a YAML file, with ``dotted.key=value`` overrides.

        Raises:
            ConfigError: If there is no such recipe or file, or a key or value does not fit.
        """
        return load_config(cls, recipe_path(source), overrides)

"""The segmenter: a picture and labels in, a label for every pixel out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import (
    ImageSource,
    Picture,
    Transform,
    as_image,
    picture_size,
    source_name,
)
from dinotxt.data.prefetch import prefetch
from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.dense import (
    TEMPERATURE,
    HighRes,
    Mode,
    Pamr,
    Query,
    Refine,
    ScoreMap,
    SegmentScores,
    SlidingWindow,
    Upsample,
    Whole,
    label_tiles,
    tile_rows,
)
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.engines import SquareTowers, Towers
from dinotxt.inference.features import Features, LabelFeatures
from dinotxt.inference.inputs import check_size
from dinotxt.models.config import Embedding
from dinotxt.results.segmentation import Segmentation, map_dtype
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.text import prompt

__all__ = ["HighRes", "Segmenter", "SlidingWindow", "Whole"]

NEUTRAL = ("object", "things", "stuff", "texture")  # LERF (Kerr et al., 2023), section 3.4


class Segmenter:
    """Gives every pixel of a picture the label that fits it best.

    Args:
        encoder: The model.
        labels: What to look for, ``a | b`` are synonyms; or labels with their features.
        mode: None looks at the whole picture at once, ``SlidingWindow`` at its parts,
            ``HighRes`` at many crops of several sizes.
        templates: The prompts of labels without features, and of the neutral words; see
            ``Encoder.encode_labels``.
        background: The cosine that a pixel's best label must reach, or it stays unlabelled; None
            labels every pixel.
        upsample: What is enlarged to pixels: ``logits`` (the paper) or ``features`` (the released
            notebook).
        embedding: What stands for a patch (``Encoder.with_embedding``); None: the encoder's own.
        soft: Whether to keep each label's own score too: the chance, by the model's logit scale,
            that a place fits the label better than the best of four neutral words.
        refine: ``affinity`` moves the scores among places that the frozen backbone sees alike
            (RADSeg), ``pamr`` to neighbours of like colour (PAMR, as in TCL's main table), ``both``
            does one after the other; a ``Pamr`` has other settings.
        batch_size: Windows or crops a forward pass.

    Raises:
        ConfigError: If the labels or the options make no sense.
    """

    def __init__(  # noqa: PLR0913 - every switch of one predictor
        self,
        encoder: Encoder,
        labels: Sequence[str] | LabelFeatures,
        *,
        mode: Mode | None = None,
        templates: str | Path | Sequence[str] | None = None,
        background: float | None = None,
        upsample: Upsample = "logits",
        embedding: Embedding | None = None,
        soft: bool = False,
        refine: Refine | Pamr | None = None,
        batch_size: int = 8,
    ) -> None:
        names = labels.labels if isinstance(labels, LabelFeatures) else labels
        prompt.check_labels(names)
        prompt.check_distinct(names)
        _check_options(background, upsample, refine)
        self.mode: Mode = Whole() if mode is None else mode
        _check_mode(self.mode, encoder.towers)
        self._background = background
        self._soft = soft
        affinity = TEMPERATURE if refine in ("affinity", "both") else None
        self._pamr = refine if isinstance(refine, Pamr) else _pamr(refine)
        self._dtype = map_dtype(len(names))
        if embedding is not None:
            encoder = encoder.with_embedding(embedding)
        known = encoder.encode_labels(labels, templates)
        self.labels = known.labels
        features = known.features
        if soft:
            neutral = encoder.encode_labels(NEUTRAL, templates)
            features = np.concatenate([features, neutral.features])
        text = encoder.dense_text(features)
        self.query = Query(encoder, text, upsample, batch_size, affinity)

    @property
    def encoder(self) -> Encoder:
        """The model, with the embedding of patches that was asked for."""
        return self.query.encoder

    def __call__(
        self, source: ImageSource, *, on_pass: Callable[[int], None] | None = None
    ) -> Segmentation:
        """Segment one picture.

        Args:
            source: The picture.
            on_pass: Told before each forward pass how many inputs it has, ``mode.passes`` in all;
                what it raises ends the work.

        Raises:
            DataError: If the picture cannot be used; the message names it.
        """
        query = self.query if on_pass is None else replace(self.query, on_pass=on_pass)
        return self._segment(self.encoder.transform.open(source), source_name(source), query)

    def score_map(self, picture: Picture) -> ScoreMap:
        """Return how well each place of an opened picture fits each label, before refinement."""
        return self.mode.score_map(self.query, picture)

    def segment_many(
        self,
        sources: Iterable[ImageSource],
        *,
        num_workers: int | None = None,
        on_skip: OnSkip | None = None,
    ) -> Iterator[tuple[int, Segmentation]]:
        """Yield (position, segmentation) of each picture; bad ones go to ``on_skip``.

        Args:
            sources: Pictures; the next two are opened ahead.
            num_workers: Threads that open them; 0 for none.
            on_skip: Told of each picture that cannot be used; None raises instead.

        Raises:
            DataError: If a picture cannot be used and ``on_skip`` is None.
        """
        opened = prefetch(self._open, sources, num_workers=num_workers, ahead=2)
        for position, (name, outcome) in enumerate(opened):
            try:
                if isinstance(outcome, DataError):
                    raise outcome
                yield position, self._segment(outcome, name, self.query)
            except DataError as error:
                if on_skip is None:
                    raise
                on_skip(Skip(name, str(error)))

    def _open(self, source: ImageSource) -> tuple[str, Picture | DataError]:
        name = source_name(source)
        try:
            return name, self.encoder.transform.open(source)
        except DataError as error:
            return name, error

    def _segment(self, picture: Picture, name: str, query: Query) -> Segmentation:
        scores = self.mode.score_map(query, picture)
        clusters = scores.segments if isinstance(scores, SegmentScores) else None
        if self._pamr is not None:
            scores = self._pamr.refine(scores, picture, self.encoder.transform)
        width, height = picture_size(picture)
        label_map = self._label_map(scores, height, width)
        soft = self._soft_scores(scores) if self._soft else None
        decode = partial(_decode, self.encoder.transform, picture)
        return Segmentation(name, label_map, self.labels, decode, soft, clusters)

    def _label_map(
        self, scores: ScoreMap, height: int, width: int
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        label_map: NDArray[Any] = np.empty((height, width), dtype=self._dtype)
        for rows, labels, best in label_tiles(scores, len(self.labels), height, width):
            if self._background is not None:
                labels[best < self._background] = np.iinfo(self._dtype).max
            label_map[rows] = labels
        return label_map

    def _soft_scores(self, scores: ScoreMap) -> Features:
        height, width = scores.shape
        out = np.empty((len(self.labels), height, width), dtype=np.float32)
        step = tile_rows(scores, height, width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            rows = scores.rows(start, stop)
            neutral = rows[..., len(self.labels) :].max(axis=-1, keepdims=True)
            margin = self.encoder.logit_scale * (rows[..., : len(self.labels)] - neutral)
            out[:, start:stop] = (0.5 * (1 + np.tanh(margin / 2))).transpose(2, 0, 1)
        return out


def _decode(transform: Transform, opened: Picture, source: ImageSource | None) -> Image.Image:
    return as_image(opened if source is None else transform.open(source))


def _pamr(refine: Refine | None) -> Pamr | None:
    return Pamr() if refine in {"pamr", "both"} else None


def _check_mode(mode: object, towers: Towers) -> None:
    if isinstance(mode, str):
        raise ConfigError(f"mode is {mode!r}: give SlidingWindow(448, 224), HighRes() or None.")
    side = getattr(mode, "input_side", None)
    if side is not None and not isinstance(towers, SquareTowers):
        check_size(side, towers.patch_size)


def _check_options(background: float | None, upsample: str, refine: object) -> None:
    if background is not None and not -1 <= background <= 1:
        raise ConfigError(f"background is {background}: give a cosine from -1 to 1.")
    if upsample not in get_args(Upsample):
        raise ConfigError(f"upsample is {upsample!r}: give logits or features.")
    if not (refine is None or isinstance(refine, Pamr) or refine in get_args(Refine)):
        raise ConfigError(f"refine is {refine!r}: give {', '.join(get_args(Refine))} or none.")

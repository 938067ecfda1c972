"""The segmenter: a picture and labels in, a label for every pixel out."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

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
    HighRes,
    Mode,
    Pamr,
    ScoreMap,
    SegmentScores,
    SlidingWindow,
    Upsample,
    Whole,
    label_tiles,
    tile_rows,
)
from dinotxt.inference.encoder import Encoder, Features
from dinotxt.inference.engines import SquareTowers, Towers
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
        labels: What to look for; ``a | b`` are synonyms.
        mode: None looks at the whole picture at once, ``SlidingWindow`` at its parts,
            ``HighRes`` at many crops of several sizes.
        templates: The prompts; see ``Encoder.encode_labels``.
        background: The cosine that a pixel's best label must reach, or it stays unlabelled; None
            labels every pixel.
        upsample: What is enlarged to pixels: ``logits`` (the paper) or ``features`` (the released
            notebook).
        embedding: What stands for a patch (``Encoder.with_embedding``); None: the encoder's own.
        soft: Whether to keep each label's own score too: the chance, by the model's logit scale,
            that a place fits the label better than the best of four neutral words.
        refine: ``pamr`` moves the scores to neighbours of like colour (PAMR, as in TCL's main
            table); a ``Pamr`` has other settings.
        batch_size: Windows or crops a forward pass.

    Raises:
        ConfigError: If the labels or the options make no sense.
    """

    def __init__(  # noqa: PLR0913 - every switch of one predictor
        self,
        encoder: Encoder,
        labels: Sequence[str],
        *,
        mode: Mode | None = None,
        templates: str | Path | Sequence[str] | None = None,
        background: float | None = None,
        upsample: Upsample = "logits",
        embedding: Embedding | None = None,
        soft: bool = False,
        refine: Literal["pamr"] | Pamr | None = None,
        batch_size: int = 8,
    ) -> None:
        prompt.check_labels(labels)
        prompt.check_distinct(labels)
        _check_options(background, upsample, refine)
        _check_mode(mode, encoder.towers)
        self.encoder = encoder if embedding is None else encoder.with_embedding(embedding)
        self.labels = tuple(labels)
        self.mode: Mode = Whole() if mode is None else mode
        self._background = background
        self._upsample: Upsample = upsample
        self._soft = soft
        self._refine = Pamr() if refine == "pamr" else refine
        self._batch_size = batch_size
        self._dtype = map_dtype(len(labels))
        features = encoder.encode_labels(labels, templates)
        if soft:
            features = np.concatenate([features, encoder.encode_labels(NEUTRAL, templates)])
        self._text = self.encoder.dense_text(features)

    def __call__(self, source: ImageSource) -> Segmentation:
        """Segment one picture.

        Raises:
            DataError: If the picture cannot be used; the message names it.
        """
        return self._segment(self.encoder.transform.open(source), source_name(source))

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
                yield position, self._segment(outcome, name)
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

    def _segment(self, picture: Picture, name: str) -> Segmentation:
        scores = self.mode.score_map(
            self.encoder,
            picture,
            self._text,
            upsample=self._upsample,
            batch_size=self._batch_size,
        )
        clusters = scores.segments if isinstance(scores, SegmentScores) else None
        if self._refine is not None:
            scores = self._refine.refine(scores, picture, self.encoder.transform)
        width, height = picture_size(picture)
        label_map = self._label_map(scores, height, width)
        soft = self._soft_scores(scores) if self._soft else None
        decode = partial(_decode, self.encoder.transform)
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


def _decode(transform: Transform, source: ImageSource) -> Image.Image:
    return as_image(transform.open(source))


def _check_mode(mode: object, towers: Towers) -> None:
    if isinstance(mode, str):
        raise ConfigError(f"mode is {mode!r}: give SlidingWindow(448, 224), HighRes() or None.")
    size = mode.crop_size if isinstance(mode, HighRes) else getattr(mode, "size", None)
    if size is not None and not isinstance(towers, SquareTowers):
        check_size(size, towers.patch_size)


def _check_options(background: float | None, upsample: str, refine: object) -> None:
    if background is not None and not -1 <= background <= 1:
        raise ConfigError(f"background is {background}: give a cosine from -1 to 1.")
    if upsample not in get_args(Upsample):
        raise ConfigError(f"upsample is {upsample!r}: give logits or features.")
    if not (refine is None or refine == "pamr" or isinstance(refine, Pamr)):
        raise ConfigError(f"refine is {refine!r}: give pamr, or leave it out.")

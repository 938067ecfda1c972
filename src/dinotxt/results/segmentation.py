"""What a segmenter says about one picture: a label for every pixel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.errors import ConfigError, DataError
from dinotxt.files import atomic_path
from dinotxt.results.overlay import Entry, add_legend, blend
from dinotxt.results.palette import UNLABELLED_COLOUR, dataset_palette, palette

UNLABELLED = "unlabelled"
_SMALL = np.iinfo(np.uint8).max


def map_dtype(num_labels: int) -> type[np.uint8] | type[np.uint16]:
    """Return the type of a label map; its largest value is kept for unlabelled pixels.

    Raises:
        ConfigError: If there are more labels than a label map can hold.
    """
    if num_labels > np.iinfo(np.uint16).max:
        raise ConfigError(f"{num_labels} labels are too many for a label map: give 65535 at most.")
    return np.uint8 if num_labels <= _SMALL else np.uint16


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The label map of one picture, at the picture's own size.

    Attributes:
        image: The path of the picture, or a description of it where it has none.
        label_map: ``[H, W]``, the position of each pixel's label in ``labels``; the largest
            value of the type (255 for ``uint8``, 65535 for ``uint16``) is ``unlabelled``.
        labels: The labels, as the user gave them.
        decode: Opens what ``overlay`` is given as an upright RGB picture; None stands for the
            picture that was segmented, which the result keeps.
        scores: ``[C, h, w]`` soft scores from 0 to 1 of every label by itself, at the resolution
            they were computed in, or None if they were not asked for.
        clusters: int32 ``[h, w]``, the cluster of each place, where the mode makes clusters.
        colours: uint8 ``[K, 3]``, the colours of the labels, or None for the usual ones; see
            ``with_palette``.

    Raises:
        DataError: If the label map holds a value that stands for no label.
    """

    image: str
    label_map: NDArray[np.uint8] | NDArray[np.uint16]
    labels: tuple[str, ...]
    decode: Callable[[Any], Image.Image] = field(repr=False)
    scores: NDArray[np.float32] | None = None
    clusters: NDArray[np.int32] | None = None
    colours: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check the values of the label map."""
        number = len(self.labels)
        strange = self.label_map[(self.label_map >= number) & (self.label_map != self.unlabelled)]
        if strange.size:
            message = f"{self.image}: the label map holds {int(strange[0])}, which stands for none"
            last = f"of {number} labels: give 0 to {number - 1}"
            raise DataError(f"{message} {last}, or {self.unlabelled} for unlabelled.")

    @property
    def unlabelled(self) -> int:
        """The value of pixels that fit no label."""
        return int(np.iinfo(self.label_map.dtype).max)

    @property
    def areas(self) -> Mapping[str, float]:
        """The fraction of the picture under each label, in the order of the labels."""
        shares = self._shares()
        return {label: float(shares[i]) for i, label in enumerate(self.labels)}

    def area(self, label: str) -> float:
        """Return the fraction of the picture under a label, from 0 to 1.

        Raises:
            ConfigError: If the label was not asked for.
        """
        return float(np.mean(self.label_map == self._position(label)))

    def mask(self, label: str) -> NDArray[np.float32]:
        """Return ``[H, W]``: how well the label fits each pixel, from 0 to 1.

        With soft scores they are resized to the picture; otherwise a pixel is 0 or 1.

        Raises:
            ConfigError: If the label was not asked for.
        """
        position = self._position(label)
        if self.scores is None:
            return np.asarray(self.label_map == position, dtype=np.float32)
        height, width = self.label_map.shape
        small = Image.fromarray(self.scores[position].astype(np.float32))
        return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))

    def with_palette(self, name: str) -> "Segmentation":
        """Return the same result in the colours of a data set, by the positions of the labels.

        Args:
            name: A key of ``dinotxt.results.palette.DATASET_PALETTES``.

        Raises:
            ConfigError: If the palette is unknown or has fewer colours than there are labels.
        """
        return replace(self, colours=dataset_palette(name, len(self.labels)))

    def colour_map(self, *, legend: bool = False) -> Image.Image:
        """Return the label map in its colours, unlabelled pixels in grey."""
        colours = self._colours()
        plain = Image.fromarray(colours[np.minimum(self.label_map, len(self.labels))])
        return add_legend(plain, self.entries()) if legend else plain

    def overlay(
        self, image: Any = None, opacity: float = 0.5, *, legend: bool = True
    ) -> Image.Image:
        """Draw the regions over the picture, with a legend of names and areas under it.

        A label has the same colour in every picture that was segmented with the same labels.

        Args:
            image: A picture of the same size, in any form that the segmenter takes; None takes the
                one that was segmented.
            opacity: Of the colours, from 0 to 1.
            legend: Whether to add the legend; without it the result has the picture's size.

        Raises:
            ConfigError: If the opacity is out of range.
            DataError: If the picture has another size than the label map.
        """
        if not 0 <= opacity <= 1:
            raise ConfigError(f"opacity is {opacity}: give a number from 0 to 1.")
        picture = self.decode(image)
        height, width = self.label_map.shape
        if picture.size != (width, height):
            message = f"The picture is {picture.width}x{picture.height} pixels, the label map"
            raise DataError(f"{message} {width}x{height}: give the picture that was segmented.")
        colours = self._colours()
        index_map = np.minimum(self.label_map, len(self.labels))
        tinted = Image.fromarray(blend(np.asarray(picture), index_map, colours, opacity))
        return add_legend(tinted, self.entries()) if legend else tinted

    def save_label_map(self, path: str | Path) -> None:
        """Write the label map as a PNG: 8 bits with a palette, or 16-bit grey from 256 labels.

        A pixel of the file holds the position of its label, 255 (or 65535) if it has none.
        """
        if self.label_map.dtype == np.uint8:
            picture = Image.fromarray(self.label_map)
            picture.putpalette(self._file_palette())  # turns the mode into "P"
        else:
            picture = Image.fromarray(self.label_map)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", optimize=False)

    def entries(self) -> list[Entry]:
        """Return the lines of a legend: the labels in the picture, the largest first."""
        shares, colours = self._shares(), self._colours()
        names = (*self.labels, UNLABELLED)
        order = np.argsort(-shares, kind="stable")
        present = [int(i) for i in order if shares[i] > 0]
        return [Entry.of(names[i], colours[i], float(shares[i])) for i in present]

    def _shares(self) -> NDArray[np.float64]:
        """Return ``[C + 1]`` fractions; the last is unlabelled."""
        flat = np.minimum(self.label_map, len(self.labels)).ravel()
        counts = np.bincount(flat, minlength=len(self.labels) + 1)
        return np.asarray(counts / max(flat.size, 1), dtype=np.float64)

    def _colours(self) -> NDArray[np.uint8]:
        colours = self._label_colours()
        rest = np.array([UNLABELLED_COLOUR], dtype=np.uint8)
        if (colours == rest).all(axis=1).any():  # as CamVid's sky
            rest = np.zeros_like(rest)
        return np.concatenate([colours, rest])

    def _label_colours(self) -> NDArray[np.uint8]:
        return palette(len(self.labels)) if self.colours is None else self.colours

    def _file_palette(self) -> list[int]:
        table = np.zeros((_SMALL + 1, 3), dtype=np.uint8)
        colours = self._colours()
        table[: len(self.labels)] = colours[:-1]
        table[_SMALL] = colours[-1]
        return [int(value) for value in table.ravel()]

    def _position(self, label: str) -> int:
        if label not in self.labels:
            known = ", ".join(self.labels[:10])
            raise ConfigError(f"{label!r} is not among the labels ({known}).")
        return self.labels.index(label)

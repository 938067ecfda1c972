"""Random views of a picture for training, each a pure function of (seed, epoch, index)."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field, PositiveFloat

from dinotxt.config import configuration
from dinotxt.data.pictures.image import ImageSource
from dinotxt.data.pictures.transform import Box, Picture, Transform, picture_size

Area = Annotated[float, Field(gt=0, le=1)]
_TRIES = 10


@configuration
class ViewConfig:
    """What a random view may look like (random resized crop, as torchvision's).

    Attributes:
        scale: Smallest and largest share of the area that is cut out.
        ratio: Smallest and largest width over height of the part that is cut out.
        flip: Whether half of the views are mirrored.
        whole: Share of the views that show the whole picture, as evaluation does.
    """

    scale: tuple[Area, Area] = (0.4, 1.0)
    ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True
    whole: Annotated[float, Field(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        """Hold the ends of each range against each other.

        Raises:
            ValueError: If one is empty.
        """
        if self.scale[0] > self.scale[1] or self.ratio[0] > self.ratio[1]:
            raise ValueError("scale and ratio must rise from the first number to the second")


class RandomView:
    """Cuts a random part out of a picture, stretches it to a square and may mirror it.

    Attributes:
        config: The ranges.
        size: The side of the square, in pixels.
    """

    def __init__(self, config: ViewConfig, transform: Transform) -> None:
        """Take the filter and the size of a transform."""
        self.config = config
        self.size = transform.config.size
        self._transform = transform

    def __call__(self, picture: Picture, *, seed: int, epoch: int, index: int) -> Picture:
        """Return one view, ``size`` by ``size``; ``Transform.normalize`` makes it an array.

        Args:
            picture: An opened picture.
            seed: The seed of the run.
            epoch: The epoch, or the number of the cached view.
            index: The item.
        """
        box, mirrored = self.draw(*picture_size(picture), seed=seed, epoch=epoch, index=index)
        view = self._transform.resize(picture, (self.size, self.size), box)
        if not mirrored:
            return view
        return ImageOps.mirror(view) if isinstance(view, Image.Image) else view[:, :, ::-1]

    def load(
        self, source: ImageSource, *, seed: int, epoch: int, index: int
    ) -> NDArray[np.float32]:
        """Open a source and return one view of it as an array, float32 ``[C, size, size]``.

        Raises:
            DataError: If the source cannot be used.
        """
        view = self(self._transform.open(source), seed=seed, epoch=epoch, index=index)
        return self._transform.normalize(view)

    def draw(
        self, width: int, height: int, *, seed: int, epoch: int, index: int
    ) -> tuple[Box, bool]:
        """Return the part (left, top, right, bottom) and whether it is mirrored."""
        key = np.array([seed, epoch], dtype=np.uint64)
        counter = np.array([0, index, 0, 0], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
        mirrored = bool(generator.random() < 0.5) and self.config.flip
        if self.config.whole and generator.random() < self.config.whole:
            return (0, 0, width, height), mirrored
        low, high = (math.log(ratio) for ratio in self.config.ratio)
        for _ in range(_TRIES):
            area = width * height * generator.uniform(*self.config.scale)
            ratio = math.exp(generator.uniform(low, high))
            part = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < part[0] <= width and 0 < part[1] <= height:
                left = int(generator.integers(width - part[0] + 1))
                top = int(generator.integers(height - part[1] + 1))
                return (left, top, left + part[0], top + part[1]), mirrored
        return self._centre(width, height), mirrored

    def _centre(self, width: int, height: int) -> Box:
        """Return the largest centred part whose ratio is allowed."""
        ratio = min(max(width / height, self.config.ratio[0]), self.config.ratio[1])
        across = min(width, max(1, round(height * ratio)))
        down = min(height, max(1, round(width / ratio)))
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down

"""From a picture to the array that a backbone takes: resize, crop, normalise.

The default is the evaluation transform of DINOv2 and DINOv3: short side 256 (bicubic), centre crop
224, ImageNet mean and deviation.
"""

import hashlib
import io
import json
from dataclasses import asdict
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveFloat, PositiveInt

from dinotxt.config import configuration
from dinotxt.data.pictures.channels import ChannelMapping, read_array
from dinotxt.data.pictures.image import ImageSource, Limits, open_image
from dinotxt.errors import DataError

Picture = Image.Image | NDArray[np.float32]
Ratio = Annotated[float, Field(ge=1)]
Box = tuple[float, float, float, float]
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_DEFAULT_LIMITS = Limits()
_JPEG_QUALITY = 85
_LONGEST = 16
_LEAST_ENLARGED = 64  # two patches of 32: on one place alone a CNN's features may be all zero


@configuration
class TransformConfig:
    """How pictures become arrays.

    Attributes:
        size: The side of the square result, in pixels.
        resize: ``crop`` resizes the short side to ``size * crop_ratio`` and cuts out the centre,
            ``squash`` resizes both sides to ``size``, ``none`` keeps the picture as it is.
        crop_ratio: Short side over ``size`` before the centre crop.
        mean: Of each channel, for pixels from 0 to 1.
        std: Of each channel.
        interpolation: The resampling filter.
        mapping: For pictures that are not 8-bit RGB.
        max_enlarge: Pictures are enlarged at most so many times; smaller ones give a smaller
            square, of 64 pixels at least. None: every picture becomes ``size``.
    """

    size: PositiveInt = 224
    resize: Literal["crop", "squash", "none"] = "crop"
    crop_ratio: Ratio = 256 / 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    mapping: ChannelMapping | None = None
    max_enlarge: Ratio | None = None

    def __post_init__(self) -> None:
        """Hold the numbers of channels against each other.

        Raises:
            ValueError: If they differ.
        """
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError("mean and std need one positive deviation a channel")
        if self.mapping is None and len(self.mean) != 3:
            raise ValueError("pictures without a mapping have three channels")

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of this config, as 64 hexadecimal digits."""
        content = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


class Transform:
    """Turns pictures into float32 arrays ``[C, H, W]``, the same way every time.

    Attributes:
        config: What it does.
        fingerprint: The SHA-256 of the config.
    """

    def __init__(self, config: TransformConfig | None = None) -> None:
        """Prepare the tables of the normalisation."""
        self.config = config = config or TransformConfig()
        self.fingerprint = config.fingerprint
        mean, std = np.array(config.mean), np.array(config.std)
        self._scale = (1 / std).astype(np.float32)[:, None, None]
        self._shift = (-mean / std).astype(np.float32)[:, None, None]
        self._byte_scale = (1 / (255 * std)).astype(np.float32)[:, None, None]

    def open(self, source: ImageSource, *, limits: Limits = _DEFAULT_LIMITS) -> Picture:
        """Open a picture: RGB, or mapped channels ``[C, H, W]`` from 0 to 1 with a mapping.

        Raises:
            DataError: If the source cannot be used.
        """
        if self.config.mapping is None:
            return open_image(source, limits=limits)
        return self.config.mapping.apply(read_array(source, limits=limits))

    def load(self, source: ImageSource) -> NDArray[np.float32]:
        """Open and transform a source to float32 ``[C, H, W]``."""
        return self(self.open(source))

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        """Transform an opened picture to float32 ``[C, H, W]``."""
        config = self.config
        if config.resize == "none":
            return self.normalize(picture)
        if config.resize == "squash":
            side = self._side(picture)
            return self.normalize(self.resize(picture, (side, side)))
        return self.normalize(self._resize_and_crop(picture))

    def resize(self, picture: Picture, size: tuple[int, int], box: Box | None = None) -> Picture:
        """Resize ``box`` (left, top, right, bottom) of a picture to ``size`` (width, height)."""
        resample = _FILTERS[self.config.interpolation]
        if isinstance(picture, Image.Image):
            return picture.resize(size, resample, box=box)
        channels = [Image.fromarray(channel).resize(size, resample, box=box) for channel in picture]
        return np.stack([np.asarray(channel) for channel in channels])

    def normalize(self, picture: Picture) -> NDArray[np.float32]:
        """Subtract the mean and divide by the deviation: float32 ``[C, H, W]``.

        Raises:
            DataError: If the picture has another number of channels than the config.
        """
        if isinstance(picture, Image.Image):
            planes, scale = np.asarray(picture).transpose(2, 0, 1), self._byte_scale
        else:
            planes, scale = picture, self._scale
        if len(planes) != len(scale):
            raise DataError(
                f"The picture has {len(planes)} channels, mean and std {len(scale)}: "
                "state transform.mapping.channels."
            )
        pixels = planes.astype(np.float32, order="C")
        pixels *= scale
        pixels += self._shift
        return pixels

    def _side(self, picture: Picture) -> int:
        """Return the side of the square that a picture becomes."""
        config = self.config
        if config.max_enlarge is None:
            return config.size
        side = round(config.max_enlarge * min(picture_size(picture)))
        return min(config.size, max(side, _LEAST_ENLARGED))

    def _resize_and_crop(self, picture: Picture) -> Picture:
        """Resize the short side, cut out the centre; rounding as torchvision's two transforms."""
        width, height = picture_size(picture)
        size = self._side(picture)
        short = int(size * self.config.crop_ratio + 1e-6)
        if width <= height:
            new_width, new_height = short, int(short * height / width)
        else:
            new_width, new_height = int(short * width / height), short
        left, top = round((new_width - size) / 2), round((new_height - size) / 2)
        if max(new_width, new_height) > _LONGEST * short:
            # A strip would grow without bound: resize no more than the part that is kept.
            across, down = width / new_width, height / new_height
            box = (left * across, top * down, (left + size) * across, (top + size) * down)
            return self.resize(picture, (size, size), box)
        resized = self.resize(picture, (new_width, new_height))
        if isinstance(resized, Image.Image):
            return resized.crop((left, top, left + size, top + size))
        return resized[:, top : top + size, left : left + size]


def as_image(picture: Picture) -> Image.Image:
    """Return what a person sees: of mapped channels the first three, or grey."""
    if isinstance(picture, Image.Image):
        return picture
    channels = picture[:3] if len(picture) >= 3 else np.repeat(picture[:1], 3, axis=0)
    return Image.fromarray(np.rint(channels.transpose(1, 2, 0) * 255).astype(np.uint8))


def small_jpeg(picture: Picture, side: int) -> bytes:
    """Return a JPEG whose long side is at most ``side``: pixels alone, no EXIF, no comments."""
    small = as_image(picture).copy()
    small.info.clear()  # Pillow writes a comment of a JPEG, a GIF or a PNG without being asked
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def picture_size(picture: Picture) -> tuple[int, int]:
    """Return (width, height) of an opened picture."""
    if isinstance(picture, Image.Image):
        return picture.size
    return picture.shape[2], picture.shape[1]

"""Draw a label map over its picture, with a legend under it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_EDGE_OPACITY = 0.9
_TILE_PIXELS = 1 << 20
_SMALLEST_FONT = 13
_CHARACTERS_ACROSS = 48  # the picture's width in letters: the font grows with the picture
_MAX_ENTRIES = 24
_PAPER, _INK, _FAINT = (255, 255, 255), (28, 30, 34), (110, 114, 120)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend.

    Attributes:
        text: What the colour stands for.
        colour: RGB.
        share: The fraction of the picture, from 0 to 1; None shows none.
    """

    text: str
    colour: tuple[int, int, int]
    share: float | None

    @classmethod
    def of(cls, text: str, colour: NDArray[np.uint8], share: float) -> "Entry":
        """Make a line of a colour ``[3]`` of a palette."""
        red, green, blue = colour.tolist()
        return cls(text, (red, green, blue), share)


def blend(
    picture: NDArray[np.uint8],
    label_map: NDArray[np.integer],
    colours: NDArray[np.uint8],
    opacity: float,
) -> NDArray[np.uint8]:
    """Tint each region with its colour and draw its outline, a tile of rows at a time.

    Args:
        picture: ``[H, W, 3]``.
        label_map: ``[H, W]``, indices into ``colours``.
        colours: ``[K, 3]``.
        opacity: Of the tint, from 0 to 1; outlines are at least 0.9 of the way to solid.
    """
    height, width = label_map.shape
    reach = max(1, round(min(height, width) / 400))
    out = np.empty_like(picture)
    rows = max(1, _TILE_PIXELS // width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        edge = _edges(label_map, start, stop, reach)
        alpha = np.where(edge, opacity + (1 - opacity) * _EDGE_OPACITY, opacity)
        alpha = alpha.astype(np.float32)[..., None]
        tint = colours[label_map[start:stop]].astype(np.float32)
        mixed = picture[start:stop] * (1 - alpha) + tint * alpha
        out[start:stop] = np.rint(mixed).astype(np.uint8)
    return out


def add_legend(
    picture: Image.Image, entries: Sequence[Entry], *, letters: int = _CHARACTERS_ACROSS
) -> Image.Image:
    """Return the picture with a strip under it: swatch, name and share, in columns.

    Entries past the 24th are summed up in one line.

    Args:
        picture: The picture.
        entries: The lines.
        letters: The picture's width in letters, which grow with it; more for several panels
            beside each other.
    """
    shown = _shorten(entries)
    size = max(_SMALLEST_FONT, round(picture.width / letters))
    font = ImageFont.load_default(size)
    natural = max(font.getlength(entry.text) for entry in shown) + 5.6 * size
    margin, gap, line = round(size * 0.9), round(size * 2.2), round(size * 1.75)
    columns = max(1, min(len(shown), int((picture.width - 2 * margin + gap) // (natural + gap))))
    canvas_width = max(picture.width, round(min(natural, 24 * size)) + 2 * margin)
    cell = min(round(natural), (canvas_width - 2 * margin - gap * (columns - 1)) // columns)
    rows = -(-len(shown) // columns)
    strip = rows * line + margin
    canvas = Image.new("RGB", (canvas_width, picture.height + strip), _PAPER)
    canvas.paste(picture, ((canvas_width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for index, entry in enumerate(shown):
        left = margin + (index % columns) * (cell + gap)
        middle = picture.height + margin // 2 + line // 2 + (index // columns) * line
        _draw_entry(draw, entry, font, (left, middle, cell))
    return canvas


def _edges(label_map: NDArray[np.integer], start: int, stop: int, reach: int) -> NDArray[np.bool_]:
    """Tell which pixels of rows ``start:stop`` see another label ``reach`` pixels away."""
    height = label_map.shape[0]
    tile = label_map[start:stop]
    rows = np.arange(start, stop)
    edge: NDArray[np.bool_] = label_map[np.minimum(rows + reach, height - 1)] != tile
    edge |= label_map[np.maximum(rows - reach, 0)] != tile
    edge[:, reach:] |= tile[:, :-reach] != tile[:, reach:]
    edge[:, :-reach] |= tile[:, :-reach] != tile[:, reach:]
    return edge


def _shorten(entries: Sequence[Entry]) -> list[Entry]:
    if len(entries) <= _MAX_ENTRIES:
        return list(entries)
    kept, rest = list(entries[: _MAX_ENTRIES - 1]), entries[_MAX_ENTRIES - 1 :]
    shares = [entry.share for entry in rest if entry.share is not None]
    return [*kept, Entry(f"{len(rest)} more", _PAPER, sum(shares) if shares else None)]


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    entry: Entry,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    place: tuple[int, int, int],
) -> None:
    left, middle, cell = place
    swatch = round(font.getbbox("Xg")[3] * 0.85)
    top = middle - swatch // 2
    box = (left, top, left + swatch, top + swatch)
    draw.rounded_rectangle(box, radius=max(2, swatch // 4), fill=entry.colour)
    share = _percent(entry.share)
    share_width = font.getlength(share)
    text_left = left + swatch * 1.5
    room = cell - swatch * 2 - share_width
    draw.text((text_left, middle), _fit(entry.text, font, room), _INK, font, anchor="lm")
    draw.text((left + cell, middle), share, _FAINT, font, anchor="rm")


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text.rstrip()}..."

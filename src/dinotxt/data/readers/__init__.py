"""Every form of ``--data``, read into records."""

from dinotxt.data.readers.annotation import Captioned
from dinotxt.data.readers.labelled import LabelledSet, read_labelled, read_lines
from dinotxt.data.readers.location import expand, expand_braces, image_root, images_in
from dinotxt.data.readers.masks import IGNORED, LabelValues, MaskedImage, MaskSet, read_masks
from dinotxt.data.readers.pairs import find_tars, read_pairs
from dinotxt.data.readers.record import ImageRef, LabelledImage, Pair, or_raise
from dinotxt.data.readers.sample import DAMAGE, Sample, clean_captions, tar_samples
from dinotxt.data.readers.table import CAPTION_COLUMNS, pick_column

__all__ = [
    "CAPTION_COLUMNS",
    "DAMAGE",
    "IGNORED",
    "Captioned",
    "ImageRef",
    "LabelValues",
    "LabelledImage",
    "LabelledSet",
    "MaskSet",
    "MaskedImage",
    "Pair",
    "Sample",
    "clean_captions",
    "expand",
    "expand_braces",
    "find_tars",
    "image_root",
    "images_in",
    "or_raise",
    "pick_column",
    "read_labelled",
    "read_lines",
    "read_masks",
    "read_pairs",
    "tar_samples",
]

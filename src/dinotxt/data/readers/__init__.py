"""Every form of ``--data``, read into records."""

from dinotxt.data.readers.annotation import Captioned
from dinotxt.data.readers.labelled import LabelledSet, read_labelled
from dinotxt.data.readers.location import expand, expand_braces, files_in, image_root
from dinotxt.data.readers.masks import IGNORED, LabelValues, MaskedImage, MaskSet, read_masks
from dinotxt.data.readers.pairs import find_tars, read_pairs
from dinotxt.data.readers.record import ImageRef, LabelledImage, Pair
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
    "files_in",
    "find_tars",
    "image_root",
    "pick_column",
    "read_labelled",
    "read_masks",
    "read_pairs",
    "tar_samples",
]

"""Pictures: decoding, transforms, random views, and the pictures of a folder."""

from dinotxt.data.pictures.channels import ChannelMapping, read_array
from dinotxt.data.pictures.folder import (
    Entry,
    folders_in,
    is_left_out,
    is_ours,
    mirrored_name,
    pictures_in,
    play_order,
    printable,
    scan,
    sort_key,
    without_results,
)
from dinotxt.data.pictures.image import (
    EXTENSIONS,
    ImageSource,
    Limits,
    OversizeError,
    Stored,
    decoding,
    open_image,
    open_undecoded,
    source_name,
    why_unreadable,
)
from dinotxt.data.pictures.rendered import ArrayImage, TrimmedImage
from dinotxt.data.pictures.transform import (
    Picture,
    Transform,
    TransformConfig,
    as_image,
    picture_size,
    small_jpeg,
)
from dinotxt.data.pictures.view import RandomView, ViewConfig

__all__ = [
    "EXTENSIONS",
    "ArrayImage",
    "ChannelMapping",
    "Entry",
    "ImageSource",
    "Limits",
    "OversizeError",
    "Picture",
    "RandomView",
    "Stored",
    "Transform",
    "TransformConfig",
    "TrimmedImage",
    "ViewConfig",
    "as_image",
    "decoding",
    "folders_in",
    "is_left_out",
    "is_ours",
    "mirrored_name",
    "open_image",
    "open_undecoded",
    "picture_size",
    "pictures_in",
    "play_order",
    "printable",
    "read_array",
    "scan",
    "small_jpeg",
    "sort_key",
    "source_name",
    "why_unreadable",
    "without_results",
]

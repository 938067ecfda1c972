"""ObjectNet: the 113 classes that it shares with ImageNet, by the mappings that come with it.

Its own read-me asks that the red border around every picture be cut off before a test; how wide
it is a setting, since public code differs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import ImageSource, Limits, open_image, pictures_in
from dinotxt.data.readers import ImageRef, LabelledImage, LabelledSet
from dinotxt.errors import DataError
from dinotxt.files import read_json
from dinotxt.results.skip import OnSkip, Skip

_FOLDERS = "folder_to_objectnet_label.json"
_SHARED = "objectnet_to_imagenet_1k.json"


@dataclass(frozen=True, slots=True)
class TrimmedImage:
    """A picture without its border; it is decoded when it is read.

    Attributes:
        image: The whole picture.
        border: How many pixels go on each side.
    """

    image: ImageRef
    border: int

    @property
    def name(self) -> str:
        """Return the name of the whole picture."""
        return self.image.name

    def read(self, max_bytes: int | None = None) -> NDArray[np.uint8]:
        """Return the inner part, uint8 ``[H, W, 3]``.

        Raises:
            DataError: If the picture cannot be used or is nothing but border.
        """
        limits = Limits() if max_bytes is None else Limits(max_bytes=max_bytes)
        whole = np.asarray(open_image(self.image, limits=limits))
        inner = whole[self.border : -self.border, self.border : -self.border]
        if inner.size == 0:
            raise DataError(
                f"{self.name} is {whole.shape[1]}x{whole.shape[0]}, all of it within the border of "
                f"{self.border}."
            )
        return inner


def read_objectnet(folder: Path, report: OnSkip, border: int = 0) -> LabelledSet:
    """Read ``objectnet-1.0``, given itself or its parent.

    Args:
        folder: It holds ``images/`` and ``mappings/``.
        report: Called for each shared class without a picture.
        border: How many pixels to cut off on each side.

    Raises:
        DataError: If a part of it is missing.
    """
    roots = (folder, folder / "objectnet-1.0")
    bases = [base for base in roots if (base / "images").is_dir()]
    places = [path for base in roots for path in (base / "mappings", base)]
    mappings = next((path for path in places if (path / _FOLDERS).is_file()), None)
    missing = [] if bases else ["images/"]
    missing += [] if mappings else [f"mappings/{_FOLDERS}"]
    missing += [] if mappings and (mappings / _SHARED).is_file() else [f"mappings/{_SHARED}"]
    if missing or mappings is None:
        raise DataError(
            f"{folder} is not ObjectNet: it has no {', no '.join(missing)}. Unpack "
            "objectnet-1.0.zip there."
        )
    names, shared = read_json(mappings / _FOLDERS), read_json(mappings / _SHARED)
    if not isinstance(names, dict) or not isinstance(shared, dict):
        raise DataError(f"{mappings} is damaged: its files hold no tables. Unpack the zip anew.")
    kept = sorted(one for one, label in names.items() if label in shared)
    items = []
    for number, one in enumerate(kept):
        paths = list(pictures_in(bases[0] / "images" / one, report))
        if not paths:
            report(Skip(str(bases[0] / "images" / one), "the class has no picture"))
        for path in paths:
            image: ImageSource = ImageRef(str(path))
            if border:
                image = TrimmedImage(ImageRef(str(path)), border)
            items.append(LabelledImage(f"{one}/{path.name}", image, number))
    return LabelledSet(tuple(items), tuple(names[one].lower() for one in kept), name="objectnet")

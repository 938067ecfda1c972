"""What the values of a stored label map stand for: a class, or a pixel that does not count."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError

IGNORED = 255


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The meaning of the values of a label map.

    Attributes:
        classes: The value of each class, in the order of the classes.
        ignored: Values of pixels that do not count; 255 is one unless it stands for the background.
        background: Further values of the first class, where that is the background.
    """

    classes: tuple[int, ...]
    ignored: tuple[int, ...] = (IGNORED,)
    background: tuple[int, ...] = ()

    def decode(self, stored: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """Return class numbers and 255 for ignored pixels, int64, in the shape of ``stored``.

        Args:
            stored: The values of a file.
            name: The file's name, for messages.

        Raises:
            DataError: If a value is neither a class nor ignored.
        """
        highest = max(*self.classes, *self.ignored, *self.background, IGNORED)
        table = np.full(highest + 2, -1, dtype=np.int64)
        table[list(self.classes)] = np.arange(len(self.classes))
        table[[IGNORED, *self.ignored]] = IGNORED
        table[list(self.background)] = 0
        inside = (stored >= 0) & (stored <= highest)
        decoded = table[np.where(inside, stored, highest + 1)]
        wrong = decoded < 0
        if wrong.any():
            raise DataError(f"{name} has the value {stored[wrong][0]}: {self._known()}")
        return decoded

    def _known(self) -> str:
        first, last = min(self.classes), max(self.classes)
        if self.classes != tuple(range(first, last + 1)):
            return f"it is none of the {len(self.classes)} values of classes, nor ignored."
        ignored = ", ".join(map(str, sorted({*self.ignored, IGNORED})))
        return f"values go from {first} to {last} (the classes, in order); ignored: {ignored}."

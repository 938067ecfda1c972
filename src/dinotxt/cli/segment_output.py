"""The files that ``dinotxt segment`` writes for a picture, and how its JSON names them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotxt.errors import ConfigError, DataError
from dinotxt.files import Results, atomic_path

if TYPE_CHECKING:
    from PIL import Image

    from dinotxt.data.pictures import ImageSource
    from dinotxt.inference.encoder import Encoder
    from dinotxt.inference.segmenter import Segmenter
    from dinotxt.results.segmentation import Segmentation

FIGURES = ("pca", "clusters")
_PCA_PATCHES = 28  # along the short side


@dataclass(frozen=True, slots=True)
class Output:
    """Where the files go and which there are.

    Attributes:
        folder: The folder; names may have subfolders.
        predict: What segments the pictures.
        palette: A data set's palette, or None for the usual one.
        figures: Of ``pca`` and ``clusters``.
        other: A second model to compare with.
    """

    folder: Path
    predict: "Segmenter"
    palette: str | None = None
    figures: tuple[str, ...] = ()
    other: "Segmenter | None" = None
    _written: Results = field(default_factory=lambda: Results("segment"), init=False)

    def __post_init__(self) -> None:
        """Check the options before the first picture is segmented."""
        from dinotxt.results.palette import dataset_palette

        strange = sorted(set(self.figures) - set(FIGURES))
        if strange:
            raise ConfigError(f"--figure is {strange[0]!r}: give {' or '.join(FIGURES)}.")
        if self.palette is not None:
            dataset_palette(self.palette, len(self.predict.labels))
        if "clusters" not in self.figures:
            return
        settings = self.predict.mode.settings(self.predict.encoder)
        if "num_clusters" not in settings:
            raise ConfigError("--figure clusters shows what --mode highres makes: give that, too.")
        if settings["num_clusters"] is None:
            raise ConfigError("With --crops this model has no clusters: give --clusters 32, too.")

    def write(self, result: "Segmentation", path: str, name: str) -> dict[str, Any]:
        """Write the files of one picture and return its part of the JSON.

        Raises:
            DataError: If the folder cannot be written, or the second model refuses the picture.
        """
        from dinotxt.data.pictures import printable

        if self.palette is not None:
            result = result.with_palette(self.palette)
        try:
            label_map = self.folder / f"{name}_labels.png"
            self._written.add(label_map)
            result.save_label_map(label_map)
            overlay = self._save(result.overlay(), f"{name}_overlay.png")
            more = {**self._soft(result, name), **self._figures(result, path, name)}
        except OSError as error:
            message = f"{self.folder} cannot be written ({error.strerror or error})"
            raise DataError(f"{message}: choose another --out.") from error
        height, width = result.label_map.shape
        return {
            "image": printable(path),
            "size": [width, height],
            "label_map": printable(label_map),
            "overlay": overlay,
            "areas": dict(result.areas),
            **more,
        }

    def _soft(self, result: "Segmentation", name: str) -> dict[str, Any]:
        """Write each label's mask as 8-bit grey, 255 for a sure fit; name them and their peaks."""
        import numpy as np
        from PIL import Image

        if result.scores is None:
            return {}
        paths: dict[str, str] = {}
        for position, label in enumerate(result.labels):
            slug = re.sub(r"[^\w-]+", "-", label).strip("-")[:40]
            grey = np.rint(result.mask(label) * 255).astype(np.uint8)
            file = f"{name}_soft-{position:03d}-{slug}.png"
            paths[label] = self._save(Image.fromarray(grey), file)
        peaks = result.scores.max(axis=(1, 2))
        return {
            "soft": paths,
            "scores": {
                label: round(float(peak), 4) for label, peak in zip(paths, peaks, strict=True)
            },
        }

    def _figures(self, result: "Segmentation", path: str, name: str) -> dict[str, str]:
        from dinotxt.results.figures import cluster_figure, comparison, pca_picture, side_by_side

        written: dict[str, str] = {}
        if "pca" in self.figures:
            encoder = self.predict.encoder
            size = _PCA_PATCHES * encoder.towers.patch_size
            picture = result.decode(None)
            features = encoder.encode_patches(self._source(encoder, picture, path), size=size)
            panels = [("image", picture), ("patches", pca_picture(features, picture.size))]
            written["pca"] = self._save(side_by_side(panels), f"{name}_pca.png")
        if "clusters" in self.figures:
            figure = cluster_figure(result)
            written["clusters"] = self._save(figure, f"{name}_clusters.png")
        if self.other is not None:
            second = self.other(self._source(self.other.encoder, result.decode(None), path))
            if self.palette is not None:
                second = second.with_palette(self.palette)
            models = [(self.predict.encoder.name, result), (self.other.encoder.name, second)]
            written["compare"] = self._save(comparison(models), f"{name}_compare.png")
        return written

    def _source(self, encoder: "Encoder", picture: "Image.Image", path: str) -> "ImageSource":
        """Return the decoded picture, or its file where a model looks at other channels."""
        models = (encoder, self.predict.encoder)
        is_rgb = all(one.transform.config.mapping is None for one in models)
        return picture if is_rgb else path

    def _save(self, picture: "Image.Image", name: str) -> str:
        from dinotxt.data.pictures import printable

        path = self.folder / name
        self._written.add(path)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")
        return printable(path)

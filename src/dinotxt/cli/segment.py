"""``dinotxt segment``: a label for every pixel, as label maps and overlays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.classify import Images
from dinotxt.cli.options import load_encoder, read_labels
from dinotxt.cli.session import Session, session
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import Results, atomic_path

if TYPE_CHECKING:
    from PIL import Image

    from dinotxt.data.pictures import ImageSource
    from dinotxt.inference.dense import Mode
    from dinotxt.inference.encoder import Encoder
    from dinotxt.inference.segmenter import Segmenter
    from dinotxt.results.segmentation import Segmentation

_FIGURES = ("pca", "clusters")
_MASK_EFFORT = 1  # of zlib: masks are smooth, and there are as many as labels
_PCA_PATCHES = 28  # along the short side
Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="For the PNG files.")]
Soft = Annotated[bool, typer.Option("--soft", help="Write each label's own mask too.")]
ValueText = Annotated[
    Literal["cls", "patch"],
    typer.Option(help="The half of the text feature that --embedding value is compared with."),
]
Palette = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Colours of a data set, such as cityscapes or voc20."),
]
Figure = Annotated[
    str | None,
    typer.Option(metavar="pca,clusters", help="More figures: patches by components, clusters."),
]
Compare = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Draw what a second model says beside the first."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows or crops a forward pass.")]
Size = Annotated[
    int | None,
    typer.Option(min=1, help="Short side of the input, or side of a window or crop, in pixels."),
]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="A time a picture instead of --crops, by a measured rate."),
]
Clusters = Annotated[
    int | None,
    typer.Option(min=1, help="Groups of k-means in --mode highres (default: the model's, or 32)."),
]
_SHOWN = 6
_ROWS = 40


def segment(
    images: Images,
    *,
    out: Out,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    seconds: Seconds = None,
    clusters: Clusters = None,
    background: options.Background = None,
    upsample: options.Upsample = "logits",
    embedding: options.Embedding = None,
    value_text: ValueText = "cls",
    soft: Soft = False,
    refine: options.Refine = None,
    palette: Palette = None,
    figure: Figure = None,
    compare: Compare = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    trust_code: options.TrustCode = False,
    batch_size: BatchSize = 8,
    num_workers: options.NumWorkers = None,
    size: Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Label every pixel of each picture; write label maps and overlays with a legend."""
    with session("segment", json_path, quiet) as current:
        from dinotxt.cli.options import expand_pictures, output_names
        from dinotxt.inference.segmenter import Segmenter
        from dinotxt.text.prompt import check_distinct

        wanted = read_labels(labels, labels_file)
        check_distinct(wanted)
        paths = expand_pictures(images, current.skip)
        results: list[dict[str, Any]] = []
        budget: dict[str, Any] = {}

        def build(name: str) -> "Segmenter":
            encoder = load_encoder(name, device=device, engine=engine, trust_code=trust_code)
            if embedding is not None:
                encoder = encoder.with_embedding(embedding, value_text=value_text)
            with current.progress("labels") as report:
                known = encoder.encode_labels(wanted, templates, progress=report)
            return Segmenter(
                encoder,
                known,
                mode=_mode(encoder, mode, size, crops, seconds, clusters, batch_size),
                templates=templates,
                background=background,
                upsample=upsample,
                soft=soft,
                refine=refine,
                batch_size=batch_size,
            )

        if paths:
            predict = build(model)
            other = None if compare is None else build(compare)
            figures = tuple(name.strip() for name in (figure or "").split(",") if name.strip())
            output = Output(Path(out), predict, palette, figures, other)
            budget = _budget(current.notes, predict)
            results = _run(current, output, paths, output_names(images, paths), num_workers)
        _show(current.console, results)
        current.finish({**budget, "results": results}, done=len(results))


def _mode(
    encoder: "Encoder",
    name: str | None,
    size: int | None,
    crops: int | None,
    seconds: float | None,
    clusters: int | None,
    batch_size: int,
) -> "Mode":
    """Return a mode; some seconds become a number of crops, as if that had been given."""
    from dinotxt.inference.dense import crops_within, find_mode, high_res

    if seconds is None:
        return find_mode(name, encoder.defaults, size=size, crops=crops, clusters=clusters)
    if crops is not None or name != "highres":
        raise ConfigError("--seconds goes with --mode highres and stands in for --crops.")
    mix = high_res(encoder.defaults, size=size, crops=1, clusters=clusters)
    return crops_within(encoder, seconds, mix, batch_size=batch_size)


def _budget(console: Console, predict: "Segmenter") -> dict[str, Any]:
    """Print and return how many crops there are and how many of them see a pixel."""
    settings = predict.mode.settings(predict.encoder)
    if "visits" not in settings:
        return {}
    crops, visits = settings["crops"], round(settings["visits"], 1)
    console.print(f"{crops} crops a picture, {visits} visits a pixel", highlight=False)
    return {"crops": crops, "visits": visits}


def _run(
    current: Session,
    output: "Output",
    paths: Sequence[str],
    names: Sequence[str],
    num_workers: int | None,
) -> list[dict[str, Any]]:
    results = []
    with current.progress("segment") as report:
        for position, result in output.predict.segment_many(
            paths, num_workers=num_workers, on_skip=current.skip
        ):
            results.append(output.write(result, paths[position], names[position]))
            report(position + 1, len(paths))
    return results


def _show(console: Console, results: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    if not results:
        return
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("picture", overflow="fold")
    table.add_column("areas", overflow="fold")
    table.add_column("overlay", overflow="fold")
    for result in results[:_ROWS]:
        order = sorted(result["areas"].items(), key=lambda pair: -pair[1])
        areas = [f"{label} {share:.1%}" for label, share in order[:_SHOWN] if share > 0]
        cells = (result["image"], ", ".join(areas) or "unlabelled", result["overlay"])
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    if len(results) > _ROWS:
        console.print(f"and {len(results) - _ROWS} more pictures", highlight=False)


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

        strange = sorted(set(self.figures) - set(_FIGURES))
        if strange:
            raise ConfigError(f"--figure is {strange[0]!r}: give {' or '.join(_FIGURES)}.")
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
            paths[label] = self._save(Image.fromarray(grey), file, effort=_MASK_EFFORT)
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

    def _save(self, picture: "Image.Image", name: str, *, effort: int = 6) -> str:
        from dinotxt.data.pictures import printable

        path = self.folder / name
        self._written.add(path)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", compress_level=effort)
        return printable(path)

"""One vector a distinct picture: the frozen backbone's cls token (paper section 4.2) or another.

``embed/NAME.npy`` is float16 ``[m, D]``, one row a picture of the table whose bytes are new to the
pool; ``embed/NAME.rows.npy`` is int64, the row of each pair of the table, counted over all tables
in their order; -1 without one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.config import load_config, to_json
from dinotxt.curation.config import CurationConfig, ImageConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pictures.copies import copies_of, find_copies, forget_copies, read_pictures
from dinotxt.curation.pool import by_key, save_array, table_paths
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.data.pictures import Limits, Transform, TransformConfig
from dinotxt.data.readers import ImageRef
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json, sha256_file, write_json
from dinotxt.inference.decoding import pixel_batches
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.features import unit
from dinotxt.results.skip import Skip

STAGE = "embed"
UNREADABLE, NOT_FINITE, ZERO = "unreadable picture", "NaN or infinite vector", "zero vector"

_KEYS = ("model", "backbone", "size", "features")
_FAILED = {-1: UNREADABLE, -2: NOT_FINITE, -3: ZERO}  # in place of a row
_COPY = -4
_MAX_LISTED = 100  # pictures named of one table

Item = tuple[int, Path]


class Embedder(Protocol):
    """Turns pixels into vectors."""

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""

    @property
    def transform(self) -> Transform:
        """What makes pixels of a picture."""

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, D]`` for ``[B, C, H, W]``."""


def embed_pictures(config: CurationConfig, engine: Engine) -> StageReport:
    """Embed the pictures of the pool, table by table, each content once.

    Raises:
        DataError: If not one picture can be embedded.
        ConfigError: If the model's weights changed in between.
    """
    root = config.output
    settings = to_json(config.image)
    folder = StageFolder(
        root,
        STAGE,
        config={key: settings[key] for key in _KEYS},
        after=["pairs"],
        keeps_files=True,
    )
    if finished := folder.finished():
        return finished
    tables = table_paths(root, read_report(root, "pairs"))
    find_copies(folder.path, tables, engine)
    embed = partial(_embed_table, folder=folder.path, settings=config.image)
    results = list(engine.map(embed, list(enumerate(tables))))
    if len({result["model"] for result in results}) > 1:
        message = f"The weights of {config.image.model} changed: delete {folder.path}."
        raise ConfigError(message)
    pictures, reasons = _point_all(folder.path, tables, results, engine)
    if pictures == sum(reasons.values()):
        raise DataError(f"No picture of {config.input} could be embedded: {reasons}.")
    forget_copies(folder.path)  # before the report, so that a killed run leaves none behind
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=pictures,
            n_out=pictures - sum(reasons.values()),
            reasons=reasons,
            files=folder.relative(folder.path / f"{table.stem}.npy" for table in tables),
            skipped=tuple(Skip(*one) for result in results for one in result["skipped"]),
            details={
                "rows": sum(result["rows"] for result in results),
                "width": max(result["width"] for result in results),
                "model": results[0]["model"],
            },
        )
    )


def _embed_table(item: Item, *, folder: Path, settings: ImageConfig) -> dict[str, Any]:
    """Embed the pictures of a table that are no copies, unless that is done."""
    number, table = item
    copies = copies_of(folder, number)[:, 0]
    marker = folder / f"{table.stem}.json"
    made_of = {
        "table": sha256_file(table),
        "copies": hashlib.sha256(np.sort(copies).tobytes()).hexdigest(),
    }
    if marker.exists():
        done: dict[str, Any] = read_json(marker)
        if made_of.items() <= done.items():
            return done
    embedder = cached_embedder(json.dumps(to_json(settings)))
    refs = read_pictures(table).refs
    row_of = np.full(len(refs), -1, dtype=np.int32)
    row_of[copies] = _COPY
    new = _New(refs, np.flatnonzero(row_of != _COPY))
    vectors = new.embed(embedder, settings.batch_size, row_of)
    width = len(vectors[0]) if vectors else 0
    matrix = np.array(vectors, dtype=np.float16).reshape(len(vectors), width)
    save_array(folder / f"{table.stem}.npy", matrix)
    save_array(folder / "pictures" / f"{table.stem}.npy", row_of)
    result = {
        **made_of,
        "rows": len(vectors),
        "width": width,
        "model": embedder.fingerprint,
        "skipped": _skipped(refs, row_of),
    }
    write_json(marker, result)
    return result


def _skipped(refs: Sequence[ImageRef], row_of: NDArray[np.int32]) -> list[list[str]]:
    """Return (name, reason) of the first pictures without a vector."""
    failed = [number for number, row in enumerate(row_of) if row in _FAILED]
    return [[refs[n].name, _FAILED[int(row_of[n])]] for n in failed[:_MAX_LISTED]]


class _New:
    """The pictures of a table that are to be embedded.

    Args:
        refs: All pictures of the table.
        numbers: Which of them are new.
    """

    def __init__(self, refs: Sequence[ImageRef], numbers: NDArray[np.int64]) -> None:
        self._refs = refs
        self._numbers = numbers
        self._given: list[int] = []  # pictures in the order in which they were given out

    def embed(
        self, embedder: Embedder, batch_size: int, row_of: NDArray[np.int32]
    ) -> list[NDArray[np.float16]]:
        """Return the vectors; write the row of each picture, or why it has none."""
        vectors: list[NDArray[np.float16]] = []
        batches = pixel_batches(
            self._contents(Limits().max_bytes),
            embedder.transform.load,
            name=lambda _: "picture",
            batch_size=batch_size,
            num_workers=1,
            on_skip=lambda _: None,
        )
        for batch in batches:
            with np.errstate(over="ignore"):
                halves = embedder.embed(batch.pixels).astype(np.float16)
            for index, vector in zip(batch.indices, halves, strict=True):
                picture = self._given[int(index)]
                row_of[picture] = _reason(vector) or len(vectors)
                if row_of[picture] >= 0:
                    vectors.append(vector)
        return vectors

    def _contents(self, limit: int) -> Iterator[bytes]:
        for number in self._numbers:
            try:
                content = self._refs[number].read(limit)
            except DataError:
                continue
            self._given.append(int(number))
            yield content


def _reason(vector: NDArray[np.float16]) -> int:
    """Return why a vector cannot be used, as a negative number, or 0."""
    if not np.isfinite(vector).all():
        return -2
    return 0 if vector.any() else -3


def _point_all(
    folder: Path, tables: Sequence[Path], results: Sequence[dict[str, Any]], engine: Engine
) -> tuple[int, dict[str, int]]:
    """Write the rows of all pairs; return the pictures, and those without a row by reason."""
    starts = np.cumsum([0, *(result["rows"] for result in results)])
    names = tuple(table.stem for table in tables)
    point = partial(_point_to_rows, folder=folder, names=names, starts=starts)
    counted = list(engine.map(point, list(enumerate(tables))))
    return sum(number for number, _ in counted), add_reasons(one for _, one in counted)


def _point_to_rows(
    item: Item, *, folder: Path, names: tuple[str, ...], starts: NDArray[np.int64]
) -> tuple[int, dict[str, int]]:
    """Write the row of each pair of a table; return its pictures, and those without by reason."""
    number, table = item
    row_of = _own_rows(folder, names[number], starts[number])
    copies = copies_of(folder, number)
    for owner, of_owner in by_key(copies[:, 1], copies):
        rows = _own_rows(folder, names[owner], starts[owner])
        row_of[of_owner[:, 0]] = rows[of_owner[:, 2]]
    path = folder / f"{table.stem}.rows.npy"
    save_array(path, np.maximum(row_of, -1)[read_pictures(table).of_pair])
    reasons = {reason: int((row_of == code).sum()) for code, reason in _FAILED.items()}
    return len(row_of), reasons


def _own_rows(folder: Path, name: str, start: np.int64) -> NDArray[np.int64]:
    """Return the rows of a table's pictures, counted over all tables, or the reason for none."""
    stored: NDArray[np.int64] = np.load(folder / "pictures" / f"{name}.npy").astype(np.int64)
    return np.where(stored >= 0, stored + start, stored)


def open_embedder(settings: ImageConfig) -> Embedder:
    """Load the model that a configuration names.

    Raises:
        DinotxtError: If the model cannot be loaded; see `dinotxt.load`.
    """
    if settings.backbone is not None:
        return _BackboneEmbedder(settings)
    if settings.features == "aligned":
        encoder = load(settings.model, device=settings.device)
    else:
        encoder = load(settings.model, device=settings.device, engine="torch")
    return _EncoderEmbedder(encoder, settings)


class _BackboneEmbedder:
    """The cls token of a bare backbone."""

    def __init__(self, settings: ImageConfig) -> None:
        from dinotxt.checkpoints.sources import build_backbone
        from dinotxt.inference.engines.torch_towers import find_device

        assert settings.backbone is not None
        self._device = find_device(settings.device)
        self._backbone = build_backbone(settings.backbone, trust_code=True).to(self._device).eval()
        self.fingerprint = self._backbone.weights_hash
        own = getattr(self._backbone.module, "pretrained_cfg", None) or {}
        config = TransformConfig(size=settings.size)
        mean, std = (tuple(own.get(key, getattr(config, key))) for key in ("mean", "std"))
        self.transform = Transform(replace(config, mean=mean, std=std))

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return _cls_tokens(self._backbone, pixels, self._device)


class _EncoderEmbedder:
    """A model's backbone, or its aligned image features."""

    def __init__(self, encoder: Encoder, settings: ImageConfig) -> None:
        self._encoder = encoder
        self._aligned = settings.features == "aligned"
        if not self._aligned and not hasattr(encoder.towers, "model"):
            raise ConfigError(f"{settings.model} has no backbone apart: set features to aligned.")
        self.fingerprint = encoder.fingerprint
        self.transform = encoder.transform

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        towers: Any = self._encoder.towers
        if self._aligned:
            return unit(self._encoder.encode_pixels(pixels))
        return _cls_tokens(towers.model.backbone, pixels, towers.device)


def _cls_tokens(backbone: Any, pixels: NDArray[np.float32], device: Any) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        tokens = backbone(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
        return np.asarray(tokens.cls.float().cpu().numpy(), dtype=np.float32)


cached_embedder = lru_cache(maxsize=1)(
    lambda key: open_embedder(load_config(ImageConfig, json.loads(key)))
)

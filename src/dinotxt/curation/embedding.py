"""One vector a distinct picture: the frozen backbone's cls token (paper section 4.2) or another.

``embed/NAME.npy`` is float16 ``[m, D]``, one row a picture of the table whose bytes are new to
it; ``embed/NAME.rows.npy`` is int32, the row of each pair of the table, -1 without one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.arrays import save_array
from dinotxt.curation.config import CurationConfig, ImageConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import table_paths
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.curation.tables import read_table
from dinotxt.data.image import Limits
from dinotxt.data.record import ImageRef
from dinotxt.data.transform import Transform, TransformConfig
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json, sha256_file, write_json
from dinotxt.inference.decoding import pixel_batches
from dinotxt.inference.encoder import Encoder, load, unit

STAGE = "embed"
UNREADABLE, NOT_FINITE, ZERO = "unreadable picture", "NaN or infinite vector", "zero vector"

_KEYS = ("model", "backbone", "size", "features")


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
    """Embed the pictures of the pool, table by table."""
    root = config.output
    settings = config.image.model_dump(mode="json")
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
    embed = partial(_embed_table, folder=folder.path, settings=config.image)
    results = list(engine.map(embed, tables))
    reasons = add_reasons(result["reasons"] for result in results)
    pictures = sum(result["pictures"] for result in results)
    if pictures == sum(reasons.values()):
        raise DataError(f"No picture of {config.input} could be embedded: {reasons}.")
    if len({result["model"] for result in results}) > 1:
        message = f"The weights of {config.image.model} changed: delete {folder.path}."
        raise ConfigError(message)
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=pictures,
            n_out=pictures - sum(reasons.values()),
            reasons=reasons,
            files=folder.relative(folder.path / f"{table.stem}.npy" for table in tables),
            details={
                "rows": sum(result["rows"] for result in results),
                "width": results[0]["width"],
                "model": results[0]["model"],
            },
        )
    )


def open_embedder(settings: ImageConfig) -> Embedder:
    """Load the model that a configuration names.

    Raises:
        DinotxtError: If the model cannot be loaded; see `dinotxt.load`.
    """
    if settings.backbone is not None:
        return _BackboneEmbedder(settings)
    return _EncoderEmbedder(load(settings.model, device=settings.device), settings)


class _BackboneEmbedder:
    """The cls token of a bare backbone."""

    def __init__(self, settings: ImageConfig) -> None:
        from dinotxt.checkpoints.sources import build_backbone
        from dinotxt.inference.torch_towers import find_device

        assert settings.backbone is not None
        self._device = find_device(settings.device)
        self._backbone = build_backbone(settings.backbone).to(self._device).eval()
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
            return unit(towers.encode_image(pixels))
        return _cls_tokens(towers.model.backbone, pixels, towers.device)


def _cls_tokens(backbone: Any, pixels: NDArray[np.float32], device: Any) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        tokens = backbone(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
        return np.asarray(tokens.cls.float().cpu().numpy(), dtype=np.float32)


_cached_embedder = lru_cache(maxsize=1)(
    lambda key: open_embedder(ImageConfig.model_validate_json(key))
)


def _embed_table(table: Path, *, folder: Path, settings: ImageConfig) -> dict[str, Any]:
    """Embed one table unless that is done; return its counts."""
    marker = folder / f"{table.stem}.json"
    digest = sha256_file(table)
    if marker.exists():
        done: dict[str, Any] = read_json(marker)
        if done["table"] == digest:
            return done
    embedder = _cached_embedder(settings.model_dump_json())
    columns = read_table(table, ["picture", "path", "offset", "size", "member"]).to_pydict()
    pictures, first, inverse = np.unique(columns["picture"], return_index=True, return_inverse=True)
    refs = [_ref(columns, int(index)) for index in first]
    work = _Distinct(refs)
    vectors, reasons = _vectors(work, embedder, settings.batch_size)
    rows, kept = work.rows(vectors, reasons)
    width = next((len(vector) for vector in vectors.values()), 0)
    matrix = np.array(kept, dtype=np.float16).reshape(len(kept), width)
    save_array(folder / f"{table.stem}.npy", matrix)
    save_array(folder / f"{table.stem}.rows.npy", rows[inverse])
    result = {
        "table": digest,
        "pictures": len(pictures),
        "rows": len(kept),
        "width": width,
        "model": embedder.fingerprint,
        "reasons": reasons,
    }
    write_json(marker, result)
    return result


class _Distinct:
    """The pictures of a table, each different content once."""

    def __init__(self, refs: Sequence[ImageRef]) -> None:
        self._refs = refs
        self._first: dict[bytes, int] = {}
        self.same_as: dict[int, int] = {}
        self.failed: dict[int, str] = {}
        self.order: list[int] = []  # pictures in the order in which they were given out

    def contents(self, limit: int) -> Iterator[bytes]:
        """Yield the bytes of each new content."""
        for number, ref in enumerate(self._refs):
            try:
                content = ref.read(limit)
            except DataError:
                self.failed[number] = UNREADABLE
                continue
            digest = hashlib.blake2b(content, digest_size=16).digest()
            same = self._first.setdefault(digest, number)
            self.same_as[number] = same
            if same == number:
                self.order.append(number)
                yield content

    def rows(
        self, vectors: dict[int, NDArray[np.float16]], reasons: dict[str, int]
    ) -> tuple[NDArray[np.int32], list[NDArray[np.float16]]]:
        """Return the row of each picture (-1: none) and the rows; add to the reasons."""
        row_of = {number: row for row, number in enumerate(sorted(vectors))}
        rows = np.full(len(self._refs), -1, dtype=np.int32)
        for number in range(len(self._refs)):
            first = self.same_as.get(number, number)
            rows[number] = row_of.get(first, -1)
            if rows[number] < 0:
                reason = self.failed.get(first, UNREADABLE)
                reasons[reason] = reasons.get(reason, 0) + 1
        return rows, [vectors[number] for number in sorted(vectors)]


def _vectors(
    work: _Distinct, embedder: Embedder, batch_size: int
) -> tuple[dict[int, NDArray[np.float16]], dict[str, int]]:
    vectors: dict[int, NDArray[np.float16]] = {}
    batches = pixel_batches(
        work.contents(Limits().max_bytes),
        embedder.transform.load,
        name=lambda _: "picture",
        batch_size=batch_size,
        num_workers=1,
        on_skip=lambda _: None,
    )
    for batch in batches:
        features = embedder.embed(batch.pixels)
        with np.errstate(over="ignore"):
            halves = features.astype(np.float16)
        for index, vector in zip(batch.indices, halves, strict=True):
            number = work.order[int(index)]
            if not np.isfinite(vector).all():
                work.failed[number] = NOT_FINITE
            elif not vector.any():
                work.failed[number] = ZERO
            else:
                vectors[number] = vector
    return vectors, {}


def _ref(columns: dict[str, list[Any]], index: int) -> ImageRef:
    offset = columns["offset"][index]
    return ImageRef(
        columns["path"][index],
        None if offset < 0 else offset,
        columns["size"][index],
        columns["member"][index],
    )

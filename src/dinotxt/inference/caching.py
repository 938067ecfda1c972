"""Run a frozen backbone over pairs once and keep its tokens, so that training never runs it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dinotxt.data.features import FeatureStore, FeatureStoreWriter, Shard, StoreSpec, plan_bytes
from dinotxt.data.pictures import RandomView, Transform
from dinotxt.data.readers import Pair
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json
from dinotxt.inference.decoding import pixel_batches
from dinotxt.inference.engines.torch_towers import find_device
from dinotxt.inference.inputs import check_size
from dinotxt.models.vision import Backbone, Tokens
from dinotxt.results.skip import OnSkip, Progress, Skip

Kind = Literal["all", "pooled"]
_PLAIN: dict[str, Any] = {"view": None, "seed": None}


@dataclass(frozen=True, slots=True)
class Views:
    """Random views of each picture, drawn once and kept.

    Attributes:
        draw: Draws a view.
        count: Views of each picture.
        seed: Of the draw.
    """

    draw: RandomView
    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ConfigError: If there are none.
        """
        if self.count < 1:
            raise ConfigError(f"{self.count} views of a picture: give at least one.")


class FeatureCacher:
    """Writes the tokens of every pair's picture into a folder; a killed run goes on.

    Args:
        backbone: The frozen backbone; it is moved to the device.
        transform: What happens to a picture.
        pairs: Pictures and captions.
        path: The folder of the cache.
        tokens: ``all`` (cls, registers, patches) or ``pooled`` (cls, average, maximum).
        views: Random views of each picture; None takes the plain picture.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: If the backbone is not frozen, or pictures are smaller than two patches.
        DataError: If the folder holds a cache of something else, or the disk is too small.
    """

    def __init__(
        self,
        backbone: Backbone,
        transform: Transform,
        pairs: Sequence[Pair],
        path: str | Path,
        *,
        tokens: Kind = "pooled",
        views: Views | None = None,
        device: str = "auto",
    ) -> None:
        if not backbone.config.frozen:
            raise ConfigError("Only a frozen backbone's tokens can be cached: set frozen: true.")
        check_size(transform.config.size, backbone.patch_size)
        self._device = find_device(device)
        self._backbone = backbone.to(self._device).eval()
        self._transform = transform
        self._pairs = pairs
        self._views = views
        self._kind: Kind = tokens
        self.spec = self._describe()
        self._path = Path(path)
        self._check_views()
        self._writer = FeatureStoreWriter(path, self.spec, pairs)
        self._check_space()

    @property
    def num_bytes(self) -> int:
        """What the whole cache takes on the disk."""
        return plan_bytes(self.spec, len(self._pairs))

    @property
    def num_done(self) -> int:
        """How many pairs an earlier run has dealt with."""
        return len(self._pairs) - sum(shard.stop - shard.start for shard in self._writer.pending())

    def run(
        self,
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        on_skip: OnSkip | None = None,
        progress: Progress | None = None,
    ) -> FeatureStore:
        """Write what is missing and open the cache.

        Args:
            batch_size: Views a forward pass.
            num_workers: Threads that decode; None takes one a core.
            on_skip: Told of each picture that cannot be used; None raises instead.
            progress: Called with (done, total) pairs.

        Raises:
            DataError: If a picture cannot be used and ``on_skip`` is None, or the disk is full.
        """
        done = self.num_done
        if progress is not None:
            progress(done, len(self._pairs))
        for shard in self._writer.pending():
            skipped: list[Skip] = []
            kept: list[int] = []
            parts: list[NDArray[np.float16]] = []
            for batch in pixel_batches(
                range(shard.start, shard.stop),
                self._load,
                name=lambda position: self._pairs[position].image.name,
                batch_size=max(1, batch_size // self.spec.views),
                num_workers=num_workers,
                on_skip=None if on_skip is None else skipped.append,
            ):
                parts.append(self._encode(batch.pixels))
                kept += (batch.indices + shard.start).tolist()
                if progress is not None:
                    progress(done + kept[-1] + 1 - shard.start, len(self._pairs))
            self._write(shard, parts, kept, skipped, on_skip)
            done += shard.stop - shard.start
            if progress is not None:
                progress(done, len(self._pairs))
        return self._writer.finish()

    def _write(
        self,
        shard: Shard,
        parts: list[NDArray[np.float16]],
        kept: list[int],
        skipped: list[Skip],
        on_skip: OnSkip | None,
    ) -> None:
        empty = np.empty(self.spec.shard_shape(0), dtype=np.float16)
        self._writer.write(shard, np.concatenate([empty, *parts]), kept=kept, skipped=skipped)
        if on_skip is not None:
            for skip in skipped:
                on_skip(skip)

    def _describe(self) -> StoreSpec:
        """Learn the shape of the tokens from one blank picture."""
        config = self._transform.config
        blank = torch.zeros(1, len(config.mean), config.size, config.size, device=self._device)
        with torch.inference_mode():
            tokens = self._backbone(blank)
        views = self._views
        drawn = {"view": asdict(views.draw.config), "seed": views.seed} if views else _PLAIN
        return StoreSpec(
            tokens=self._kind,
            width=tokens.cls.shape[-1],
            num_registers=tokens.registers.shape[1],
            grid=tokens.grid,
            views=views.count if views else 1,
            weights_hash=self._backbone.weights_hash,
            transform_hash=self._transform.fingerprint,
            info={"backbone": asdict(self._backbone.config), **drawn},
        )

    def _load(self, position: int) -> NDArray[np.float32]:
        """Return the views of one picture, ``[K, C, H, W]``."""
        picture = self._transform.open(self._pairs[position].image)
        views = self._views
        if views is None:
            return self._transform(picture)[None]
        drawn = [
            views.draw(picture, seed=views.seed, epoch=number, index=position)
            for number in range(views.count)
        ]
        return np.stack([self._transform.normalize(view) for view in drawn])

    @torch.inference_mode()
    def _encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float16]:
        """Return ``[B, K, tokens, width]`` for views ``[B, K, C, H, W]``."""
        images = torch.from_numpy(pixels).flatten(0, 1).to(self._device)
        tokens: Tokens = self._backbone(images)
        if self._kind == "all":
            rows = tokens.sequence()
        else:
            patches = tokens.patches
            rows = torch.stack([tokens.cls, patches.mean(1), patches.amax(1)], dim=1)
        halves = rows.to(torch.float16).cpu().numpy()
        return np.asarray(halves.reshape(*pixels.shape[:2], *halves.shape[1:]), dtype=np.float16)

    def _check_views(self) -> None:
        """Refuse to go on with a cache of other views, which its hashes do not tell apart."""
        plan = self._path / "plan.json"
        if not plan.is_file():
            return
        info = json.loads(json.dumps(self.spec.info))  # tuples become lists, as in the file
        old = read_json(plan).get("spec", {}).get("info", {})
        wrong = [key for key in _PLAIN if key in old and old[key] != info[key]]
        if wrong:
            parts = [f"{key} {old[key]}, not {info[key]}" for key in wrong]
            message = f"{self._path} was made with {' and '.join(parts)}"
            raise DataError(f"{message}: cache to another folder.")

    def _check_space(self) -> None:
        left = self.spec.item_bytes * (len(self._pairs) - self.num_done)
        free = shutil.disk_usage(self._path).free
        if left > free:
            message = f"The features need {left:,} bytes more, but {self._path} has {free:,} free"
            raise DataError(f"{message}: make room, take fewer views or `pooled` tokens.")

"""The encoder: pictures and texts in, arrays in one shared space out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from dinotxt.checkpoints.hub import PREFIX, is_hub_name
from dinotxt.data.pictures import ImageSource, Picture, Transform, source_name
from dinotxt.errors import ConfigError
from dinotxt.inference.decoding import EncodedImages, check_finite, listed, pixel_batches
from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.inference.engines import DenseTowers, Towers
from dinotxt.inference.features import Averaging, Features, LabelFeatures, group_means, unit
from dinotxt.inference.inputs import brighten, squares, whole_input
from dinotxt.inference.loading import Engine, open_model
from dinotxt.inference.prompt_cache import kept_embeddings
from dinotxt.models.config import Embedding, TextHalf
from dinotxt.results.skip import OnSkip, Progress
from dinotxt.text import prompt
from dinotxt.text.tokenizer import Tokenizer

Reports = Sequence[Mapping[str, Any] | str | Path]
_GENERAL = InferenceDefaults()


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """A model with its tokenizer and its transform, never apart.

    Attributes:
        towers: The model on some engine.
        tokenizer: Of the text tower.
        transform: Of the image tower.
        name: What reports call the model.
        defaults: What it is used with where the user says nothing.
    """

    towers: Towers
    tokenizer: Tokenizer
    transform: Transform
    name: str = "model"
    defaults: InferenceDefaults = _GENERAL

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        size: int | None = None,
        trust_code: bool = False,
    ) -> "Encoder":
        """Load a model from the hub (``OWNER/NAME``) or from a folder.

        Args:
            name: A folder, if there is one of this name; else a model of the hub.
            revision: A branch, tag or commit of the hub.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            size: The side of the model's input in pixels (default: the model's own).
            trust_code: As for ``dinotxt.load``.

        Raises:
            CheckpointError: If the model is neither here nor on the hub, or is damaged.
            BackendError: If the device or an optional package is missing.
        """
        address = str(name)
        if not Path(address).expanduser().is_dir():
            address = address if is_hub_name(address) else f"{PREFIX}{address}"
            address += f"@{revision}" if revision else ""
        return load(address, device=device, size=size, trust_code=trust_code)

    @property
    def embed_dim(self) -> int:
        """The width E of image and text features."""
        return self.towers.embed_dim

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax."""
        return self.towers.logit_scale

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        return self.towers.fingerprint

    @property
    def short_side(self) -> int:
        """The short side in pixels at which a whole picture is segmented."""
        return self.defaults.short_side or self.transform.config.size

    def encode_image(
        self,
        sources: ImageSource | Sequence[ImageSource],
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        normalize: bool = True,
        progress: Progress | None = None,
    ) -> Features:
        """Return image features ``[N, E]``.

        Args:
            sources: Paths, bytes of files, Pillow images or uint8 arrays ``[H, W, 3]``.
            batch_size: Pictures a forward pass.
            num_workers: Threads that decode; 0 for none, None for one a core.
            normalize: Whether rows have length 1, so that products are cosines.
            progress: Called with (done, total).

        Raises:
            DataError: If a picture cannot be used; the message names it.
        """
        pictures = listed(sources)
        out = np.empty((len(pictures), self.embed_dim), dtype=np.float32)
        for batch in self.stream_images(
            pictures, batch_size=batch_size, num_workers=num_workers, normalize=normalize
        ):
            out[batch.indices] = batch.features
            if progress is not None:
                progress(int(batch.indices[-1]) + 1, len(pictures))
        return out

    def stream_images(
        self,
        sources: Iterable[ImageSource],
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        normalize: bool = True,
        on_skip: OnSkip | None = None,
    ) -> Iterator[EncodedImages]:
        """Yield image features batch by batch, in the order of the input.

        The input may be of any length: two batches at most are read ahead. With ``on_skip`` a
        picture that cannot be used, or has features that are not finite, is reported and its
        index is left out; else it raises.
        """
        for batch in pixel_batches(
            sources,
            self.transform.load,
            name=source_name,
            batch_size=batch_size,
            num_workers=num_workers,
            on_skip=on_skip,
        ):
            for found in batch.encoded(self.encode_pixels(batch.pixels), on_skip):
                features = unit(found.features) if normalize else found.features
                yield EncodedImages(found.indices, features)

    def encode_pixels(self, pixels: Features) -> Features:
        """Return image features ``[B, E]`` of pixels ``[B, C, s, s]`` from ``transform.load``.

        Inputs smaller than the model's own, those of thumbnails, are seen at the other sizes of
        ``defaults.thumbnail_scales``, too, and the features are averaged: details that one size
        blurs another one keeps.
        """
        features = self.towers.encode_image(pixels)
        side, size = pixels.shape[-1], self.transform.config.size
        scales = self.defaults.thumbnail_scales if side < size else ()
        if not scales:
            return features
        least = 2 * self.towers.patch_size
        sides = [min(max(round(scale * side), least), size) for scale in scales]
        views = [features, *(self.towers.encode_image(squares(pixels, side)) for side in sides)]
        return np.asarray(np.mean(views, axis=0), dtype=np.float32)

    def encode_patches(
        self,
        source: ImageSource,
        *,
        size: int | None = None,
        normalize: bool = True,
        embedding: Embedding | None = None,
    ) -> Features:
        """Return patch features ``[h, w, Dp]`` of the whole picture, at its own aspect.

        Args:
            source: A picture.
            size: The short side of the model's input (default: the model's own).
            normalize: Whether each patch has length 1.
            embedding: What stands for a patch; None: as ``with_embedding`` set it.

        Raises:
            ConfigError: If the model has no such embedding.
            DataError: If the picture cannot be used.
        """
        encoder = self if embedding is None else self.with_embedding(embedding)
        pixels = self.whole_pixels(self.transform.open(source), size)
        features = encoder.towers.encode_patches(pixels[None])[0]
        return unit(features) if normalize else features

    def with_embedding(self, embedding: Embedding, *, value_text: TextHalf = "cls") -> "Encoder":
        """Return an encoder on the same model whose patches have another embedding (Table 8).

        Args:
            embedding: ``patch``, ``cls_patch``, ``value`` (MaskCLIP) or ``value_patch``.
            value_text: The half of the text feature that ``value`` is compared with.

        Raises:
            ConfigError: If the model has no such embedding.
        """
        if not isinstance(self.towers, DenseTowers):
            if embedding == "patch":
                return self
            message = f"{self.name} has one embedding of patches here: leave the choice out"
            raise ConfigError(f"{message}, or load the model with engine torch.")
        towers = self.towers.with_embedding(embedding, value_text=value_text)
        return replace(self, towers=towers)

    def whole_pixels(self, picture: Picture, size: int | None = None) -> Features:
        """Return the model's input ``[C, H, W]`` for a whole picture, short side ``size``."""
        target = whole_input(self.towers, picture, size or self.short_side)
        resized = self.transform.resize(picture, target)
        return self.transform.normalize(brighten(resized, self.defaults.brightness))

    def encode_text(
        self,
        texts: str | Sequence[str],
        *,
        batch_size: int = 256,
        normalize: bool = True,
        progress: Progress | None = None,
    ) -> Features:
        """Return text features ``[N, E]``; long texts are cut to the model's context length.

        Texts of like length are encoded together, and each different text once.
        """
        given = prompt.listed(texts)
        positions: dict[str, int] = {}
        rows = [positions.setdefault(text, len(positions)) for text in given]
        distinct = self._encode_distinct(list(positions), batch_size, progress)
        features = distinct[rows] if rows else distinct
        return unit(features) if normalize else features

    def encode_labels(
        self,
        labels: Sequence[str] | LabelFeatures,
        templates: str | Path | Sequence[str] | None = None,
        *,
        average: Averaging = "unit",
        progress: Progress | None = None,
    ) -> LabelFeatures:
        """Return labels with one feature each, of length 1: the mean over its prompts.

        Some thousands of prompts at a time are encoded and kept on disk, for the next time and
        after a kill, unless they are averaged in another way than ``unit``.

        Args:
            labels: Texts; ``a | b`` stands for synonyms whose prompts are averaged. Labels that
                have features come back as they are.
            templates: The name of a set of templates, a file of them, one such as
                ``"a photo of a {}"``, or a sequence of these; None takes the model's own.
            average: What happens to a prompt's feature before the mean; see ``average_prompts``.
            progress: Called with (done, total) labels.

        Raises:
            ConfigError: If there are no labels, one is empty, the templates are unknown, or the
                features are those of another model.
        """
        if isinstance(labels, LabelFeatures):
            labels.check_width(self.embed_dim)
            return labels
        prompt.check_labels(labels)
        patterns = self.defaults.find_templates(templates)
        if average != "unit":
            features = self.average_prompts(labels, patterns, average=average, progress=progress)
            return LabelFeatures(tuple(labels), features)
        features = kept_embeddings(
            labels,
            patterns,
            fingerprint=self.fingerprint,
            width=self.embed_dim,
            encode=partial(self.average_prompts, patterns=patterns),
            progress=progress,
        )
        return LabelFeatures(tuple(labels), features)

    def classified_part(self, features: Features) -> Features:
        """Return what classification compares of image or label features ``[N, E]``, of length 1.

        The whole feature, or its first half where the model's defaults say so.
        """
        width = self.embed_dim - self.towers.patch_dim
        is_half = self.defaults.classify == "cls" and width > 0
        return unit(features[:, :width]) if is_half else features

    def dense_text(self, text_features: Features) -> Features:
        """Return what patch features compare with, ``[N, Dp]`` of length 1, from ``[N, E]``."""
        return unit(self.towers.dense_text(text_features))

    def average_prompts(
        self,
        labels: Sequence[str],
        patterns: Sequence[str],
        *,
        average: Averaging = "unit",
        progress: Progress | None = None,
    ) -> Features:
        """Return the mean over the prompts of each label, ``[C, E]`` of length 1.

        Args:
            labels: Texts with synonyms.
            patterns: Templates.
            average: ``unit`` gives each prompt's feature length 1 before the mean (CLIP),
                ``plain`` takes it as it comes (TCL), ``patch`` gives length 1 to the part of it
                that patches are compared with (the notebook of DINOv3).
            progress: Called with (done, total) prompts.

        Raises:
            ConfigError: If there is no such way.
        """
        if average not in get_args(Averaging):
            raise ConfigError(f"average is {average!r}: give {', '.join(get_args(Averaging))}.")
        groups = prompt.expand(labels, patterns)
        texts = [text for group in groups for text in group]
        features = self.encode_text(texts, normalize=False, progress=progress)
        if average == "unit":
            features = unit(features)
        elif average == "patch":
            length = np.linalg.norm(self.towers.dense_text(features), axis=-1, keepdims=True)
            features = np.asarray(features / np.maximum(length, 1e-12), dtype=np.float32)
        return group_means(features, [len(group) for group in groups])

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        include_backbone: bool = True,
        reports: Reports = (),
        license_name: str | None = None,
        trust_code: bool = False,
    ) -> None:
        """Write ``model.safetensors``, ``config.json``, ``tokenizer.json`` and a model card.

        Args:
            folder: Where they go; made where it is missing.
            include_backbone: Whether local files of the frozen part are copied along.
            reports: Evaluations for the card: as ``dinotxt eval --json`` wrote them, or files.
            license_name: An identifier of the hub, such as ``apache-2.0``.
            trust_code: As for ``dinotxt.load``: the model is read once more.

        Raises:
            CheckpointError: If the model's own files are gone or have changed since it was loaded.
            DataError: If a report cannot be read.
        """
        from dinotxt.checkpoints.pretrained import save_pretrained

        save_pretrained(
            self.name,
            folder,
            fingerprint=self.fingerprint,
            include_backbone=include_backbone,
            reports=reports,
            license_name=license_name,
            trust_code=trust_code,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        message: str = "Upload model",
        include_backbone: bool = True,
        reports: Reports = (),
        license_name: str | None = None,
        trust_code: bool = False,
    ) -> str:
        """Save the model and send it to the hub; return the address of the commit.

        Args:
            repo_id: ``OWNER/NAME``; made where it is missing.
            private: Whether a new repository is private.
            message: Of the commit.
            include_backbone: As for ``save_pretrained``.
            reports: As for ``save_pretrained``.
            license_name: As for ``save_pretrained``.
            trust_code: As for ``save_pretrained``.

        Raises:
            BackendError: If huggingface_hub is not installed.
            CheckpointError: If the hub refuses or cannot be reached.
        """
        from dinotxt.checkpoints.pretrained import push_to_hub

        return push_to_hub(
            self.name,
            repo_id,
            private=private,
            message=message,
            fingerprint=self.fingerprint,
            include_backbone=include_backbone,
            reports=reports,
            license_name=license_name,
            trust_code=trust_code,
        )

    def _encode_distinct(
        self, texts: Sequence[str], batch_size: int, progress: Progress | None
    ) -> Features:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        out = np.empty((len(texts), self.embed_dim), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            out[rows] = self.towers.encode_text(self.tokenizer([texts[row] for row in rows]))
            if progress is not None:
                progress(start + len(rows), len(texts))
        return check_finite(out)


def load(
    model: str | Path = "lite",
    *,
    device: str = "auto",
    size: int | None = None,
    engine: Engine = "auto",
    trust_code: bool = False,
) -> Encoder:
    """Load a model with its tokenizer and its transform.

    Args:
        model: A named model (``lite``, ``dinov2-vitl14``, ...), ``openclip:NAME/PRETRAINED``, or
            a run or export folder, or ``hf://OWNER/NAME``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        size: The side of the model's input in pixels (default: the model's own).
        engine: ``onnx`` (ONNX Runtime: exports, ``lite`` and models like it), ``torch`` (all but
            exports) or ``auto``: ``onnx`` wherever it can.
        trust_code: Whether a function ``package.module:function`` that the model's files name as
            their backbone may be called. Without it, files of strangers run no code.

    Raises:
        CheckpointError: If the weights are missing or damaged.
        ConfigError: If the name is unknown, the model does not run on the engine, or it would run
            code that is not trusted.
        BackendError: If the device or an optional package is missing.
    """
    return Encoder(
        *open_model(str(model), device=device, size=size, engine=engine, trust_code=trust_code)
    )

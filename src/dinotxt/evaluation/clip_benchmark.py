"""Our models inside CLIP_benchmark: ``python -m dinotxt.evaluation.clip_benchmark eval ...``.

The arguments are those of ``clip_benchmark``; ``--model`` takes whatever ``dinotxt.load`` does.
The loader is added to the registry of the running process, so no file of the package is changed.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dinotxt.data.pictures import Transform
from dinotxt.errors import import_extra
from dinotxt.inference.encoder import Encoder, load
from dinotxt.text.tokenizer import TokenBatch, Tokenizer

MODEL_TYPE = "dinotxt"


class OpenClipModel(nn.Module):
    """An encoder behind open_clip's interface: tensors in, tensors out.

    Args:
        encoder: The model.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._towers = encoder.towers
        self._pad_id = encoder.tokenizer.pad_id
        self.logit_scale = torch.tensor(float(np.log(encoder.logit_scale)))

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features ``[B, E]`` of transformed pictures ``[B, C, H, W]``."""
        return _like(self._towers.encode_image(images.float().cpu().numpy()), images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return text features ``[N, E]`` of ``[N, 1 + L]`` from ``OpenClipTokenizer``."""
        packed = tokens.cpu().numpy().astype(np.int64)
        lengths, ids = packed[:, 0], packed[:, 1 : 1 + int(packed[:, 0].max())]
        batch = TokenBatch(np.ascontiguousarray(ids), lengths, self._pad_id)
        return _like(self._towers.encode_text(batch), tokens)


class OpenClipTokenizer:
    """A tokenizer behind open_clip's interface.

    Args:
        tokenizer: The model's own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Return int64 ``[N, 1 + L]``: each text's number of tokens, then its padded ids."""
        batch = self._tokenizer([texts] if isinstance(texts, str) else list(texts))
        ids = batch.pad_to(self._tokenizer.context_length)
        return torch.from_numpy(np.concatenate([batch.lengths[:, None], ids], axis=1))


def load_for_benchmark(
    model_name: str = "lite",
    pretrained: str = "",
    cache_dir: str | None = None,
    device: str = "cpu",
) -> tuple[OpenClipModel, Callable[[Image.Image], Tensor], OpenClipTokenizer]:
    """Return model, transform and tokenizer, as CLIP_benchmark's registry wants them.

    Pictures all become the same size, since CLIP_benchmark stacks them: a model's ``max_enlarge``
    does not hold here.

    Args:
        model_name: Whatever ``dinotxt.load`` takes.
        pretrained: Not used: the name says it all.
        cache_dir: Not used.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DinotxtError: If the model cannot be loaded.
    """
    del pretrained, cache_dir
    encoder = load(model_name, device=str(device))
    transform = Transform(replace(encoder.transform.config, max_enlarge=None))
    return OpenClipModel(encoder), _ToTensor(transform), OpenClipTokenizer(encoder.tokenizer)


class _ToTensor:
    """A transform that gives tensors; it can be sent to other processes."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(self._transform.load(image))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run CLIP_benchmark with our loader in its registry, and as its default for ``eval``.

    Args:
        arguments: Those of ``clip_benchmark``; None takes the command line's.

    Raises:
        BackendError: If CLIP_benchmark is not installed.
    """
    models = import_extra("clip_benchmark.models", extra="bench")
    cli = import_extra("clip_benchmark.cli", extra="bench")
    _mend_accuracy(import_extra("clip_benchmark.metrics.zeroshot_classification", extra="bench"))
    models.TYPE2FUNC[MODEL_TYPE] = load_for_benchmark
    if MODEL_TYPE not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(MODEL_TYPE)
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = sys.argv
    sys.argv = ["clip_benchmark", *_with_defaults(given)]
    try:
        cli.main()
    finally:
        sys.argv = before


def _mend_accuracy(metrics: ModuleType) -> None:
    """Replace ``accuracy`` where NumPy (2.4 and later) refuses CLIP_benchmark 1.6's own."""
    try:
        metrics.accuracy(torch.eye(2), torch.arange(2))
    except TypeError:
        metrics.accuracy = topk_shares  # type: ignore[attr-defined]


def topk_shares(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """Return the top-k accuracies of scores ``[N, C]``, as CLIP_benchmark's ``accuracy`` does."""
    predicted = output.topk(max(topk), dim=1).indices
    right = predicted == target[:, None]
    return [float(right[:, :k].any(dim=1).float().mean()) for k in topk]


def _with_defaults(given: list[str]) -> list[str]:
    """Choose our loader where ``eval`` names none."""
    if given[:1] != ["eval"] or any(one.split("=")[0] == "--model_type" for one in given):
        return given
    added = ["--model_type", MODEL_TYPE]
    chosen = {one.split("=")[0] for one in given}
    if not chosen & {"--pretrained", "--pretrained_model"}:
        added += ["--pretrained", MODEL_TYPE]
    if not chosen & {"--model", "--pretrained_model"}:
        added += ["--model", "lite"]
    return [*given, *added]


def _like(features: NDArray[np.float32], other: Any) -> Tensor:
    return torch.from_numpy(features).to(other.device)


if __name__ == "__main__":
    main()

"""From a traced module to an ONNX file, and from there to eight bits."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinotxt.errors import CheckpointError, import_extra
from dinotxt.export.rewrites import fuse_attention, store_convolutions
from dinotxt.files import atomic_path

OPSET = 20
_MAX_BYTES = 1_900_000_000  # a protobuf holds 2 GiB at most
_QUANTIZED = ("MatMul",)
_TOLERANCE = 1e-3


def write_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    dynamic: Mapping[str, Sequence[int]],
) -> None:
    """Trace a module and write it, after its results were compared with the module's.

    Args:
        module: In eval mode; it takes the inputs by position.
        inputs: One example of each input, by name.
        outputs: The names of the outputs.
        path: The file; weights beyond 2 GB go into ``FILE.data`` beside it.
        dynamic: The axes of each input that may have any length.

    Raises:
        BackendError: If the packages of the extra ``onnx`` are missing.
        CheckpointError: If the module cannot be traced, or gives other results as ONNX.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(name, extra="onnx")
    examples = tuple(inputs.values())
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        expected = module(*examples)
        program = _trace(module, examples, list(inputs), list(outputs), dynamic)
    tensors = (expected,) if isinstance(expected, Tensor) else expected
    arrays = {name: value.numpy() for name, value in inputs.items()}
    with TemporaryDirectory(dir=path.parent, prefix=".") as staging:
        staged = Path(staging) / path.name
        program.save(staged, external_data=_num_bytes(program) > _MAX_BYTES)
        _check(staged, arrays, [value.numpy() for value in tensors], path.name)
        for file in sorted(staged.parent.iterdir(), reverse=True):
            with atomic_path(path.with_name(file.name)) as temporary:
                file.replace(temporary)


def quantize(source: Path, path: Path) -> None:
    """Write a file with eight-bit weights, one scale a channel, seven bits of range in use.

    Activations are quantised as they come, so no calibration is needed. Convolutions have such
    weights, too, but compute in fp32: without calibration they would lose far more than they gain.
    The few products that lose the most and cost next to nothing stay as they are (``kept_nodes``).
    Plain attention becomes one operation of ONNX Runtime (``fuse_attention``).

    Args:
        source: The fp32 file.
        path: The new file.
    """
    onnx = import_extra("onnx", extra="onnx")
    quantization = import_extra("onnxruntime.quantization", extra="onnx")
    model = onnx.load(source)
    fuse_attention(model)
    with atomic_path(path) as temporary, _quiet():
        quantization.quantize_dynamic(
            model,
            temporary,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=kept_nodes(model),
        )
        store_convolutions(temporary)


def kept_nodes(model: Any) -> list[str]:
    """Name the products that stay in fp32.

    They are the projections of pooled features, one row for each picture or text, and the output of
    the first feed-forward layer, whose input has the widest range of all. For the text tower of
    ``lite`` that raises the least cosine with fp32 from 0.981 to 0.991.

    Args:
        model: An ``onnx.ModelProto`` in fp32.
    """
    nodes = model.graph.node
    # Before it quantises, ONNX Runtime makes a MatMul of each Gemm, under another name.
    kept = [f"{node.name}_MatMul" for node in nodes if node.op_type == "Gemm"]
    activated = {name for node in nodes if node.op_type == "Gelu" for name in node.output}
    after = (node.name for node in nodes if node.op_type == "MatMul" and node.input[0] in activated)
    return [*kept, *list(after)[:1]]


def _trace(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    dynamic: Mapping[str, Sequence[int]],
) -> Any:
    shapes = tuple(
        dict.fromkeys(dynamic.get(name, ()), torch.export.Dim.DYNAMIC) for name in inputs
    )
    try:
        return torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        message = f"This model cannot be traced for ONNX ({reason}): use it with torch."
        raise CheckpointError(message) from error


def _num_bytes(program: Any) -> int:
    weights = program.model.graph.initializers.values()
    return sum(
        int(weight.const_value.nbytes) for weight in weights if weight.const_value is not None
    )


def _check(
    path: Path,
    inputs: Mapping[str, NDArray[Any]],
    expected: Sequence[NDArray[np.float32]],
    name: str,
) -> None:
    """Hold a file's results against the module's."""
    runtime = import_extra("onnxruntime", extra="onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for ours, theirs in zip(session.run(None, dict(inputs)), expected, strict=True):
        difference = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))
        if not difference <= _TOLERANCE:
            message = f"{name} gives other features than the model (by {difference:.1e})"
            raise CheckpointError(f"{message}: use this model with torch.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracing libraries, which warn of things that a user cannot change."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "root", "")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)

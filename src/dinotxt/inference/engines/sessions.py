"""Sessions of ONNX Runtime: on which device, with which settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import BackendError

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Sessions:
    """Opens graphs on one device.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: If the device is unknown or missing.
    """

    def __init__(self, device: str = "auto") -> None:
        import onnxruntime

        self._runtime: Any = onnxruntime
        self._providers = _find_providers(device, onnxruntime.get_available_providers())

    def open(self, graph: Path | bytes, weights: Mapping[str, NDArray[Any]] | None = None) -> Any:
        """Open a file, or a graph and the weights that lie outside of it.

        Threads sleep when they have nothing to do: spinning would cost the threads that decode
        pictures their cores. What is freed goes back to the system's allocator.
        """
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights of eight bits whose products are fp32 are turned back once, not each time.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if weights:
            make = self._runtime.OrtValue.ortvalue_from_numpy
            values = [make(np.ascontiguousarray(value)) for value in weights.values()]
            options.add_external_initializers(list(weights), values)
        return self._runtime.InferenceSession(graph, options, providers=self._providers)


def has_cuda() -> bool:
    """Tell if ONNX Runtime was built for CUDA."""
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


def parse_device(device: str) -> tuple[str, str]:
    """Return the kind and the number (or nothing) of a device's name.

    Raises:
        BackendError: If it is no such name.
    """
    kind, _, index = device.partition(":")
    is_known = kind in {"auto", "cpu", "cuda"} and (kind == "cuda" or device == kind)
    if not is_known or (":" in device and not index.isdecimal()):
        raise BackendError(f"{device!r} is no device: give auto, cpu, cuda or cuda:N.")
    return kind, index


def _find_providers(device: str, available: list[str]) -> list[Any]:
    """Return ONNX Runtime's names for a device.

    Raises:
        BackendError: If the name is unknown or the device is not there.
    """
    kind, index = parse_device(device)
    if kind == "cuda" and _CUDA not in available:
        message = f"{device} is not there for ONNX Runtime: run `pip install onnxruntime-gpu`"
        raise BackendError(f"{message}, or give auto or cpu.")
    if kind == "cpu" or _CUDA not in available:
        return [_CPU]
    return [(_CUDA, {"device_id": int(index or 0)}), _CPU]

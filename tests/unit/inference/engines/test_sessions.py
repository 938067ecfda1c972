import pytest

from dinotxt.errors import BackendError
from dinotxt.inference.engines.sessions import _find_providers

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        ("auto", [CPU], [CPU]),
        ("cpu", [CUDA, CPU], [CPU]),
        ("auto", [CUDA, CPU], [(CUDA, {"device_id": 0}), CPU]),
        ("cuda:1", [CUDA, CPU], [(CUDA, {"device_id": 1}), CPU]),
    ],
)
def test_devices_are_onnx_runtimes_providers(
    device: str, available: list[str], expected: list[object]
) -> None:
    assert _find_providers(device, available) == expected


@pytest.mark.parametrize("device", ["tpu", "cpu:0", "cuda:", "cuda:x", "auto:1"])
def test_an_unknown_device_is_an_error(device: str) -> None:
    with pytest.raises(BackendError, match="is no device"):
        _find_providers(device, [CUDA, CPU])


def test_a_missing_gpu_is_an_error_that_names_the_package() -> None:
    with pytest.raises(BackendError, match="onnxruntime-gpu"):
        _find_providers("cuda", [CPU])

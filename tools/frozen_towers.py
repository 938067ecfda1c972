"""Make the files of ``src/dinotxt/weights/towers``: what `lite` needs of its two frozen towers.

    python tools/frozen_towers.py [--layers 4]

``efficientnet-lite2.tsv`` says where each tensor lies in the wheel's file, so that nothing has to
unpickle it. ``all-minilm-l6-v2.safetensors`` holds the frozen part of the text encoder (the wheel
that has it draws in torch): words in eight bits, a scale for 32 numbers, everything else in fp16.
Run it again when a new head of `lite` leaves more layers frozen; both hashes stand in
``dinotxt/checkpoints/wheels.py``.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.numpy import load_file, save_file

from dinotxt.checkpoints.wheels import wheel_path
from dinotxt.files import sha256_file
from dinotxt.models.weights import rename_in_order

_TARGET = Path(__file__).parent.parent / "src" / "dinotxt" / "weights" / "towers"
_WORDS = "embeddings.word_embeddings.weight"
_BLOCK = 32
_UNUSED = ("pooler.", "embeddings.position_ids")


def write_table(target: Path) -> None:
    """Write name, offset, shape and strides (in numbers) of each tensor of EfficientNet-Lite2."""
    path = wheel_path("efficientnet-lite2")
    state = torch.load(path, weights_only=True)
    content = path.read_bytes()
    network = timm.create_model("tf_efficientnet_lite2").state_dict()
    lines = []
    for name, value in rename_in_order(state, network, path).items():
        if value.dtype != torch.float32:
            continue
        storage = torch.tensor([], dtype=value.dtype).set_(value.untyped_storage())
        stored = storage.numpy().tobytes()
        start = struct.pack("<q", storage.numel())  # a storage follows its number of values
        offset = content.find(start + stored[:256]) + len(start)
        assert content[offset : offset + len(stored)] == stored, name
        place = offset + 4 * value.storage_offset()
        shape, strides = (" ".join(map(str, one)) for one in (value.shape, value.stride()))
        lines.append(f"{name}\t{place}\t{shape}\t{strides}\n")
    target.write_text("".join(lines), "utf-8")


def write_text(target: Path, layers: int) -> None:
    """Write the embeddings and the first layers of MiniLM."""
    tensors = load_file(wheel_path("all-minilm-l6-v2") / "model.safetensors")
    kept = {}
    for name, value in tensors.items():
        part = name.split(".")
        if name.startswith(_UNUSED) or (part[1] == "layer" and int(part[2]) >= layers):
            continue
        kept[name] = value.astype(np.float16)
    words = tensors[_WORDS]
    blocks = words.reshape(len(words), -1, _BLOCK)
    scale = (np.abs(blocks).max(axis=2, keepdims=True) / 127).astype(np.float16)
    steps = np.maximum(scale.astype(np.float32), np.finfo(np.float16).tiny)
    integers = np.rint(blocks / steps).clip(-127, 127).astype(np.int8)
    kept[_WORDS], kept[f"{_WORDS}_scale"] = integers.reshape(words.shape), scale[..., 0]
    save_file(kept, target)


def main() -> None:
    """Write both files and print their hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4, help="frozen layers of MiniLM")
    _TARGET.mkdir(parents=True, exist_ok=True)
    table, text = _TARGET / "efficientnet-lite2.tsv", _TARGET / "all-minilm-l6-v2.safetensors"
    write_table(table)
    write_text(text, parser.parse_args().layers)
    for path in (table, text):
        print(path.name, path.stat().st_size, sha256_file(path))  # noqa: T201


if __name__ == "__main__":
    main()

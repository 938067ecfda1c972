"""Files that share a stem: ``a.jpg`` with ``a.json``, ``a.txt`` or ``a.cls``, in a tar or a folder.

The layouts of WebDataset, img2dataset (tars and files) and CLIP_benchmark all come down to this.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dinotxt.data.pictures import EXTENSIONS, is_left_out, pictures_in, why_unreadable
from dinotxt.data.readers.record import ImageRef
from dinotxt.data.readers.tar import scan_tar
from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip

DAMAGE = ".damage"  # the suffix of a text that stands in for a sample which could not be unpacked
_CAPTION_KEYS = ("captions", "caption", "text", "texts")
_KINDS = {".json": "json", ".txt": "txt", ".cls": "cls", ".npy": "array", DAMAGE: "damage"}
_KINDS |= dict.fromkeys(EXTENSIONS, "image")
_WORDS = frozenset({"json", "txt", "cls"})
_FIRST_ENDINGS = frozenset(
    {
        "",
        "image",
        "img",
        "input",
        "jpg",
        "caption",
        "captions",
        "text",
        "output",
        "outputs",
        "label",
    }
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The files of one stem.

    Attributes:
        key: The stem, below the name of its shard.
        name: What a report should call it.
        parts: Its files by kind: ``image``, ``json``, ``txt``, ``cls``, ``damage``.
    """

    key: str
    name: str
    parts: dict[str, ImageRef] = field(default_factory=dict)

    def lacks(self, what: str) -> str:
        """Return in words that a kind of file is missing."""
        twice = "." in self.key.rpartition("/")[2]
        hint = "; its name has two endings, of which the last one counts" if twice else ""
        return f"half a pair: it has no {what}{hint}"

    def captions(self) -> tuple[str, ...]:
        """Return the captions of the JSON file, or else of the text file (one a line).

        Raises:
            DataError: If there is a file but no caption can be read from it, or a damage is noted.
        """
        found: tuple[str, ...] = ()
        if "damage" in self.parts:
            raise DataError(_decode(self.parts["damage"]))
        if "json" in self.parts:
            found = _json_captions(_decode(self.parts["json"]))
        if not found and "txt" in self.parts:
            found = clean_captions(_decode(self.parts["txt"]).splitlines())
        return found

    def label(self) -> int:
        """Return the number in the ``.cls`` file.

        Raises:
            DataError: If it holds none.
        """
        text = _decode(self.parts["cls"]).strip()
        if not (text.isascii() and text.isdigit()):
            raise DataError(f"the label {text[:40]!r} is not a number")
        return int(text)


def clean_captions(captions: Any) -> tuple[str, ...]:
    """Return the captions that are text and not blank; a lone text counts as a list of one.

    Raises:
        DataError: If an entry is something else than text or nothing.
    """
    if captions is None or isinstance(captions, str):
        captions = [captions]
    if not isinstance(captions, Sequence) or isinstance(captions, bytes):
        raise DataError("a caption is not text")
    kept = []
    for caption in captions:
        if caption is not None and not isinstance(caption, str):
            raise DataError("a caption is not text")
        if caption and caption.strip():
            kept.append(caption.strip())
    return tuple(kept)


def tar_samples(paths: Sequence[Path], report: OnSkip) -> Iterator[Sample]:
    """Yield the samples of tars, shard by shard; keys start with the name of the shard."""
    for path, shard in zip(paths, _shard_names(paths), strict=True):
        try:
            members = scan_tar(path, report)
        except DataError as error:
            report(Skip(str(path), str(error)))
            continue
        files = [
            (member.name, ImageRef(str(path), member.offset, member.size, member.name))
            for member in members
        ]
        yield from _group(files, shard + "/", report)


def folder_samples(folder: Path, report: OnSkip) -> Iterator[Sample]:
    """Yield the samples of a folder and the folders in it, in the order of their names."""
    files = [
        (path.relative_to(folder).as_posix(), ImageRef(str(path)))
        for path in pictures_in(folder, report, endings=_KINDS.keys())
        if not path.name.endswith("_stats.json")
    ]
    yield from _group(files, "", report)


def _group(files: Iterable[tuple[str, ImageRef]], prefix: str, report: OnSkip) -> Iterator[Sample]:
    samples: dict[str, Sample] = {}
    for name, ref in files:
        path = PurePosixPath(name)
        ending = path.suffix.lower()
        kind = _KINDS.get(ending)
        if any(map(is_left_out, path.parts)):
            continue
        if kind is None:
            if reason := why_unreadable(ending):
                report(Skip(ref.name, reason))
            continue
        stem = path.with_suffix("").as_posix().removeprefix("./")
        sample = samples.setdefault(stem, Sample(prefix + stem, ref.name))
        if kind in sample.parts:
            report(Skip(ref.name, f"the key {stem!r} has this kind of file twice"))
            continue
        sample.parts[kind] = ref
    for sample in samples.values():
        array = sample.parts.pop("array", None)
        if array is not None:  # beside a picture it is an embedding, or the like
            sample.parts.setdefault("image", array)
    yield from _joined(samples, prefix)


def _joined(samples: dict[str, Sample], prefix: str) -> Iterator[Sample]:
    """Join ``x.input.jpg`` and ``x.outputs.txt``, which WebDataset takes for one sample.

    That is done where one of them alone has a picture, and each kind of file is there once.
    """
    halves: dict[str, list[str]] = {}
    for stem, sample in samples.items():
        folder, slash, name = stem.rpartition("/")
        base, _, ending = name.partition(".")
        half = ("image" in sample.parts) != bool(_WORDS & sample.parts.keys())
        if half and ending.lower() in _FIRST_ENDINGS:
            halves.setdefault(folder + slash + base, []).append(stem)
    whole: dict[str, Sample] = {}
    gone: set[str] = set()
    for base, stems in halves.items():
        kinds = [kind for stem in stems for kind in samples[stem].parts]
        if len(stems) > 1 and kinds.count("image") == 1 and len(set(kinds)) == len(kinds):
            parts = {kind: ref for stem in stems for kind, ref in samples[stem].parts.items()}
            whole[stems[0]] = Sample(prefix + base, samples[stems[0]].name, parts)
            gone.update(stems[1:])
    for stem, sample in samples.items():
        if stem not in gone:
            yield whole.get(stem, sample)


def _shard_names(paths: Sequence[Path]) -> list[str]:
    """Return one name a shard: its stem, with its folders where stems repeat."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    common = os.path.commonpath([path.parent.resolve() for path in paths])
    return [path.resolve().relative_to(common).with_suffix("").as_posix() for path in paths]


def _decode(ref: ImageRef) -> str:
    try:
        return ref.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"its {ref.name} is not valid UTF-8 ({error.reason})") from None


def _json_captions(text: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"its JSON is damaged ({error})") from None
    if not isinstance(content, dict):
        raise DataError('its JSON is not an object such as {"captions": ["a dog"]}')
    return clean_captions(next((content[key] for key in _CAPTION_KEYS if content.get(key)), None))

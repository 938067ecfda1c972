"""Whether what dinotxt wrote is as it was written: the part of ``doctor`` that reads files."""

from pathlib import Path

from dinotxt.errors import DataError, DinotxtError
from dinotxt.files import read_json, sha256_file
from dinotxt.results.skip import Skip

Outcome = tuple[int, list[Skip]]
_MANIFEST = "manifest.json"


def verify(path: Path) -> Outcome:
    """Check every file of an index, cache, run, model or export against its SHA-256.

    Returns:
        How many files were checked, and which are damaged, and how.

    Raises:
        DataError: If the folder is none of these.
    """
    if not path.is_dir() or not _is_known(path):
        raise DataError(f"{path} is no index, cache, run, model or export of dinotxt.")
    try:
        return _check(path)
    except DinotxtError as error:
        return 1, [Skip(str(path), str(error))]


def _is_known(path: Path) -> bool:
    names = (_MANIFEST, "config.json", "checkpoints", "model")
    return any((path / name).exists() for name in names)


def _check(path: Path) -> Outcome:
    from dinotxt.checkpoints.exported import file_names, is_export, read_export

    if (path / _MANIFEST).is_file():
        return _check_manifest(path)
    if is_export(path):
        return len(file_names(read_export(path))), []
    if (path / "config.json").is_file():
        return _check_model(path)
    return _check_run(path)


def _check_manifest(path: Path) -> Outcome:
    from dinotxt.data.features import FeatureStore
    from dinotxt.search.store import verify_index

    if "shards" not in read_json(path / _MANIFEST):
        return verify_index(path)
    damaged = list(FeatureStore.open(path).damaged())
    return len(list(path.glob("shard-*.npy"))), damaged


def _check_model(path: Path) -> Outcome:
    from dinotxt.checkpoints.folder import TOKENIZER, read_config, verified

    content = read_config(path)
    verified(path, TOKENIZER, content.tokenizer.sha256)
    verified(path, content.weights.file, content.weights.sha256)
    return 2, []


def _check_run(path: Path) -> Outcome:
    hashes = sorted(path.glob("checkpoints/*/*.sha256"))
    damaged = []
    for known in hashes:
        file = known.with_suffix("")
        if not file.is_file():
            damaged.append(Skip(str(file), "it is missing"))
        elif sha256_file(file) != known.read_text("ascii").strip():
            damaged.append(Skip(str(file), "its SHA-256 is another one"))
    checked = len(hashes)
    if (path / "model").is_dir():
        more, found = verify(path / "model")
        checked, damaged = checked + more, damaged + found
    return checked, damaged

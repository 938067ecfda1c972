"""Open an index for writing: only by the model and for the folder that it is of."""

from pathlib import Path

from dinotxt.errors import DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.search.store.store import MANIFEST, Manifest, Store


def prepare(target: Path, root: Path, encoder: Encoder) -> Store:
    """Open an index, which the caller has locked, or start it.

    Raises:
        DataError: If it is another model's, another folder's or not of this input size.
    """
    if not (target / MANIFEST).exists():
        return Store.create(
            target,
            Manifest(
                root=str(root),
                model=encoder.name,
                fingerprint=encoder.fingerprint,
                size=encoder.transform.config.size,
                transform=encoder.transform.fingerprint,
                dim=encoder.towers.embed_dim,
            ),
        )
    store = Store.open(target)
    check_model(store, encoder)
    if store.manifest.transform != encoder.transform.fingerprint:
        message = "was made with another input size or transform: use that one, or another --out"
        raise DataError(f"{target} {message}.")
    if store.manifest.root != str(root):
        if Path(store.manifest.root).is_dir():
            raise DataError(
                f"{target} is the index of {store.manifest.root}, not of {root}: "
                "give another --out."
            )
        store.move(root)
    store.clean()
    return store


def check_model(store: Store, encoder: Encoder) -> None:
    """Refuse an index that another model made.

    Raises:
        DataError: If the weights are not the same.
    """
    manifest = store.manifest
    if manifest.fingerprint != encoder.fingerprint:
        raise DataError(
            f"{store.folder} was made with the model {manifest.model} "
            f"({manifest.fingerprint[:12]}), not with {encoder.name} "
            f"({encoder.fingerprint[:12]}): use the same model, or make another index."
        )

"""A tiny model with a transformer text encoder, exported once."""

from pathlib import Path

import pytest

from dinotxt.export.folder import Export, export


@pytest.fixture(scope="session")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The tiny model for 32 and 64 pixels, in both precisions."""
    return export(str(tiny_model), tmp_path_factory.mktemp("export"), sizes=(64, 32))

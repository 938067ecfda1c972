from pathlib import Path

import pytest

from dinotxt.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    DataError,
    DinotxtError,
    import_extra,
)


@pytest.mark.parametrize("kind", [BackendError, CheckpointError, ConfigError, DataError])
def test_every_error_is_a_dinotxt_error(kind: type[Exception]) -> None:
    assert issubclass(kind, DinotxtError)


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    with pytest.raises(BackendError, match=r'pip install "dinotxt\[faiss\]"'):
        import_extra("no_such_package_anywhere", extra="faiss")


def test_an_installed_extra_is_returned() -> None:
    assert import_extra("json.decoder", extra="none").__name__ == "json.decoder"


def test_an_import_that_fails_inside_the_extra_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_extra.py").write_text("import a_module_that_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        import_extra("broken_extra", extra="none")

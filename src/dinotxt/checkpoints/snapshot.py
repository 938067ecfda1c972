"""Whole model folders from the Hugging Face hub, and back to it. No torch here."""

import os
import re
from pathlib import Path
from typing import Any

from dinotxt.errors import CheckpointError, import_extra
from dinotxt.files import read_json

PREFIX = "hf://"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(name: str) -> bool:
    """Tell if a model's name is ``hf://OWNER/NAME``, perhaps with ``@REVISION``."""
    return name.startswith(PREFIX)


def snapshot(name: str) -> Path:
    """Return the local folder of ``hf://OWNER/NAME[@REVISION]``, downloaded if need be.

    ``HF_ENDPOINT`` names another hub. What was downloaded once is used where there is no network.

    Raises:
        BackendError: If huggingface_hub is not installed.
        CheckpointError: If the repository or the network is not there.
    """
    repo_id, _, revision = name.removeprefix(PREFIX).partition("@")
    _check_repo_id(repo_id)
    hub: Any = import_extra("huggingface_hub", extra="hub")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        folder = Path(api.snapshot_download(repo_id, revision=revision or None))
    except (OSError, ValueError) as error:
        message = (
            f"{name} cannot be downloaded ({_first_line(error)}). Check the name and log in with"
            " `hf auth login` if it is private; or get the folder on a machine with a network and"
            " give its path."
        )
        raise CheckpointError(message) from None
    _refuse_code(folder, name)
    return folder


def upload(folder: Path, repo_id: str, *, private: bool, message: str) -> str:
    """Make a model repository where it is missing and put a folder's files into it.

    Args:
        folder: A model folder or an export folder.
        repo_id: ``OWNER/NAME``.
        private: Whether a new repository is private.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        BackendError: If huggingface_hub is not installed.
        CheckpointError: If the hub refuses or cannot be reached.
    """
    _check_repo_id(repo_id)
    hub: Any = import_extra("huggingface_hub", extra="hub")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except (OSError, ValueError) as error:
        reason = f"{folder} cannot be sent to {repo_id} ({_first_line(error)})"
        fix = "log in with `hf auth login`, with a token that may write"
        raise CheckpointError(f"{reason}: {fix}.") from None
    return str(commit.commit_url)


def _refuse_code(folder: Path, name: str) -> None:
    """Refuse a model whose configuration names a function that would be called.

    Raises:
        CheckpointError: If it does; a folder that the user has looked at may.
    """
    path = folder / "config.json"
    backbone: Any = read_json(path) if path.is_file() else None
    for key in ("model", "backbone", "name"):
        backbone = backbone.get(key) if isinstance(backbone, dict) else None
    if isinstance(backbone, str) and ":" in backbone and not backbone.startswith("hf:"):
        message = f"{name} would call {backbone}, which the hub may not ask for: look at it and"
        raise CheckpointError(f"{message} load the folder {folder} if you trust it.")


def _check_repo_id(repo_id: str) -> None:
    if not _REPO_ID.fullmatch(repo_id):
        raise CheckpointError(f"{repo_id!r} is no model of the hub: write OWNER/NAME.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

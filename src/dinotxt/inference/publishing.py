"""Saving and sharing models the way Hugging Face libraries do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dinotxt.checkpoints.hub import PREFIX, is_hub_name
from dinotxt.inference.loading import open_model

Reports = Sequence[Mapping[str, Any] | str | Path]


class Publishable:
    """The methods ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of an encoder.

    Attributes:
        name: What the model was loaded as.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        size: int | None = None,
    ) -> Self:
        """Load a model from the hub (``OWNER/NAME``) or from a folder.

        Args:
            name: A folder, if there is one of this name; else a model of the hub.
            revision: A branch, tag or commit of the hub.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            size: The side of the model's input in pixels (default: the model's own).

        Raises:
            CheckpointError: If the model is neither here nor on the hub, or is damaged.
            BackendError: If the device or an optional package is missing.
        """
        address = str(name)
        if not Path(address).expanduser().is_dir():
            address = address if is_hub_name(address) else f"{PREFIX}{address}"
            address += f"@{revision}" if revision else ""
        return cls(*open_model(address, device=device, size=size))  # type: ignore[call-arg]

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        include_backbone: bool = True,
        reports: Reports = (),
        license_name: str | None = None,
    ) -> None:
        """Write ``model.safetensors``, ``config.json``, ``tokenizer.json`` and a model card.

        Args:
            folder: Where they go; made where it is missing.
            include_backbone: Whether local files of the frozen part are copied along.
            reports: Evaluations for the card: as ``dinotxt eval --json`` wrote them, or files.
            license_name: An identifier of the hub, such as ``apache-2.0``.

        Raises:
            CheckpointError: If the model's own files are gone or have changed since it was loaded.
            DataError: If a report cannot be read.
        """
        from dinotxt.checkpoints.pretrained import save_pretrained

        save_pretrained(
            self.name,
            folder,
            fingerprint=self.fingerprint,
            include_backbone=include_backbone,
            reports=reports,
            license_name=license_name,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        message: str = "Upload model",
        include_backbone: bool = True,
        reports: Reports = (),
        license_name: str | None = None,
    ) -> str:
        """Save the model and send it to the hub; return the address of the commit.

        Args:
            repo_id: ``OWNER/NAME``; made where it is missing.
            private: Whether a new repository is private.
            message: Of the commit.
            include_backbone: As for ``save_pretrained``.
            reports: As for ``save_pretrained``.
            license_name: As for ``save_pretrained``.

        Raises:
            BackendError: If huggingface_hub is not installed.
            CheckpointError: If the hub refuses or cannot be reached.
        """
        from dinotxt.checkpoints.pretrained import push_to_hub

        return push_to_hub(
            self.name,
            repo_id,
            private=private,
            message=message,
            fingerprint=self.fingerprint,
            include_backbone=include_backbone,
            reports=reports,
            license_name=license_name,
        )

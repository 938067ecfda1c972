"""What the shell offers for an option's value; nothing heavy is imported for it."""

from pathlib import Path

_SCHEMES = ("openclip:", "groupvit:", "hf://")
_TEMPLATES = ("openai-7", "openai-80", "simple", "tcl-9")


def complete_model(incomplete: str) -> list[str]:
    """Return named models, prefixes of other libraries' models, and folders."""
    from dinotxt.checkpoints.catalogue import MODELS

    names = [name for name in (*MODELS, *_SCHEMES) if name.startswith(incomplete)]
    return names + _folders(incomplete)


def complete_templates(incomplete: str) -> list[str]:
    """Return the named sets of prompt templates."""
    return [name for name in _TEMPLATES if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the names of devices."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0") if name.startswith(incomplete)]


def _folders(incomplete: str) -> list[str]:
    """Return the folders whose path begins so, hidden ones only where they are asked for."""
    parent, _, start = incomplete.rpartition("/")
    root = Path(parent or ("/" if incomplete.startswith("/") else "."))
    prefix = f"{parent}/" if "/" in incomplete else ""
    try:
        found = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    hidden = start.startswith(".")
    return [
        f"{prefix}{name}"
        for name in found
        if name.startswith(start) and (hidden or not name.startswith("."))
    ]

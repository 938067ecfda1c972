"""The recipes that come with the package: YAML files of training runs, found by name."""

import difflib
from importlib.resources import files
from pathlib import Path

from dinotxt.errors import ConfigError

__all__ = ["recipe_names", "recipe_path"]


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = Path(str(files("dinotxt"))) / "recipes"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def recipe_path(source: str | Path) -> Path:
    """Find the file of a recipe name, or pass on the path of a YAML file.

    Raises:
        ConfigError: If it is neither; the message names the nearest recipe.
    """
    path = Path(source)
    if path.suffix in {".yaml", ".yml"}:
        return path
    names = recipe_names()
    if str(source) in names:
        return Path(str(files("dinotxt"))) / "recipes" / f"{source}.yaml"
    nearest = difflib.get_close_matches(str(source), names, n=1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"recipes: {', '.join(names)}"
    raise ConfigError(f"{source!s}: no such recipe or YAML file; {hint}")

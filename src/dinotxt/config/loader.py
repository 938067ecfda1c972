"""Read a configuration: YAML, one optional ``base:`` file, then ``dotted.key=value`` overrides.

Errors carry the dotted path of the key and, for an unknown one, the nearest key that exists.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dinotxt.config.structure import describe, kind_of, members, structures
from dinotxt.errors import ConfigError

_Structure = TypeVar("_Structure")


@cache
def _unique_keys() -> Any:
    """Return what reads YAML; the library loads with the first file, as few runs have one."""
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """Refuses a key that a mapping has twice, of which YAML would silently take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """Return the mapping."""
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    message = f"the key `{key.value}` comes twice; remove one"
                    raise yaml.MarkedYAMLError(problem=message, problem_mark=key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return UniqueKeys


def load_config(
    structure: type[_Structure],
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> _Structure:
    """Build a configuration from a file (or a mapping) and overrides.

    Args:
        structure: The class to make.
        source: A YAML file, whose key ``base`` may name another one beside it, or a mapping.
        overrides: Strings such as ``optim.lr=5e-4``; the right side is read as YAML.

    Raises:
        ConfigError: If a file is missing or not a mapping, or a key or value does not fit. The
            message names the dotted path and, for an unknown key, the nearest known one.
    """
    tree = dict(source) if isinstance(source, Mapping) else _read_yaml(Path(source))
    for override in overrides:
        tree = _merge(tree, _parse_override(override))
    try:
        return TypeAdapter(structure).validate_python(_with_kinds(structure, tree))
    except ValidationError as error:
        raise ConfigError(describe(structure, error)) from None


def _read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    import yaml

    if path.resolve() in seen:
        raise ConfigError(f"{path}: its `base` files form a circle; remove one of them.")
    try:
        tree = yaml.load(path.read_text("utf-8"), _unique_keys())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold `key: value` lines.")
    base = tree.pop("base", None)
    if base is None:
        return tree
    return _merge(_read_yaml(path.parent / str(base), (*seen, path.resolve())), tree)


def _parse_override(text: str) -> dict[str, Any]:
    import yaml

    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"{text!r} is not an override: write `dotted.key=value`.")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        tree = value
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _merge(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _same_kind(old, value):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell if two branches hold the same keys: another ``kind`` starts afresh."""
    return "kind" not in new or new["kind"] == old.get("kind")


def _with_kinds(structure: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the ``kind`` of a branch that leaves it out with that of the field's default."""
    filled = dict(tree)
    for name, annotation, default in members(structure):
        branch = filled.get(name)
        if not isinstance(branch, Mapping):
            continue
        if "kind" not in branch and hasattr(default, "kind"):
            branch = {"kind": default.kind, **branch}
        variants = structures(annotation)
        chosen = [one for one in variants if kind_of(one) in (None, branch.get("kind"))]
        filled[name] = _with_kinds(chosen[0], branch) if chosen else branch
    return filled

"""Read a configuration: YAML, one optional ``base:`` file, then ``dotted.key=value`` overrides.

Errors carry the dotted path of the key and, for an unknown one, the nearest key that exists.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dinotxt.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)


def load_config(
    model: type[_Model],
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> _Model:
    """Build a configuration from a file (or a mapping) and overrides.

    Args:
        model: The pydantic class to validate against.
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
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_describe(model, dict(issue)) for issue in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its `base` files form a circle; remove one of them.")
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
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


def _describe(model: type[BaseModel], issue: Mapping[str, Any]) -> str:
    location = [str(part) for part in issue["loc"]]
    path = ".".join(location)
    if issue["type"] not in {"extra_forbidden", "unexpected_keyword_argument"}:
        given = "" if issue["type"] == "missing" else f" (got {issue['input']!r})"
        return f"{path}: {issue['msg']}{given}"
    known = sorted(_keys_at(model, location[:-1]))
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known keys: {', '.join(known)}"
    return f"{path}: unknown key; {hint}"


def _keys_at(model: Any, path: Sequence[str]) -> set[str]:
    """Return the keys that are known at a dotted path, over all variants of a union."""
    here = [model]
    for part in path:
        found = [kind for one in here for kind in _children(one, part)]
        here = found or here  # pydantic adds a union's tag to the path; it names no key
    return {name for one in here for name, _ in _members(one)}


def _children(kind: Any, name: str) -> Iterator[Any]:
    for member, annotation in _members(kind):
        if member == name:
            yield from _structures(annotation)


def _structures(annotation: Any) -> Iterator[Any]:
    if _is_structure(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _structures(argument)


def _members(kind: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(kind):
        yield from ((field.name, field.type) for field in fields(kind))
    elif _is_structure(kind):
        yield from ((name, info.annotation) for name, info in kind.model_fields.items())


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel))

"""Read a configuration: YAML, one optional ``base:`` file, then ``dotted.key=value`` overrides.

Errors carry the dotted path of the key and, for an unknown one, the nearest key that exists.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError

from dinotxt.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
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
        return model.model_validate(_with_kinds(model, tree))
    except ValidationError as error:
        lines = [_describe(model, dict(issue)) for issue in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its `base` files form a circle; remove one of them.")
    try:
        tree = yaml.load(path.read_text("utf-8"), _UniqueKeys)
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


def _with_kinds(structure: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the ``kind`` of a branch that leaves it out with that of the field's default."""
    filled = dict(tree)
    for name, annotation, default in _members(structure):
        branch = filled.get(name)
        if not isinstance(branch, Mapping):
            continue
        if "kind" not in branch and hasattr(default, "kind"):
            branch = {"kind": default.kind, **branch}
        variants = _structures(annotation)
        chosen = [one for one in variants if _kind_of(one) in (None, branch.get("kind"))]
        filled[name] = _with_kinds(chosen[0], branch) if chosen else branch
    return filled


def _describe(model: type[BaseModel], issue: Mapping[str, Any]) -> str:
    path, known = _locate(model, [str(part) for part in issue["loc"]])
    dotted = ".".join(path)
    if issue["type"] == "value_error":  # of our own validators, over a whole branch
        return f"{dotted}: {issue['ctx']['error']}"
    if issue["type"] not in {"extra_forbidden", "unexpected_keyword_argument"}:
        given = "" if issue["type"] == "missing" else f" (got {issue['input']!r})"
        return f"{dotted}: {issue['msg']}{given}"
    nearest = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known keys: {', '.join(known)}"
    return f"{dotted}: unknown key; {hint}"


def _locate(model: Any, location: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the path as the user wrote it, and the keys known where its last part stands.

    Pydantic puts the tag of a union's variant into the location; it names no key.
    """
    here, path = [model], []
    for part in location[:-1]:
        tagged = [one for one in here if _kind_of(one) == part]
        if tagged:
            here = tagged
            continue
        path.append(part)
        members = [member for one in here for member in _members(one)]
        here = [one for name, kind, _ in members if name == part for one in _structures(kind)]
    known = sorted({name for one in here for name, _, _ in _members(one)})
    return [*path, *location[-1:]], known


def _kind_of(structure: Any) -> Any:
    return next((default for name, _, default in _members(structure) if name == "kind"), None)


def _structures(annotation: Any) -> list[Any]:
    nested = [one for argument in get_args(annotation) for one in _structures(argument)]
    return [annotation, *nested] if _is_structure(annotation) else nested


def _members(structure: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give the name, the type and the default of every field."""
    if is_dataclass(structure):
        hints = get_type_hints(structure, include_extras=True)
        for field in fields(structure):
            made = field.default if field.default_factory is MISSING else field.default_factory()
            yield field.name, hints[field.name], made
    elif _is_structure(structure):
        for name, info in structure.model_fields.items():
            yield name, info.annotation, info.get_default(call_default_factory=True)


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel))

"""What a configuration is: a frozen pydantic dataclass, made by the decorator ``configuration``.

One system for the whole project. Ranges stand in the fields (``Annotated[int, Field(gt=0)]``),
rules over several fields in ``__post_init__``, which raises ``ValueError``; both hold however an
object is made: by hand, by ``dataclasses.replace`` or from YAML.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, dataclass_transform, get_args, get_type_hints

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import to_jsonable_python

from dinotxt.errors import ConfigError

_Structure = TypeVar("_Structure")
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
def configuration(cls: type[_Structure]) -> type[_Structure]:
    """Make a class a configuration: frozen, keywords only, checked, without unknown keys.

    What does not fit raises ``ConfigError`` with the dotted path of the key.
    """
    made: Any = dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)(cls)
    validate: Callable[..., None] = made.__init__

    def checked(self: _Structure, **values: Any) -> None:
        try:
            validate(self, **values)
        except ValidationError as error:
            raise ConfigError(describe(made, error)) from None

    made.__init__ = checked
    structure: type[_Structure] = made
    return structure


def to_json(config: Any) -> dict[str, Any]:
    """Return a configuration with every default filled in, as JSON holds it."""
    content: dict[str, Any] = to_jsonable_python(config)
    return content


def dump_yaml(config: Any, *, without: Collection[str] = ()) -> str:
    """Return a configuration with every default filled in, as YAML in the order of its keys.

    Args:
        config: The configuration.
        without: Keys of the first level to leave out.
    """
    import yaml

    content = {key: value for key, value in to_json(config).items() if key not in without}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the keys whose values differ, one line each: ``optim.lr: 0.0007 -> 0.0005``."""
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    missing = "(absent)"
    return [
        f"{key}: {flat_old.get(key, missing)} -> {flat_new.get(key, missing)}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key, missing) != flat_new.get(key, missing)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def describe(model: Any, error: ValidationError) -> str:
    """Say what does not fit, a line a key: its dotted path and, if unknown, the nearest key."""
    return "\n".join(_describe(model, dict(issue)) for issue in error.errors())


def _describe(model: Any, issue: Mapping[str, Any]) -> str:
    path, known = _locate(model, [str(part) for part in issue["loc"]])
    dotted = ".".join(path)
    if issue["type"] == "value_error":  # of our own validators, over a whole branch
        return f"{dotted}: {issue['ctx']['error']}" if dotted else str(issue["ctx"]["error"])
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
        tagged = [one for one in here if kind_of(one) == part]
        if tagged:
            here = tagged
            continue
        inner = [member for one in here for member in members(one)]
        if part in {name for name, _, _ in inner}:
            here = [one for name, kind, _ in inner if name == part for one in structures(kind)]
        elif not part.isdecimal():  # of a list, all items are of one structure
            continue
        path.append(part)
    known = sorted({name for one in here for name, _, _ in members(one)})
    return [*path, *location[-1:]], known


def kind_of(structure: Any) -> Any:
    """Return the tag by which a union knows the structure; None: it has none."""
    return next((default for name, _, default in members(structure) if name == "kind"), None)


def structures(annotation: Any) -> list[Any]:
    """Return the configurations that a field's type holds."""
    nested = [one for argument in get_args(annotation) for one in structures(argument)]
    return [annotation, *nested] if _is_structure(annotation) else nested


def members(structure: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give the name, the type and the default of every field."""
    if _is_structure(structure):
        hints = get_type_hints(structure, include_extras=True)
        for field in dataclasses.fields(structure):
            factory = field.default_factory
            made = field.default if factory is dataclasses.MISSING else factory()
            yield field.name, hints[field.name], made


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)

"""The base of every run configuration."""

from collections.abc import Collection

import yaml
from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration that forbids unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def dump_yaml(config: BaseModel, *, without: Collection[str] = ()) -> str:
    """Return the configuration with every default filled in, as YAML in the order of its keys.

    Args:
        config: The configuration.
        without: Keys of the first level to leave out.
    """
    content = config.model_dump(mode="json", exclude=set(without))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)

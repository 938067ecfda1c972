"""The base of every run configuration."""

import yaml
from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration that forbids unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def dump_yaml(config: BaseModel) -> str:
    """Return the configuration with every default filled in, as YAML in the order of its keys."""
    content = config.model_dump(mode="json")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)

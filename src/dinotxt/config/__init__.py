"""Configurations: strict pydantic models, read from YAML with a base and dotted overrides."""

from dinotxt.config.base import Config, dump_yaml
from dinotxt.config.difference import differences
from dinotxt.config.loader import load_config

__all__ = ["Config", "differences", "dump_yaml", "load_config"]

"""Configurations: strict pydantic dataclasses, read from YAML with a base and dotted overrides."""

from dinotxt.config.loader import load_config
from dinotxt.config.structure import configuration, differences, dump_yaml, to_json

__all__ = ["configuration", "differences", "dump_yaml", "load_config", "to_json"]

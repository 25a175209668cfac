"""Strict configs: TOML recipe + `--set a.b=v`; an unknown key is an error that names the nearest one."""

from arriero.config.load import apply_overrides, load_toml, nearest, parse
from arriero.config.schema import (
    FieldDoc,
    InputPath,
    SourcePath,
    config,
    describe,
    digest,
    identity,
    input_paths,
    nested_config,
    resolved,
    setting,
    with_resolved_paths,
)

__all__ = [
    "FieldDoc",
    "InputPath",
    "SourcePath",
    "apply_overrides",
    "config",
    "describe",
    "digest",
    "identity",
    "input_paths",
    "load_toml",
    "nearest",
    "nested_config",
    "parse",
    "resolved",
    "setting",
    "with_resolved_paths",
]

"""Strict loading: TOML, `--set a.b=v`, and errors that name the nearest key."""

import copy
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from arriero.config.schema import default_of, fields_of, nested_config
from arriero.errors import ConfigError, InputError, at

C = TypeVar("C")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: " Did you mean 'x'?" or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."


def load_toml(path: Path) -> dict[str, Any]:
    """The TOML file as a dict. Raises InputError if it is missing, ConfigError if it is not TOML."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}. Name a recipe, for instance recipes/quickstart.toml.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder. Name the recipe file in it.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}). Save the recipe as UTF-8.") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend that line.") from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """`"sft.epochs=3"` -> (["sft", "epochs"], 3). The value is read as TOML, and as a plain string where that fails."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"The setting {text!r} is not of the form a.b=value. Write for instance --set sft.epochs=3.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return [part.strip() for part in key.split(".")], parsed


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `values` with every `a.b=v` set. Raises ConfigError where a path leads through a plain value."""
    result = copy.deepcopy(dict(values))
    for text in overrides:
        path, value = parse_override(text)
        place: Any = result
        for depth, part in enumerate(path[:-1]):
            if isinstance(place, list):
                place = _entry(place, part, f"--set {text}: {'.'.join(path[:depth])}")
            else:
                place = place.setdefault(part, {})
            if not isinstance(place, dict | list):
                where = ".".join(path[: depth + 1])
                raise ConfigError(f"--set {text}: {where} is a plain value, not a table. Set {where} itself.")
        if isinstance(place, list):
            raise ConfigError(f"--set {text}: {'.'.join(path[:-1])} is a list. Name an entry by its number first.")
        place[path[-1]] = value
    return result


def _entry(entries: list[Any], part: str, where: str) -> Any:
    if not part.isdecimal() or int(part) >= len(entries):
        raise ConfigError(f"{where} is a list of {len(entries)}, numbered from 0; it has no entry {part!r}.")
    return entries[int(part)]


def parse(cls: type[C], values: Mapping[str, Any], where: str) -> C:
    """`values` as the config `cls`. A table within, also a plain dict, takes what it does not name from its default.

    Raises ConfigError naming `where`, the key, and the remedy.
    """
    try:
        with at(where):  # what a config's own __post_init__ finds
            return TypeAdapter(cls).validate_python(_with_defaults(cls, values, None))
    except ValidationError as error:
        raise ConfigError(_explain(cls, error, where)) from None


def _with_defaults(cls: type, values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    fields = fields_of(cls)
    filled = {name: getattr(default, name) for name in fields} if default is not None else {}
    for name, value in values.items():
        if name in fields and isinstance(value, Mapping):
            inner = nested_config(fields[name].annotation)
            own = filled[name] if name in filled else default_of(fields[name])
            if inner is not None:
                value = _with_defaults(inner, value, own)
            elif isinstance(own, dict):
                value = own | dict(value)
        filled[name] = value
    return filled


def _explain(cls: type, error: ValidationError, where: str) -> str:
    unknown_key = ("unexpected_keyword_argument", "extra_forbidden")
    problems = error.errors(include_url=False)
    # A name that is spelled wrong is missing, too: say what it is taken for.
    problem = next((found for found in problems if found["type"] in unknown_key), problems[0])
    path = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "dataclass["))]
    owner: type = cls
    for part in path[:-1]:
        info = fields_of(owner).get(part)
        if info is not None:
            owner = next(filter(None, map(nested_config, (info.annotation, *get_args(info.annotation)))), owner)
    key = ".".join([where, *path])
    known = fields_of(owner)
    if problem["type"] in unknown_key:
        return f"Unknown key {key}. {nearest(path[-1], known)}"
    if problem["type"] == "missing":
        return f"{key} is required and not set: {known[path[-1]].description if path[-1] in known else ''}."
    return f"{key} is wrong: {problem['msg']} (got {problem['input']!r})."

"""What a config is: a frozen dataclass whose fields carry their own documentation.

A config stands in the module that it configures. Every field has a default or is required, a sentence of
documentation, and a unit where it has one. Operational fields (logging, intervals) change nothing in the
result, so they stay out of a stage's id.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

C = TypeVar("C")


class _InputPathMark:
    """Marks a field that names a file or folder whose content, not whose path, enters the stage's id."""


InputPath = Annotated[Path, _InputPathMark()]


class _SourcePathMark:
    """Marks a path, or the address of something in a store, that stays as it is named."""


SourcePath = Annotated[str, _SourcePathMark()]


def setting(default: Any, doc: str, *, unit: str = "", operational: bool = False, **constraints: Any) -> Any:
    """A documented config field. `default=...` makes it required; `constraints` are pydantic's (ge, gt, le, ...).

    A function as the default derives the value from the fields above it, which it is given by name in a dict.
    """
    extra: dict[str, Any] = {"unit": unit, "operational": operational}
    if callable(default):
        return Field(default_factory=default, description=doc, json_schema_extra=extra, **constraints)
    if isinstance(default, list | dict):
        mutable = default
        return Field(
            default_factory=lambda: type(mutable)(mutable), description=doc, json_schema_extra=extra, **constraints
        )
    return Field(default=default, description=doc, json_schema_extra=extra, **constraints)


# No field_specifiers: to a type checker every `= setting(...)` is a default; pydantic checks the required ones.
@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[C]) -> type[C]:
    """Makes `cls` a frozen, keyword-only, validated dataclass that refuses unknown keys."""
    strict = ConfigDict(extra="forbid", validate_default=False, arbitrary_types_allowed=False)
    made: type[C] = pydantic_dataclass(config=strict, frozen=True, kw_only=True)(cls)  # type: ignore[assignment]
    return made


@dataclasses.dataclass(frozen=True)
class FieldDoc:
    """One documented field of a config, as `--help` prints it."""

    name: str
    type: str
    default: str
    unit: str
    doc: str
    operational: bool


def fields_of(cls: type) -> dict[str, FieldInfo]:
    """The fields of a config class by name."""
    return dict(cls.__pydantic_fields__)  # type: ignore[attr-defined]


def is_derived(info: FieldInfo) -> bool:
    """Whether the default follows from the fields above."""
    return bool(info.default_factory_takes_validated_data)


def default_of(info: FieldInfo) -> Any:
    """A field's default; None where the field is required, or derived from others."""
    return None if info.is_required() or is_derived(info) else info.get_default(call_default_factory=True)


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def nested_config(annotation: Any) -> type | None:
    """The config class that a field's type names (directly or as `X | None`), or None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and hasattr(candidate, "__pydantic_fields__"):
            return candidate
    return None


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_type_name(part) for part in get_args(annotation))
    if annotation is NoneType:
        return "null"
    plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def describe(cls: type, prefix: str = "", default: Any = None) -> list[FieldDoc]:
    """Every field of a config with default and unit, nested configs flattened as `outer.inner`.

    `default`: the instance that the defaults are those of; without, the class's own.
    """
    rows: list[FieldDoc] = []
    for name, info in fields_of(cls).items():
        inner = nested_config(info.annotation)
        value = default_of(info) if default is None else getattr(default, name)
        if inner is None or value is None:
            required = default is None and info.is_required()
            shown = _shown_default(info, value, required, inner is not None)
            rows.append(
                FieldDoc(
                    prefix + name,
                    _type_name(info.annotation),
                    shown,
                    _extra(info).get("unit", ""),
                    info.description or "",
                    bool(_extra(info).get("operational")),
                )
            )
        if inner is not None:
            rows.extend(describe(inner, f"{prefix}{name}.", value))
    return rows


def _shown_default(info: FieldInfo, value: Any, required: bool, is_config: bool) -> str:
    if required:
        return "required"
    if is_derived(info) and value is None:
        return "derived"
    return "off" if is_config else json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    return json.loads(TypeAdapter(Any).dump_json(value))


def resolved(cfg: Any) -> dict[str, Any]:
    """The config as plain JSON values, every default filled in."""
    plain = TypeAdapter(type(cfg)).dump_python(cfg, mode="json")
    assert isinstance(plain, dict)
    return plain


def _is_input_path(info: FieldInfo) -> bool:
    marked = any(isinstance(mark, _InputPathMark) for mark in info.metadata)
    return marked or any(
        isinstance(mark, _InputPathMark)
        for part in get_args(info.annotation)
        if get_origin(part) is Annotated
        for mark in get_args(part)[1:]
    )


def input_paths(cfg: Any) -> dict[str, Path]:
    """Field name -> path, for every InputPath field that is set."""
    return {
        name: Path(value)
        for name, info in fields_of(type(cfg)).items()
        if _is_input_path(info) and (value := getattr(cfg, name)) is not None
    }


def with_resolved_paths(cls: type, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`values` with every path of a file that is relative made relative to `folder` (the recipe's own)."""
    fields = fields_of(cls)

    def resolve(key: str, value: Any) -> Any:
        if key not in fields:
            return value
        if isinstance(value, str) and (_is_input_path(fields[key]) or _is_source_path(fields[key], value)):
            return str(folder / value)
        inner = next(filter(None, map(nested_config, get_args(fields[key].annotation))), None)
        if isinstance(value, list) and inner is not None:
            return [with_resolved_paths(inner, v, folder) if isinstance(v, dict) else v for v in value]
        return value

    return {key: resolve(key, value) for key, value in values.items()}


def _is_source_path(info: FieldInfo, value: str) -> bool:
    return "://" not in value and any(isinstance(mark, _SourcePathMark) for mark in info.metadata)


def identity(cfg: Any) -> dict[str, Any]:
    """What of a config decides the result: no operational fields, and no paths (their content counts instead)."""

    def strip(value: Any, cls: type) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, info in fields_of(cls).items():
            if _extra(info).get("operational") or _is_input_path(info):
                continue
            inner = nested_config(info.annotation)
            field = value[name]
            kept[name] = strip(field, inner) if inner is not None and isinstance(field, dict) else field
        return kept

    return strip(resolved(cfg), type(cfg))


def digest(value: Any) -> str:
    """SHA-256 of a plain JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()

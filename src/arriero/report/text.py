"""Numbers as people read them."""

from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def interval(row: Mapping[str, Any], digits: int = 2, signed: bool = False) -> str:
    """A mean with its 95% interval: 0.31 [0.24, 0.38]."""
    sign = "+" if signed else ""
    mean, low, high = (float(row[key]) for key in ("mean", "low", "high"))
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]".replace("-", "−")


def share(row: Mapping[str, Any], count: int | None = None) -> str:
    """A share with its count and 95% interval: 12% (6 of 50) [6%, 24%]."""
    counted = f" ({count} of {row['n']})" if count is not None else ""
    return f"{100 * row['mean']:.0f}%{counted} [{100 * row['low']:.0f}%, {100 * row['high']:.0f}%]"


def counted(row: Mapping[str, Any], unit: str = "prompts", grouped: str = "requests") -> str:
    """What a figure was measured on: 200 prompts, or 200 prompts of 72 requests where some ask the same."""
    return f"{row['n']} {unit}" + (f" of {row['groups']} {grouped}" if row["groups"] < row["n"] else "")


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

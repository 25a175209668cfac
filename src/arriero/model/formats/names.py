"""Weights' names in another format: a table for those outside the blocks, and one for those of a block."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NameTable:
    """Our name -> theirs: `outer` with the ending .weight, `block` without it and without `prefix` and the number."""

    prefix: str
    outer: Mapping[str, str]
    block: Mapping[str, str]

    def theirs(self, name: str) -> str:
        """Their name of a weight of ours."""
        if name in self.outer:
            return self.outer[name]
        _, layer, part = name.removesuffix(".weight").split(".", 2)
        return f"{self.prefix}{layer}.{self.block[part]}.weight"

    def ours(self, name: str) -> str | None:
        """Our name of a weight of theirs; None if a plain Llama has none such."""
        for ours, theirs in self.outer.items():
            if name == theirs:
                return ours
        if not name.startswith(self.prefix) or not name.endswith(".weight"):
            return None
        layer, _, part = name.removeprefix(self.prefix).removesuffix(".weight").partition(".")
        return next((f"layers.{layer}.{ours}.weight" for ours, theirs in self.block.items() if part == theirs), None)

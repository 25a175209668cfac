"""How byte-level BPE cuts a text into the words within which it merges, by llama.cpp's names for the ways.

Each is the `pre_tokenizer` and `normalizer` of the first model's `tokenizer.json` that had it: SmolLM2, GPT-2, Llama 3,
Qwen2. (llama.cpp's own name for a file that says nothing, "default", is no model's splitting.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Splitting:
    """ignore_merges: a word that is a token is that token, even where the merges would spell it otherwise."""

    pre_tokenizer: dict[str, Any]
    normalizer: dict[str, Any] | None = None
    ignore_merges: bool = False


def byte_level(*, add_prefix_space: bool = False, use_regex: bool) -> dict[str, Any]:
    """GPT-2's byte alphabet; `use_regex`: after GPT-2's splitting."""
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def _by_pattern(digits: str) -> dict[str, Any]:
    """tiktoken's splitting: contractions, words with the sign before them, runs of digits, signs, line ends, space."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
    others = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    pattern = f"{words}|{digits}|{others}"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return _sequence(split, byte_level(use_regex=False))


SPLITTINGS = {
    "smollm": Splitting(_sequence({"type": "Digits", "individual_digits": True}, byte_level(use_regex=True))),
    "gpt-2": Splitting(byte_level(use_regex=True)),
    "llama-bpe": Splitting(_by_pattern(r"\p{N}{1,3}"), ignore_merges=True),
    "qwen2": Splitting(_by_pattern(r"\p{N}"), normalizer={"type": "NFC"}),
}


def known_pre_tokenizer(step: Any) -> dict[str, Any] | None:
    """The splitting's own `pre_tokenizer` that cuts text as this one does, None if none of them does."""
    plain = _plain(step)
    return next((known.pre_tokenizer for known in SPLITTINGS.values() if _plain(known.pre_tokenizer) == plain), None)


def splitting_name(spec: Mapping[str, Any]) -> str | None:
    """The name of a `tokenizer.json`'s splitting, None if it is none of these."""
    model = spec["model"]
    found = (_plain(spec.get("pre_tokenizer")), spec.get("normalizer"), bool(model.get("ignore_merges")))
    for name, known in SPLITTINGS.items():
        if found == (_plain(known.pre_tokenizer), known.normalizer, known.ignore_merges):
            return name
    return None


def _plain(step: Any) -> Any:
    """A step without what leaves the ids as they are: offsets, and a sequence of one."""
    if not isinstance(step, Mapping):
        return step
    if step.get("type") == "Sequence" and len(step.get("pretokenizers", ())) == 1:
        return _plain(step["pretokenizers"][0])
    defaults = {"use_regex": True} if step.get("type") == "ByteLevel" else {}
    kept = {key: value for key, value in step.items() if key != "trim_offsets"}
    return defaults | {
        key: [_plain(part) for part in value] if isinstance(value, list) else value for key, value in kept.items()
    }

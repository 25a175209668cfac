"""Mutated `tokenizer.json` files, read in a process of their own with little memory: what ends it is seen outside."""

import copy
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.errors import InputError
from arriero.tokenizer.bpe import ByteLevelTokenizer, build_json, byte_alphabet
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer, build_model
from arriero.tokenizer.sentencepiece_json import is_sentencepiece, sentencepiece_from_json, sentencepiece_json

EXAMPLES, MEMORY_BYTES = 1000, 1 << 29
ALPHABET = sorted(byte_alphabet())
BYTE_LEVEL = json.loads(
    build_json(["<eos>", *ALPHABET, "ab", "abc", "<U>"], ["a b", "ab c"], {"<eos>": 0}, literal={"<U>": 259})
)
NAMES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "ab"]
SENTENCEPIECE = json.loads(
    sentencepiece_json(SentencePieceTokenizer(build_model(NAMES, [0.0] * 262, [2, 3, 3, *[6] * 256, 1, 1, 1])))
)
SPLIT = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
BOMB = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 256, 257, 2**20, 2 * 10**8, 2**32 - 1, 2**32, 2**63, 2**64, 10**40, 0.5, 1e308),
    *("", " ", "a", "ab", "a b c", "<s>", "\ud83d", "\u2581", "\x00", "a" * 10**6, "é" * 100),
    *(
        [],
        {},
        [[]],
        ["a"],
        ["a", "b"],
        {"type": "Nothing"},
        {"a": 0},
        [{"id": 3, "content": "a"}],
        [[["a"] * 100] * 100],
    ),
    *(SPLIT, {**SPLIT, "pattern": {"Regex": "(" * 5000}}, {"type": "Sequence", "pretokenizers": [SPLIT] * 1000}),
    *(BOMB, {"type": "Sequence", "normalizers": [BOMB] * 9}, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    *({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}, {"type": "NFC"}),
    *({"type": "ByteLevel"}, {"type": "WordPiece", "prefix": "", "cleanup": True}, {"type": "Digits"}),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (list or dict, key) of a JSON value; of many alike, the first few."""
    if isinstance(value, dict):
        keys: list[Any] = [*list(value)[:12], *list(value)[-3:]]
    else:
        keys = [*range(min(len(value), 3))] if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from places(value[key])


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    spec = copy.deepcopy(draw(st.sampled_from([BYTE_LEVEL, SENTENCEPIECE])))
    for _ in range(draw(st.integers(1, 3))):
        every = list(places(spec)) or [({"": None}, "")]
        parts = [place for place in every if place[0] is spec or place[0] is spec.get("model")]
        holder, key = draw(st.sampled_from(parts or every) | st.sampled_from(every))
        value = copy.deepcopy(draw(st.sampled_from(VALUES)))
        change = draw(st.sampled_from(["set", "set", "set", "add", "delete"]))
        if change == "delete":
            del holder[key]
        elif change == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["a", "zz", "é", "id", "content", ""]))] = value
        elif change == "add":
            holder.append(value)
        else:
            holder[key] = value
    return spec


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
@given(spec=mutated(), text=st.sampled_from(["", "ab abc <U> é", "a" * 1000, "<s></s><eos>\x00", " \n"]))
def check(spec: Any, text: str) -> None:
    try:
        if is_sentencepiece(spec):
            SentencePieceTokenizer(sentencepiece_from_json(spec, "<s>", "</s>")).encode(text)
        else:
            tokenizer = ByteLevelTokenizer(json.dumps(spec).encode(), bos_id=None, eos_id=0)
            again = ByteLevelTokenizer(tokenizer.files()["tokenizer.json"], bos_id=None, eos_id=0)
            assert again.digest() == tokenizer.digest()
            assert again.encode(text) == tokenizer.encode(text)
            assert not set(tokenizer.encode(text)) & set(tokenizer.control.values())
    except (InputError, LookupError, TypeError, AttributeError, ValueError):
        pass  # what is no InputError yet, the import of a model turns into one


if __name__ == "__main__":
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, held + MEMORY_BYTES))
    check()
    sys.stdout.write("all read\n")

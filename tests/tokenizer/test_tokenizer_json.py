"""A byte-level `tokenizer.json` from elsewhere: the known models' forms give the library's ids, all else is refused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as JsonTokenizer

from arriero.errors import InputError
from arriero.tokenizer.bpe import ByteLevelTokenizer

Spec = dict[str, Any]
SPELL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(digits: str) -> Spec:
    pattern = {"Regex": REGEX.replace("DIGITS", digits)}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


# As the models' own files hold them: pre_tokenizer, normalizer, decoder, and what their `model` says otherwise.
RELEASED: dict[str, tuple[Spec, Spec | None, Spec, Spec]] = {
    "SmolLM2": (
        {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, SPELL | {"use_regex": True}],
        },
        None,
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {},
    ),
    "GPT-2": (
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        None,
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
    ),
    "Llama 3": (
        {"type": "Sequence", "pretokenizers": [split(r"\p{N}{1,3}"), SPELL]},
        None,
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"ignore_merges": True},
    ),
    "Qwen2": (
        {"type": "Sequence", "pretokenizers": [split(r"\p{N}"), SPELL | {"trim_offsets": False}]},
        {"type": "NFC"},
        SPELL | {"trim_offsets": False},
        {"continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False},
    ),
}
TEXT = st.lists(
    st.one_of(
        st.sampled_from(
            [" ", "\n", "'s", "'S", "2026", "self.", "<|role|>", "<|im_end|>", "e\u0301", "日本", "🙂", "\x85"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def spec(byte_level_tokenizer: ByteLevelTokenizer) -> Spec:
    """With a literal token behind the vocabulary."""
    found: Spec = json.loads(byte_level_tokenizer.files()["tokenizer.json"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    found["added_tokens"].append({"id": 600, "content": "<|role|>", **flags})
    return found


def released(spec: Spec, name: str) -> Spec:
    pre_tokenizer, normalizer, decoder, model = RELEASED[name]
    own = {"pre_tokenizer": pre_tokenizer, "normalizer": normalizer, "decoder": decoder}
    return spec | own | {"model": spec["model"] | model, "padding": {"strategy": {"Fixed": 99}, "direction": "Left"}}


@pytest.mark.parametrize("name", RELEASED)
def test_what_released_models_have_gives_the_library_s_ids(spec: Spec, name: str) -> None:
    theirs = released(spec, name)
    ours = ByteLevelTokenizer(json.dumps(theirs).encode(), bos_id=1, eos_id=0)
    reference = JsonTokenizer.from_str(json.dumps(theirs | {"padding": None}))
    reference.encode_special_tokens = True
    assert (ours.literal, ours.piece(600)) == ({"<|role|>": 600}, b"<|role|>")
    again = ByteLevelTokenizer(ours.files()["tokenizer.json"], bos_id=1, eos_id=0)
    assert again.files() == ours.files()

    @given(text=TEXT)
    def same(text: str) -> None:
        assert ours.encode(text) == again.encode(text) == reference.encode(text, add_special_tokens=False).ids

    same()


def in_model(**changes: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["model"].update(changes)


BOMB = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
NEW = {"id": 3_000_000_000, "content": "zz", "special": True}
HOSTILE: dict[str, tuple[Callable[[Spec], object], str]] = {
    "large id": (lambda s: s["model"]["vocab"].update(zz=200_000_000), "not distinct numbers from 0 to 1048575"),
    "larger id": (lambda s: s["model"]["vocab"].update(zz=4_294_967_295), "not distinct numbers"),
    "an id twice": (lambda s: s["model"]["vocab"].update(zz=5), "not distinct numbers"),
    "added id": (lambda s: s["added_tokens"].append(NEW), "or the id 3000000000"),
    "another id": (lambda s: s["added_tokens"].append(NEW | {"id": 700}), "other ids than their places"),
    "no name": (lambda s: s["added_tokens"].append(NEW | {"id": 601, "content": ""}), "has no name"),
    "Replace": (
        lambda s: s.update(normalizer={"type": "Sequence", "normalizers": [BOMB] * 4}),
        "prepares text in a way",
    ),
    "Precompiled": (lambda s: s.update(normalizer={"type": "Precompiled"}), "prepares text in a way"),
    "regex": (
        lambda s: s.update(pre_tokenizer={**split("x"), "pattern": {"Regex": "(x+x+)+y"}}),
        "prepares text in a way",
    ),
    "none": (lambda s: s.update(pre_tokenizer=None), "prepares text in a way"),
    "dropout": (in_model(dropout=0.1), "dropout is set"),
    "suffix": (in_model(end_of_word_suffix="</w>"), "end_of_word_suffix is set"),
    "merge": (in_model(merges=["a b c"]), "cannot be read"),
    "merge of nothing": (in_model(merges=["a zzz"]), "not all three are tokens"),
    "merge to nothing": (in_model(vocab={"a": 0, "b": 1}, merges=["a b"]), "not all three are tokens"),
    "surrogate": (lambda s: s["added_tokens"][0].update(content="\ud83d"), "cannot be read"),
    "no alphabet": (
        lambda s: (s["added_tokens"].pop(), s["model"]["vocab"].update({"a b": 600})),
        "byte-level alphabet",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_read_is_refused_before_the_library_sees_it(spec: Spec, name: str) -> None:
    change, message = HOSTILE[name]
    changed = json.loads(json.dumps(spec))
    change(changed)
    started = time.process_time()
    with pytest.raises(InputError, match=message):
        ByteLevelTokenizer(json.dumps(changed).encode(), bos_id=None, eos_id=0)
    assert time.process_time() - started < 1.0


def test_bos_and_eos_are_control_tokens(spec: Spec) -> None:
    for bos_id, eos_id in ((None, 600), (5, 0), (None, 7000)):
        with pytest.raises(InputError, match="is no control token"):
            ByteLevelTokenizer(json.dumps(spec).encode(), bos_id=bos_id, eos_id=eos_id)


def test_mutated_files_end_in_an_error() -> None:
    """In a process with 512 MB: an abort of a library, or a large allocation, ends it."""
    script = Path(__file__).with_name("fuzz_tokenizer_json.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, env=environment)
    assert (found.returncode, found.stdout) == (0, "all read\n"), found.stderr[-3000:]

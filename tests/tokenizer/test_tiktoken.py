"""Llama 3's tokenizer file, on a real vocabulary of that kind: the ids that merging by rank gives."""

import base64
import itertools
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from arriero.errors import InputError
from arriero.tokenizer import load_tokenizer, save_tokenizer, tiktoken_file, tokenizer_from_file
from arriero.tokenizer.bpe import ByteLevelTokenizer
from arriero.tokenizer.tiktoken import tokenizer_from_tiktoken

# `pat_str` of Meta's llama-models, models/llama3/tokenizer.py. Rust's \s, which tiktoken has, is Unicode's White_Space.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERN = PATTERN.replace(r"\S", r"\P{White_Space}").replace(r"\s", r"\p{White_Space}")
SAMPLES = [
    Path(json.__file__).read_text(encoding="utf-8"),
    Path(__file__).read_text(encoding="utf-8"),
    "It's 2026, THEY'LL say: naïve café, ½ or ٣٤5678?\r\n\t's  x\n\n  y \x85\u2028z   ",
    "日本語のテキスト 👩‍👧‍👦 e\u0301 \U0001f1eb\U0001f1f7 <|begin_of_text|> <|eot_id|>\x00",
    " " * 50 + "a" * 50 + "\n" * 20,
]
FRAGMENTS = [" ", "  ", "\n", "\t", "\r", "'s", "'S", "'ſ", "don't", " The", "0", "1234", "½", "é", "日", "🙂", "\xa0"]
FRAGMENTS += ["<|eot_id|>", "<|begin_of_text|>", "(", "!!", "\x1c", "\x85", "\u180e", "aa", "ab", "ba"]
TEXTS = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4))
).map("".join)


@pytest.fixture(scope="module")
def ranks() -> list[bytes]:
    """The first 20,000 tokens of Mistral's real vocabulary of the same kind."""
    spec = find_spec("mistral_common")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package mistral-common")
    vocabulary = json.loads((Path(spec.origin).parent / "data" / "tekken_240911.json").read_bytes())["vocab"]
    return [base64.b64decode(entry["token_bytes"]) for entry in vocabulary[:20_000]]


def file_of(tokens: list[bytes]) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))


@pytest.fixture(scope="module")
def tokenizer(ranks: list[bytes]) -> ByteLevelTokenizer:
    return tokenizer_from_tiktoken(file_of(ranks))


def encode_by_rank(tokens: dict[bytes, int], text: str) -> list[int]:
    """What tiktoken does: in each word, the pair whose joining has the lowest rank is joined, the first of equals."""
    ids = []
    for word in regex.findall(PATTERN, text):
        parts = [bytes([byte]) for byte in word.encode()]
        while len(parts) > 1 and word.encode() not in tokens:
            joined = [tokens.get(a + b, len(tokens)) for a, b in itertools.pairwise(parts)]
            best = min(joined)
            if best == len(tokens):
                break
            at = joined.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [tokens[part] for part in ([word.encode()] if word.encode() in tokens else parts)]
    return ids


def check(tokenizer: ByteLevelTokenizer, ranks: list[bytes], text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == encode_by_rank({token: rank for rank, token in enumerate(ranks)}, text)
    assert tokenizer.decode(ids) == text
    assert all(id < len(ranks) for id in ids), "text never yields a control token"


@pytest.mark.parametrize("text", SAMPLES)
def test_ids_are_those_of_merging_by_rank(tokenizer: ByteLevelTokenizer, ranks: list[bytes], text: str) -> None:
    check(tokenizer, ranks, text)


@given(TEXTS)
def test_ids_of_random_texts(tokenizer: ByteLevelTokenizer, ranks: list[bytes], text: str) -> None:
    check(tokenizer, ranks, text)


def test_the_control_tokens_follow_in_metas_order(tokenizer: ByteLevelTokenizer) -> None:
    """Those of Llama 3's tokenizer, whose file has 128,000 ranks: 128,000 begins a text, 128,009 ends a turn."""
    first = 20_000
    expected = {"<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|start_header_id|>": 6, "<|end_header_id|>": 7}
    expected |= {"<|eom_id|>": 8, "<|eot_id|>": 9, "<|python_tag|>": 10, "<|reserved_special_token_247|>": 255}
    assert {name: tokenizer.control[name] - first for name in expected} == expected
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (first + 256, first, first + 1)
    assert sorted(tokenizer.control.values()) == list(range(first, first + 256))


def test_it_is_stored_and_written_back(tokenizer: ByteLevelTokenizer, ranks: list[bytes], tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.digest() == tokenizer.digest()
    assert tiktoken_file(again) == file_of(ranks)
    (tmp_path / "tokenizer.model").write_bytes(file_of(ranks))
    assert tokenizer_from_file(tmp_path / "tokenizer.model").digest() == tokenizer.digest()


BYTES = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (file_of(BYTES[:-1]), "lacks one of the 256 bytes"),
        (file_of([*BYTES, b"ab", b"ab"]), "a token twice"),
        (file_of(BYTES) + b"YWI= 257\n", "line 257 has the rank 257"),
        (file_of(BYTES) + b"YWI= 3\n", "line 257 has the rank 3"),
        (file_of(BYTES) + b"YWI= -1\n", "line 257 has the rank -1"),
        (file_of(BYTES) + b"YWI= " + b"9" * 5000 + b"\n", "line 257, .* is not a token"),
        (file_of(BYTES) + b"YW*I= 256\n", "line 257, .* is not a token"),
        (file_of(BYTES) + b"\n", "line 257, .* is not a token"),
        (file_of([*BYTES, b"a" * 129]), "line 257 has a token of 129 bytes"),
        (file_of(BYTES) + b"\n" * (4 << 20), "the most read of Llama 3's kind"),
        (b"QQ== 0\n" + bytes(1 << 24), "8388608 are the most read"),
        (b"\x0a\x07", "cannot be read as SentencePiece"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        tokenizer_from_file(tmp_path / "tokenizer.model")
    assert str(tmp_path / "tokenizer.model") in str(caught.value)

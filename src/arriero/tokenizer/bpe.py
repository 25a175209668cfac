"""Byte-level BPE, the family of GPT-2 and of SmolLM2, kept as a Hugging Face `tokenizer.json`.

Encoded by the `tokenizers` library. kitoken 0.11 is seven times as fast, but splits text at the names of control
tokens and before "'s" after a newline, so its ids differ from the ones that the model was trained with.
A byte that the vocabulary lacks (SmolLM2's lacks 0xF1, for one) is dropped, as `transformers` drops it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as JsonTokenizer

from arriero.errors import InputError
from arriero.tokenizer.splitting import SPLITTINGS, byte_level
from arriero.tokenizer.tokenizer import Tokenizer

JSON_FILE = "tokenizer.json"

# What ends a document in pretraining where a chat model's own EOS ends a turn (SmolLM2's is <|im_end|>, Llama 3's
# <|eot_id|>).
_END_OF_DOCUMENT = ("<|endoftext|>", "<|end_of_text|>")


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer from the bytes of a `tokenizer.json`. Raises InputError unless it is byte-level BPE."""

    def __init__(self, tokenizer_json: bytes, *, bos_id: int | None, eos_id: int) -> None:
        try:
            spec = json.loads(tokenizer_json)
            self._tokenizer = JsonTokenizer.from_str(tokenizer_json.decode("utf-8"))
        except Exception as error:  # what the library raises has no narrower class
            raise InputError(f"The tokenizer.json cannot be read: {error}.") from error
        if (spec.get("model") or {}).get("type") != "BPE" or not _is_byte_level(spec.get("decoder") or {}):
            raise InputError("The tokenizer.json is not byte-level BPE; only that and SentencePiece BPE are read.")
        self._tokenizer.encode_special_tokens = True  # a control token's name in the text is text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._json = tokenizer_json
        control = {added["content"]: added["id"] for added in spec["added_tokens"] if added["special"]}
        pieces = _pieces(self._tokenizer.get_vocab(with_added_tokens=True), spec["added_tokens"])
        super().__init__(pieces, control, bos_id=bos_id, eos_id=eos_id, leading_space=False)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def files(self) -> dict[str, bytes]:
        return {JSON_FILE: self._json}


def end_of_document(control: Mapping[str, int], eos_id: int | None) -> int | None:
    """The token that ends a document: the control token of such a name, or else the model's EOS."""
    return next((control[name] for name in _END_OF_DOCUMENT if name in control), eos_id)


def build_json(
    tokens: Sequence[str],
    merges: Sequence[str],
    control: Mapping[str, int],
    *,
    literal: Mapping[str, int] | None = None,
    splitting: str = "smollm",
) -> bytes:
    """A `tokenizer.json` whose text is split as `splitting` says.

    control: names of the tokens that no text yields; literal: tokens that text yields wherever it holds them
    """
    added = [added_token(name, token) for name, token in control.items()]
    added += [added_token(name, token, special=False) for name, token in (literal or {}).items()]
    chosen = SPLITTINGS[splitting]
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda entry: int(entry["id"])),
        "normalizer": chosen.normalizer,
        "pre_tokenizer": chosen.pre_tokenizer,
        "post_processor": None,
        "decoder": byte_level(add_prefix_space=True, use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": chosen.ignore_merges,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }
    return json.dumps(spec, ensure_ascii=False).encode("utf-8")


def added_token(name: str, token: int, *, special: bool = True) -> dict[str, Any]:
    """A control token, or one that text yields whole, as `tokenizer.json` lists it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": token, "content": name, **flags}


def _is_byte_level(decoder: Mapping[str, Any]) -> bool:
    return decoder.get("type") == "ByteLevel" or any(_is_byte_level(part) for part in decoder.get("decoders", ()))


def byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling of the 256 bytes: printable ones as themselves, the others from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _pieces(vocabulary: Mapping[str, int], added: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Each id's bytes; ids that nothing names, and control ids, are empty."""
    literal = {a["id"]: b"" if a["special"] else a["content"].encode("utf-8") for a in added}
    alphabet = byte_alphabet()
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        try:
            pieces[index] = literal[index] if index in literal else bytes(alphabet[char] for char in token)
        except KeyError:
            raise InputError(f"The tokenizer.json's token {token!r} is not in the byte-level alphabet.") from None
    return pieces

"""Byte-level BPE, the family of GPT-2 and of SmolLM2, kept as a Hugging Face `tokenizer.json`.

Encoded by the `tokenizers` library. kitoken 0.11 is seven times as fast, but splits text at the names of control
tokens and before "'s" after a newline, so its ids differ from the ones that the model was trained with.
A byte that the vocabulary lacks (SmolLM2's lacks 0xF1, for one) is dropped, as `transformers` drops it.

The library is never given a file from elsewhere: some ends the process, some fills the memory. What makes the ids is
read here, and written anew: vocabulary, merges, added tokens, one of the known splittings.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as JsonTokenizer

from arriero.errors import InputError
from arriero.tokenizer.splitting import SPLITTINGS, byte_level, known_pre_tokenizer
from arriero.tokenizer.tokenizer import MOST_TOKENS, Tokenizer

JSON_FILE = "tokenizer.json"

# What ends a document in pretraining where a chat model's own EOS ends a turn (SmolLM2's is <|im_end|>, Llama 3's
# <|eot_id|>).
_END_OF_DOCUMENT = ("<|endoftext|>", "<|end_of_text|>")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_NFC = {"type": "NFC"}
# Parts of the model that change ids, with the values that change nothing.
_NEUTRAL = {"dropout": (None, 0.0), "continuing_subword_prefix": (None, ""), "end_of_word_suffix": (None, "")}


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer from a `tokenizer.json`: its bytes, or what they hold.

    Raises InputError unless it is byte-level BPE of a known splitting.
    """

    def __init__(self, tokenizer_json: bytes | Mapping[str, Any], *, bos_id: int | None, eos_id: int) -> None:
        try:
            found = json.loads(tokenizer_json) if isinstance(tokenizer_json, bytes) else tokenizer_json
            spec = _checked(found)
            control = {added["content"]: added["id"] for added in spec["added_tokens"] if added["special"]}
            literal = {added["content"]: added["id"] for added in spec["added_tokens"] if not added["special"]}
            names = {token: name for name, token in control.items()}
            for token in (bos_id, eos_id):
                if token is not None and token not in names:
                    raise InputError(f"The token {token}, which begins or ends documents, is no control token.")
            if bos_id is not None:
                spec["post_processor"] = bos_first(names[bos_id], bos_id)
            self._json = json.dumps(spec, ensure_ascii=False).encode("utf-8")
            self._tokenizer = JsonTokenizer.from_str(self._json.decode("utf-8"))
        except InputError:
            raise
        except Exception as error:  # what the library raises has no narrower class
            said = f"{type(error).__name__}: {error}"
            raise InputError(f"The tokenizer.json cannot be read ({said:.300}). Fetch it again.") from error
        ids = spec["model"]["vocab"] | control | literal
        if self._tokenizer.get_vocab(with_added_tokens=True) != ids:
            raise InputError(
                "The tokenizer.json's added tokens have other ids than their places after the vocabulary. Fetch it "
                "again."
            )
        self._tokenizer.encode_special_tokens = True  # a control token's name in the text is text
        pieces = _pieces(ids, control, literal)
        super().__init__(pieces, control, literal=literal, bos_id=bos_id, eos_id=eos_id, leading_space=False)

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
    vocab = {token: index for index, token in enumerate(tokens)}
    pairs = [merge.split(" ") for merge in merges]
    spec = _spec(vocab, pairs, added, chosen.pre_tokenizer, chosen.normalizer, ignore_merges=chosen.ignore_merges)
    return json.dumps(spec, ensure_ascii=False).encode("utf-8")


def _spec(
    vocab: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    added: Sequence[Mapping[str, Any]],
    pre_tokenizer: Mapping[str, Any],
    normalizer: Mapping[str, Any] | None,
    *,
    ignore_merges: bool,
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda entry: int(entry["id"])),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
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
            "ignore_merges": ignore_merges,
            "vocab": dict(sorted(vocab.items(), key=lambda entry: entry[1])),
            "merges": merges,
        },
    }


def added_token(name: str, token: int, *, special: bool = True) -> dict[str, Any]:
    """A control token, or one that text yields whole, as `tokenizer.json` lists it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": token, "content": name, **flags}


def bos_first(name: str, token: int) -> dict[str, Any]:
    """The `post_processor` with which `transformers` puts BOS in front of a text."""
    bos = {"SpecialToken": {"id": name, "type_id": 0}}
    text = [{"Sequence": {"id": which, "type_id": 0}} for which in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [bos, text[0]],
        "pair": [bos, *text],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the ids in a `tokenizer.json`, and nothing else of it.

    Raises InputError if it is not byte-level BPE or cuts text in another way than those known; other errors where it
    has another form.
    """
    model = found.get("model") or {}
    if model.get("type") != "BPE" or (found.get("decoder") or {}).get("type") != "ByteLevel":
        raise InputError("The tokenizer.json is not byte-level BPE; only that and SentencePiece BPE are read.")
    pre_tokenizer, normalizer = known_pre_tokenizer(found.get("pre_tokenizer")), found.get("normalizer")
    if pre_tokenizer is None or normalizer not in (None, _NFC):
        raise InputError(
            f"The tokenizer.json prepares text in a way that is not read here: pre_tokenizer "
            f"{found.get('pre_tokenizer')!r:.200}, normalizer {normalizer!r:.100}. Read are the ways of SmolLM2, "
            "GPT-2, Llama 3 and Qwen2; choose another model."
        )
    odd = [key for key, neutral in _NEUTRAL.items() if model.get(key) not in neutral]
    unknown = model.get("unk_token") is not None and not byte_alphabet().keys() <= model["vocab"].keys()
    if odd or unknown:
        part = [*odd, "unk_token"][0]
        raise InputError(f"The tokenizer.json's {part} is set, which is not read. Choose another model.")
    return _spec(
        _vocabulary(model["vocab"]),
        [_pair(merge, model["vocab"]) for merge in model["merges"]],
        [_added(entry) for entry in found.get("added_tokens") or ()],
        pre_tokenizer,
        normalizer,
        ignore_merges=bool(model.get("ignore_merges")),
    )


def _vocabulary(vocab: Mapping[str, int]) -> Mapping[str, int]:
    if any(not _is_id(index) for index in vocab.values()) or len(set(vocab.values())) != len(vocab):
        raise InputError(
            f"The tokenizer.json's ids are not distinct numbers from 0 to {MOST_TOKENS - 1}. Fetch it again."
        )
    return vocab


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST_TOKENS


def _pair(merge: str | Sequence[str], vocab: Mapping[str, int]) -> list[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    if left not in vocab or right not in vocab or left + right not in vocab:  # some of these make the library panic
        raise InputError(f"The tokenizer.json merges {left!r:.80} and {right!r:.80}, but not all three are tokens.")
    return [left, right]


def _added(entry: Mapping[str, Any]) -> dict[str, Any]:
    name, token = entry["content"], entry["id"]
    if not isinstance(name, str) or not name or not _is_id(token):
        raise InputError(
            f"The tokenizer.json's added token {name!r:.80} has no name, or the id {token!r:.80}. Fetch it again."
        )
    return {"id": token, "content": name, **{flag: bool(entry.get(flag)) for flag in _FLAGS}}


def byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling of the 256 bytes: printable ones as themselves, the others from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _pieces(ids: Mapping[str, int], control: Mapping[str, int], literal: Mapping[str, int]) -> list[bytes]:
    """Each id's bytes; ids that nothing names, and control ids, are empty."""
    alphabet = byte_alphabet()
    pieces = [b""] * (max(ids.values(), default=-1) + 1)
    for token, index in ids.items():
        try:
            if token not in control:
                pieces[index] = token.encode() if token in literal else bytes([alphabet[char] for char in token])
        except KeyError:
            raise InputError(f"The tokenizer.json's token {token!r:.80} is not in the byte-level alphabet.") from None
    return pieces

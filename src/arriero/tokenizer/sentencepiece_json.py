"""SentencePiece BPE as a `tokenizer.json`, and out of one: Llama 2 has one beside its `tokenizer.model`.

The `tokenizers` library merges pairs in the order of a list, SentencePiece whatever pair joins to the piece with the
best score. They agree where the list holds every pair that joins to a piece, all pairs of one piece side by side, as
the converters of `transformers` write it: then a piece's score is minus its place in the list.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arriero.errors import InputError
from arriero.tokenizer.bpe import added_token, bos_first
from arriero.tokenizer.sentencepiece import (
    BYTE,
    CONTROL,
    LITERAL,
    NORMAL,
    SPACE,
    UNKNOWN,
    SentencePieceTokenizer,
    build_model,
    extended,
)

_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_SPACE_ALWAYS = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, _REPLACE]}
_SPACE_FIRST = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False}
_REMEDY = "Bring the model's tokenizer.model, which is read as it is."
_LONGEST = 128  # characters; Llama's longest piece has 16, and every cut of a piece is looked up
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


def is_sentencepiece(spec: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` holds SentencePiece's kind of BPE: what the vocabulary lacks is spelled in bytes."""
    model = spec.get("model") or {}
    return model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def sentencepiece_from_json(spec: Mapping[str, Any], begin: str, end: str) -> bytes:
    """A SentencePiece model that gives the same ids. `begin`, `end`: the names of BOS and EOS.

    The differences: where the space in front is `Metaspace`'s, a text that starts with a space gets no second one from
    the `tokenizers` library, but one from SentencePiece, with which such models were trained; and SentencePiece puts
    one in front of a text that starts with a literal token, none behind such a token, where the library does.
    Raises InputError if SentencePiece cannot do what the file asks for.
    """
    _check_space(spec)
    model = spec["model"]
    added = {added["content"]: added_kind(added) for added in spec.get("added_tokens", ())}
    ids = {**model["vocab"], **{added["content"]: added["id"] for added in spec.get("added_tokens", ())}}
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise InputError(f"The tokenizer.json's ids are not 0, 1, 2, ... without a gap. {_REMEDY}")
    kinds = [_kind(piece, added, model.get("unk_token")) for piece in pieces]
    if UNKNOWN not in kinds:
        raise InputError(f"The tokenizer.json has no unk_token, which SentencePiece needs. {_REMEDY}")
    normal = {piece for piece, kind in zip(pieces, kinds, strict=True) if kind == NORMAL}
    ranks = _ranks(model["merges"], normal)
    last = -float(len(ranks) + 1)
    scores = [-float(ranks[piece]) if piece in ranks else last for piece in pieces]
    return extended(build_model(pieces, scores, kinds), begin=begin, end=end)


def added_kind(added: Mapping[str, Any]) -> int:
    """SentencePiece's type of an added token: one that is not special is text, and a text yields it.

    Raises InputError if it is text that changes what is around it.
    """
    if added["special"]:
        return CONTROL
    if any(added.get(flag) for flag in ("single_word", "lstrip", "rstrip")):
        raise InputError(
            f"The tokenizer.json's added token {added['content']!r:.80} is text that takes the space around it, or "
            "stands for whole words only: SentencePiece has none such. Choose another model."
        )
    return LITERAL


def _kind(piece: str, added: Mapping[str, int], unknown: str | None) -> int:
    if piece == unknown:
        return UNKNOWN
    return added.get(piece, BYTE if piece in _BYTES else NORMAL)


def _check_space(spec: Mapping[str, Any]) -> None:
    """Raises InputError unless spaces become U+2581, one is put in front, and nothing else changes the text."""
    normalizer, splitting = spec.get("normalizer"), spec.get("pre_tokenizer")
    if normalizer == _SPACE_ALWAYS and splitting is None:
        return
    if normalizer is None and splitting is not None and splitting.get("type") == "Metaspace":
        # tokenizers before 0.15 wrote add_prefix_space; where `split` is not written, it is on.
        scheme = splitting.get("prepend_scheme", "always" if splitting.get("add_prefix_space") else "never")
        if splitting.get("replacement") == SPACE and scheme in ("always", "first") and splitting.get("split") is False:
            return
    raise InputError(
        f"The tokenizer.json prepares text in a way that SentencePiece's Llama models do not: normalizer {normalizer}, "
        f"pre_tokenizer {splitting}. Read are Prepend and Replace, or Metaspace with prepend_scheme always or first "
        f"and without split. {_REMEDY}"
    )


def _ranks(merges: Sequence[Any], normal: set[str]) -> dict[str, int]:
    """Each joined piece's place in the order of merges, from 1. Raises InputError if SentencePiece joins otherwise."""
    listed: set[tuple[str, str]] = set()
    ranks: dict[str, int] = {}
    newest = None
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        piece = left + right
        if not normal.issuperset((left, right, piece)):
            continue  # it would make a control token or a byte of text
        if piece in ranks and piece != newest:
            raise InputError(f"The tokenizer.json's merges to {piece!r} are apart: not SentencePiece's kind. {_REMEDY}")
        ranks.setdefault(piece, len(ranks) + 1)
        listed.add((left, right))
        newest = piece
    for left, right in _joins(normal):
        if (left, right) not in listed:
            raise InputError(
                f"The tokenizer.json lacks the merge of {left!r} and {right!r}, which SentencePiece makes. {_REMEDY}"
            )
    return ranks


def _joins(pieces: Mapping[str, int] | set[str]) -> Iterator[tuple[str, str]]:
    """Every way to join two pieces into a third. Raises InputError on a piece so long that its cuts are many."""
    for piece in pieces:
        if len(piece) > _LONGEST:
            raise InputError(
                f"The tokenizer has a piece of {len(piece)} characters, {piece!r:.80}: not of Llama's kind, which has "
                f"at most {_LONGEST}. Choose another model."
            )
        for cut in range(1, len(piece)):
            if piece[:cut] in pieces and piece[cut:] in pieces:
                yield piece[:cut], piece[cut:]


def sentencepiece_json(tokenizer: SentencePieceTokenizer, *, space_after_control: bool = True) -> bytes:
    """A `tokenizer.json` that gives the same ids: scores become an order of merges.

    The one difference: the `tokenizers` library puts the space in front of a text that follows a literal token, too,
    and none in front of a literal token.
    `space_after_control`: as in `JinjaTemplate`. Raises InputError on a vocabulary that is not of Llama's kind.
    """
    pieces, bos_id = tokenizer.scored_pieces(), tokenizer.bos_id
    added = [added_token(name, token) for name, token in tokenizer.control.items()]
    literal = [index for index, (_, _, kind) in enumerate(pieces) if kind == LITERAL]
    added += [added_token(pieces[index][0], index, special=False) for index in literal]
    unknown = next((piece for piece, _, kind in pieces if kind == UNKNOWN), None)
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda entry: int(entry["id"])),
        "normalizer": _SPACE_ALWAYS if space_after_control else None,
        "pre_tokenizer": None if space_after_control else _SPACE_FIRST,
        "post_processor": None if bos_id is None else bos_first(tokenizer.names[bos_id], bos_id),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: index for index, (piece, _, _) in enumerate(pieces)},
            "merges": _merges(pieces),
        },
    }
    return json.dumps(spec, ensure_ascii=False).encode("utf-8")


def _merges(pieces: Sequence[tuple[str, float, int]]) -> list[list[str]]:
    """Every way to join two pieces into a third, the best score of the third first."""
    ids = {piece: index for index, (piece, _, kind) in enumerate(pieces) if kind == NORMAL}
    ranked = []
    for left, right in _joins(ids):
        index = ids[left + right]
        ranked.append((-pieces[index][1], index, ids[left], ids[right], left, right))
    return [[left, right] for *_, left, right in sorted(ranked)]

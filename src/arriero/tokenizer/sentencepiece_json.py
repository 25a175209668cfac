"""SentencePiece BPE out of a `tokenizer.json`: Llama 2, TinyLlama and Mistral have one beside their `tokenizer.model`.

The `tokenizers` library merges pairs in the order of a list, SentencePiece whatever pair joins to the piece with the
best score. They agree where the list holds every pair that joins to a piece, all pairs of one piece side by side, as
the converters of `transformers` write it: then a piece's score is minus its place in the list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from arriero.errors import InputError
from arriero.tokenizer.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, build_model, extended

_SPACE = "\u2581"
_REMEDY = "Bring the model's tokenizer.model, which is read as it is."
_LONGEST = 128  # characters; Llama's longest piece has 16, and every cut of a piece is looked up
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


def is_sentencepiece(spec: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` holds SentencePiece's kind of BPE: what the vocabulary lacks is spelled in bytes."""
    model = spec.get("model") or {}
    return model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def sentencepiece_from_json(spec: Mapping[str, Any], begin: str, end: str) -> bytes:
    """A SentencePiece model that gives the same ids. `begin`, `end`: the names of BOS and EOS.

    The one difference: where the space in front is `Metaspace`'s, a text that starts with a space gets no second one
    from the `tokenizers` library, but one from SentencePiece, with which such models were trained.
    Raises InputError if SentencePiece cannot do what the file asks for.
    """
    _check_space(spec)
    model = spec["model"]
    control = {added["content"] for added in spec.get("added_tokens", ()) if added["special"]}
    literal = [added["content"] for added in spec.get("added_tokens", ()) if not added["special"]]
    if literal:
        raise InputError(f"The tokenizer.json has added tokens that are text, as {literal[0]!r}: not read. {_REMEDY}")
    ids = {**model["vocab"], **{added["content"]: added["id"] for added in spec.get("added_tokens", ())}}
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise InputError(f"The tokenizer.json's ids are not 0, 1, 2, ... without a gap. {_REMEDY}")
    kinds = [_kind(piece, control, model.get("unk_token")) for piece in pieces]
    if UNKNOWN not in kinds:
        raise InputError(f"The tokenizer.json has no unk_token, which SentencePiece needs. {_REMEDY}")
    normal = {piece for piece, kind in zip(pieces, kinds, strict=True) if kind == NORMAL}
    ranks = _ranks(model["merges"], normal)
    last = -float(len(ranks) + 1)
    scores = [-float(ranks[piece]) if piece in ranks else last for piece in pieces]
    return extended(build_model(pieces, scores, kinds), begin=begin, end=end)


def _kind(piece: str, control: set[str], unknown: str | None) -> int:
    if piece == unknown:
        return UNKNOWN
    if piece in control:
        return CONTROL
    return BYTE if piece in _BYTES else NORMAL


def _check_space(spec: Mapping[str, Any]) -> None:
    """Raises InputError unless spaces become U+2581, one is put in front, and nothing else changes the text."""
    normalizer, splitting = spec.get("normalizer"), spec.get("pre_tokenizer")
    prepend = {"type": "Prepend", "prepend": _SPACE}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if normalizer == {"type": "Sequence", "normalizers": [prepend, replace]} and splitting is None:
        return
    if normalizer is None and splitting is not None and splitting.get("type") == "Metaspace":
        # tokenizers before 0.15 wrote add_prefix_space; where `split` is not written, it is on.
        scheme = splitting.get("prepend_scheme", "always" if splitting.get("add_prefix_space") else "never")
        if splitting.get("replacement") == _SPACE and scheme in ("always", "first") and splitting.get("split") is False:
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
    longest = max(map(len, normal), default=0)
    if longest > _LONGEST:
        raise InputError(f"The tokenizer.json has a piece of {longest} characters: not SentencePiece's kind. {_REMEDY}")
    for piece in normal:
        for cut in range(1, len(piece)):
            pair = piece[:cut], piece[cut:]
            if pair not in listed and normal.issuperset(pair):
                raise InputError(
                    f"The tokenizer.json lacks the merge of {pair[0]!r} and {pair[1]!r}, which SentencePiece makes. "
                    f"{_REMEDY}"
                )
    return ranks

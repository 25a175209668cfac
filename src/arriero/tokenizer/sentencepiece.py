"""SentencePiece BPE, Llama 2's own family: encoded with kitoken, whose ids equal SentencePiece's and are faster.

The text gets one space in front; spaces become U+2581; what the vocabulary lacks is spelled in bytes (so the unknown
token never occurs). Source: RECIPE section 1; Llama 2 (arXiv:2307.09288) section 2.2.
"""

import struct
from collections.abc import Sequence
from functools import cached_property

from kitoken import Kitoken
from sentencepiece import SentencePieceProcessor

from arriero.errors import InputError
from arriero.tokenizer.tokenizer import MOST_TOKENS, Tokenizer

MODEL_FILE = "tokenizer.model"
SPACE = "\u2581"  # how a piece spells a space

# Piece types of sentencepiece_model.proto (GGUF uses the same numbers). A text yields a literal wherever it holds it.
NORMAL, UNKNOWN, CONTROL, LITERAL, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class SentencePieceTokenizer(Tokenizer):
    """A tokenizer from the bytes of a SentencePiece `.model` file.

    Raises InputError unless it is a BPE model with byte fallback and an end-of-sentence token.
    """

    def __init__(self, model: bytes) -> None:
        processor = SentencePieceProcessor()
        try:
            processor.load_from_serialized_proto(model)
            if processor.get_piece_size() > MOST_TOKENS:
                raise InputError(f"The tokenizer model has more than {MOST_TOKENS} pieces. Choose another model.")
            self._kitoken = Kitoken.from_sentencepiece(model)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"The tokenizer model cannot be read as SentencePiece: {error}.") from error
        ids = range(processor.get_piece_size())
        definition = self._kitoken.definition()
        if "BytePair" not in definition["model"]:
            raise InputError("The SentencePiece model is not BPE; only BPE, Llama's kind, is read.")
        if sum(processor.is_byte(i) for i in ids) != 256:
            raise InputError("The SentencePiece model has no byte fallback; train it with byte_fallback=true.")
        if processor.eos_id() < 0:
            raise InputError("The SentencePiece model has no end-of-sentence token; train it with eos_id=2.")
        # SentencePiece has no question for these.
        literal = {s["id"] for s in definition["specials"] if s["kind"] == "Priority"}
        control = {processor.id_to_piece(i): i for i in ids if processor.is_control(i) or processor.is_unknown(i)}
        hidden = set(control.values())
        pieces = [b"" if i in hidden else _bytes(processor.id_to_piece(i), processor.is_byte(i)) for i in ids]
        self._model = model
        self._processor = processor
        bos = processor.bos_id()
        super().__init__(
            pieces,
            control,
            literal={pieces[i].decode(): i for i in literal - hidden},
            bos_id=None if bos < 0 else bos,
            eos_id=processor.eos_id(),
            leading_space=True,
        )

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._kitoken.encode_all(list(texts))
        return encoded

    def _encode_continued(self, texts: Sequence[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._without_space.encode_all(list(texts))
        return encoded

    @cached_property
    def _without_space(self) -> Kitoken:
        # A field that a protobuf message holds twice counts as the last one says: add_dummy_prefix is off here.
        return Kitoken.from_sentencepiece(self._model + _field(3, _number(3, 0)))

    def files(self) -> dict[str, bytes]:
        return {MODEL_FILE: self._model}

    def scored_pieces(self) -> list[tuple[str, float, int]]:
        """(piece as SentencePiece spells it, score, type) of every id, for writing other formats."""
        p = self._processor
        kinds = [NORMAL] * p.get_piece_size()
        for token in self.literal.values():
            kinds[token] = LITERAL
        asked = ((UNKNOWN, p.is_unknown), (CONTROL, p.is_control), (UNUSED, p.is_unused), (BYTE, p.is_byte))
        for kind, has in asked:
            kinds = [kind if has(i) else known for i, known in enumerate(kinds)]
        return [(p.id_to_piece(i), p.get_score(i), kind) for i, kind in enumerate(kinds)]


def _bytes(piece: str, is_byte: bool) -> bytes:
    """The text bytes of a piece; a byte piece is spelled <0xAB>."""
    return bytes([int(piece[3:5], 16)]) if is_byte else piece.replace(SPACE, " ").encode("utf-8")


def build_model(pieces: Sequence[str], scores: Sequence[float], kinds: Sequence[int]) -> bytes:
    """A SentencePiece `.model` (protobuf) with Llama 2's settings, from a vocabulary as GGUF stores it."""
    assert len(pieces) == len(scores) == len(kinds)
    entries = [
        _field(1, _field(1, piece.encode("utf-8")) + b"\x15" + struct.pack("<f", score) + _number(3, kind))
        for piece, score, kind in zip(pieces, scores, kinds, strict=True)
    ]
    trainer = _number(3, 2) + _number(4, len(pieces)) + _number(35, 1)  # model_type BPE, vocab_size, byte_fallback
    normalizer = _field(1, b"identity") + _number(3, 1) + _number(4, 0) + _number(5, 1)
    # name, add_dummy_prefix, remove_extra_whitespaces (no), escape_whitespaces
    return b"".join(entries) + _field(2, trainer) + _field(3, normalizer)


def extended(
    model: bytes, *, pieces: Sequence[tuple[str, int]] = (), begin: str | None = None, end: str | None = None
) -> bytes:
    """The model with more pieces (text, type) at its end, or with other names of BOS and EOS.

    What is appended to a protobuf message adds to a field with many values, and replaces a field with one.
    """
    entries = [_field(1, _field(1, piece.encode("utf-8")) + _number(3, kind)) for piece, kind in pieces]
    trainer = b"".join(
        _field(number, name.encode("utf-8")) for number, name in ((46, begin), (47, end)) if name is not None
    )
    return model + b"".join(entries) + _field(2, trainer)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data

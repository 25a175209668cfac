"""llama2.c's `tokenizer.bin`: a SentencePiece BPE vocabulary without its settings, which are Llama 2's.

The length of the longest piece (int32), then for each piece its score (float32), its length (int32) and its bytes, all
little-endian. Spaces stand where SentencePiece writes U+2581, and BOS and EOS are spelled with a newline at each end.
Source: `tokenizer.py` and `run.c` of https://github.com/karpathy/llama2.c.
"""

import math
import re
import struct

from arriero.errors import InputError
from arriero.tokenizer.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, SentencePieceTokenizer, build_model

_UNKNOWN, _BOS, _EOS = "<unk>", "<s>", "</s>"
_MOST_PIECES = 1 << 17  # Llama 2's has 32,000
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def tokenizer_from_llama2c(data: bytes) -> SentencePieceTokenizer:
    """The tokenizer in a file's bytes. Raises InputError if they are of another form."""
    pieces, scores = _entries(data)
    pieces[:3] = [piece.strip("\n") for piece in pieces[:3]]
    if pieces[:3] != [_UNKNOWN, _BOS, _EOS]:
        raise InputError(f"The tokenizer starts with {pieces[:3]!r:.80}, not with {_UNKNOWN}, {_BOS} and {_EOS}.")
    if len(set(pieces)) != len(pieces):
        raise InputError("The tokenizer names a piece twice. Fetch the file again.")
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE if _BYTE_PIECE.fullmatch(p) else NORMAL for p in pieces[3:]]
    return SentencePieceTokenizer(build_model([piece.replace(" ", "\u2581") for piece in pieces], scores, kinds))


def _entries(data: bytes) -> tuple[list[str], list[float]]:
    pieces: list[str] = []
    scores: list[float] = []
    position = 4
    while position < len(data):
        if len(pieces) == _MOST_PIECES:
            raise InputError(f"The tokenizer has more than {_MOST_PIECES} pieces. Choose another model.")
        if len(data) - position < 8:
            raise _damaged(position)
        score, length = struct.unpack_from("<fi", data, position)
        position += 8
        if not 0 < length <= len(data) - position or not math.isfinite(score):
            raise _damaged(position - 8)
        try:
            pieces.append(data[position : position + length].decode("utf-8"))
        except UnicodeDecodeError:
            raise _damaged(position) from None
        scores.append(score)
        position += length
    return pieces, scores


def _damaged(position: int) -> InputError:
    return InputError(f"It is not a tokenizer of llama2.c, or damaged at byte {position}. Fetch the file again.")

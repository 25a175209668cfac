"""Llama 3's `tokenizer.model`: byte-level BPE in the form of the tiktoken library, a token and its rank on each line.

The file names no merges. A rank is both a token's id and when it is made, so every way to join two tokens into a third
is a merge, in the order of the third's rank. The control tokens follow the last rank; they are not in the file.
"""

import base64

from arriero.errors import InputError
from arriero.tokenizer.bpe import ByteLevelTokenizer, build_json, byte_alphabet
from arriero.tokenizer.tokenizer import Tokenizer

# Recovering the merges takes the square of a token's length.
MOST_TOKEN_BYTES, MOST_BYTES = 128, 4 << 20  # Llama 3's longest token has 128, its file 2 MB

# Of Llama 3.1 and after; in Llama 3 some of these were reserved still, the others had the same ids.
_BEGIN, _END = "<|begin_of_text|>", "<|end_of_text|>"
_CONTROL = [
    _BEGIN,
    _END,
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{n}|>" for n in range(3, 248)),
]


def tokenizer_from_tiktoken(data: bytes) -> ByteLevelTokenizer:
    """The tokenizer in a file's bytes. Raises InputError naming the line that is wrong."""
    tokens = _tokens(data)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    spelling = {byte: char for char, byte in byte_alphabet().items()}

    def spelled(token: bytes) -> str:
        return "".join(spelling[byte] for byte in token)

    merges = []
    for token in tokens:
        cuts = [cut for cut in range(1, len(token)) if token[:cut] in ranks and token[cut:] in ranks]
        joined = [(ranks[token[:cut]], ranks[token[cut:]], token[:cut], token[cut:]) for cut in cuts]
        merges += [f"{spelled(a)} {spelled(b)}" for _, _, a, b in sorted(joined)]
    control = {name: len(tokens) + n for n, name in enumerate(_CONTROL)}
    built = build_json([spelled(token) for token in tokens], merges, control, splitting="llama-bpe")
    return ByteLevelTokenizer(built, bos_id=control[_BEGIN], eos_id=control[_END])


def _tokens(data: bytes) -> list[bytes]:
    """The tokens in the order of their ranks, which must be all of 0, 1, 2 ...; every single byte is among them."""
    if len(data) > MOST_BYTES:
        raise InputError(f"The tokenizer has {len(data)} bytes; {MOST_BYTES} are the most read of Llama 3's kind.")
    found: dict[int, bytes] = {}
    lines = data.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            encoded, rank = line.split()
            token, place = base64.b64decode(encoded, validate=True), int(rank)
        except ValueError:
            raise InputError(
                f"The tokenizer's line {number}, {line!r:.60}, is not a token in base64 and its rank."
            ) from None
        if not 0 < len(token) <= MOST_TOKEN_BYTES:
            raise InputError(
                f"The tokenizer's line {number} has a token of {len(token)} bytes; 1 to {MOST_TOKEN_BYTES} are read."
            )
        if not 0 <= place < len(lines) or place in found:
            raise InputError(f"The tokenizer's line {number} has the rank {place}, which occurs twice or leaves a gap.")
        found[place] = token
    tokens = [found[rank] for rank in sorted(found)]
    distinct = set(tokens)
    if len(distinct) != len(tokens) or any(bytes([byte]) not in distinct for byte in range(256)):
        raise InputError("The tokenizer names a token twice or lacks one of the 256 bytes. Fetch the file again.")
    return tokens


def tiktoken_file(tokenizer: Tokenizer) -> bytes | None:
    """The file of a tokenizer that was read from one; None of a tokenizer of another kind."""
    ranked = range(tokenizer.vocab_size - len(_CONTROL))
    data = b"".join(b"%s %d\n" % (base64.b64encode(tokenizer.piece(token)), token) for token in ranked)
    try:
        same = tokenizer_from_tiktoken(data).digest() == tokenizer.digest()
    except InputError:
        return None
    return data if same else None

"""Unicode repair: text as its author wrote it, in one form, without what no reader sees.

The paper does not state how it treated damaged text. Done here, in this order:

- line ends: CR LF and CR become LF, in code too (code gets nothing else but the loss of a leading byte order mark);
- HTML entities that are left over: decoded, except in a document that speaks of markup or encodings, and `&lt;`,
  `&gt;`, `&amp;` and `&quot;` only if the document holds none of `<`, `>` and a bare `&` (it then was escaped twice);
- mojibake (UTF-8 read as Windows-1252, Latin-1 or another single-byte encoding, also more than once): by ftfy, on the
  lines in which some characters, taken as bytes of such an encoding, are a UTF-8 sequence;
- C1 controls become what Windows-1252 has there, as in HTML 5; terminal escapes, other controls, soft hyphens, zero
  width spaces (but not between letters of scripts that part words with them), word joiners, byte order marks and
  noncharacters go; form feeds, line and paragraph separators become LF; Latin ligatures (U+FB00 to U+FB06, a trace of
  typesetting) become letters;
- NFC. Not NFKC, which would turn x² into x2. No-break spaces, joiners and direction marks are part of the text.
"""

import html
import re
import unicodedata
from collections import Counter

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from arriero.data.documents import Step, with_columns, with_edits
from arriero.data.sources import SourceKind

BYTE_ORDER_MARK = "\ufeff".encode()
ENTITY = r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]+);"
MARKUP = r"(?i)html|xml|sgml|entit|markup|unicode|encod|escap|<a |<p>|<br"
ESCAPED = ("&lt;", "&gt;", "&amp;", "&quot;")
TERMINAL_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Thai, Lao, Tibetan, Myanmar, Khmer: a zero width space there is where a word ends.
UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
ZERO_WIDTH_SPACE = re.compile(f"(?<![{UNSPACED}])\u200b|\u200b(?![{UNSPACED}])")
LIGATURES = ("ff", "fi", "fl", "ffi", "ffl", "st", "st")  # from U+FB00


def _windows_1252(code: int) -> str:
    """What HTML 5 makes of a C1 control; nothing if Windows-1252 has nothing there."""
    return bytes([code]).decode("cp1252", errors="ignore")


REMOVED = (*range(9), *range(0x0E, 0x20), 0x7F, 0xAD, 0x2060, 0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB, 0xFFFE, 0xFFFF)
CHARACTERS = (
    {chr(code): "" for code in REMOVED}
    | dict.fromkeys("\x0b\x0c\u2028\u2029", "\n")
    | {chr(code): _windows_1252(code) for code in range(0x80, 0xA0)}
    | {chr(0xFB00 + place): letters for place, letters in enumerate(LIGATURES)}
)
# str.translate is many times slower on text that is not ASCII.
CHANGED = re.compile("[" + "".join(CHARACTERS) + "]")


def _class(characters: str) -> str:
    """A regular expression for any of the characters, as ranges."""
    codes = np.array(sorted({ord(character) for character in characters}))
    runs = np.split(codes, np.flatnonzero(np.diff(codes) > 1) + 1)
    return "[" + "".join(rf"\x{{{run[0]:x}}}-\x{{{run[-1]:x}}}" for run in runs) + "]"


def _seen(first: int, last: int, *encodings: str) -> str:
    """Characters that bytes from `first` to `last` become in any of the encodings."""
    return _class("".join(bytes(range(first, last + 1)).decode(encoding) for encoding in encodings))


def _sequences(*encodings: str) -> tuple[str, str, str, str]:
    """What UTF-8 sequences of two, three and four bytes look like in any of the encodings, and those of U+20xx."""
    # The last byte may have been lost to a replacement character.
    tail = _seen(0x80, 0xBF, *encodings)[:-1] + r"\x{fffd}]"
    first = (_seen(*lead, *encodings) for lead in ((0xC2, 0xDF), (0xE0, 0xEF), (0xF0, 0xF4)))
    two, three, four = (lead + tail * length for length, lead in enumerate(first, start=1))
    return two, three, four, _seen(0xE2, 0xE2, *encodings) + _seen(0x80, 0x80, *encodings) + tail


def _mojibake() -> str:
    # 0xA0 may have become white space, which extraction turns into a space.
    patterns = [*_sequences("latin-1", "sloppy-windows-1252"), r"[\x{c2}\x{c3}] "]
    for encoding in ("sloppy-windows-1250", "sloppy-windows-1251", "sloppy-windows-1253", "macroman"):
        # Letters of living languages and their punctuation: a single sequence proves nothing.
        two, three, _, punctuation = _sequences(encoding)
        patterns += [f"(?:{two}|{three}){{2}}", punctuation]
    return "|".join(patterns)


def _not_nfc() -> str:
    """Characters that NFC changes, or that may join or change places with the ones before them."""
    # No character beyond the plane of the compatibility ideographs has a decomposition or combines.
    every = [chr(code) for code in range(0x80, 0x30000) if not 0xD800 <= code < 0xE000]
    composed = (unicodedata.decomposition(character) for character in every)
    seconds = {chr(int(pair.split()[1], 16)) for pair in composed if pair[:1] != "<" and " " in pair}
    hangul = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    return _class(
        "".join(
            character
            for character in every
            if unicodedata.combining(character)
            or character in seconds
            or character in hangul
            or not unicodedata.is_normalized("NFC", character)
        )
    )


MOJIBAKE = _mojibake()
NOT_NFC = _not_nfc()
DIRTY = "|".join((_class("".join(CHARACTERS) + "\u200b"), ENTITY, NOT_NFC, MOJIBAKE))
# Compiled once: Arrow's kernels would compile these large classes anew for every batch.
_DIRTY, _MOJIBAKE = (re2.compile(pattern.encode()) for pattern in (DIRTY, MOJIBAKE))


def repair(table: pa.Table) -> pa.Table:
    """Repairs texts, and says in `edits` how many characters of a document went or were replaced."""
    texts = table["text"].combine_chunks()
    code = np.asarray(pc.equal(table["kind"], SourceKind.CODE))
    repaired: dict[int, str] = {}
    for row, data in enumerate(texts.cast(pa.large_binary())):
        before = data.as_py()
        after = _with_line_ends(before).removeprefix(BYTE_ORDER_MARK)
        if not code[row] and _DIRTY.search(after):
            after = repaired_text(after.decode()).encode()
        if after != before:
            repaired[row] = after.decode()
    if not repaired:
        return table
    mask = np.zeros(len(table), dtype=bool)
    mask[list(repaired)] = True
    edits = [""] * len(table)
    for row, text in repaired.items():
        edits[row] = f"repair {_replaced(texts[row].as_py(), text)} characters"
    text = pc.replace_with_mask(texts, pa.array(mask), pa.array(list(repaired.values()), pa.large_string()))
    return with_edits(with_columns(table, text=text), edits)


def _with_line_ends(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def repaired_text(text: str) -> str:
    """Prose with LF line ends, repaired."""
    text = _fix_mojibake(_decode_entities(text) if "&" in text else text)
    if "\x1b[" in text:
        text = TERMINAL_ESCAPE.sub("", text)
    if "\u200b" in text:
        text = ZERO_WIDTH_SPACE.sub("", text)
    return unicodedata.normalize("NFC", CHANGED.sub(lambda found: CHARACTERS[found[0]], text))


def _decode_entities(text: str) -> str:
    """Entities outside of talk about them. A name that HTML 5 does not know (`&name;`) stays."""
    if not re.search(ENTITY, text) or re.search(MARKUP, text):
        return text
    markup = "<" in text or ">" in text or re.search(f"&(?!{ENTITY[1:]})", text) is not None
    return re.sub(ENTITY, lambda found: found[0] if markup and found[0] in ESCAPED else html.unescape(found[0]), text)


def _fix_mojibake(text: str) -> str:
    """ftfy on the suspicious lines: it reads a few MB/s, and on a whole document one odd line would decide for all.

    Where it repairs most of them, the others (too short for its heuristics) are mojibake too if they can be.
    """
    data = text.encode()
    parts: list[bytes] = []
    suspicious: dict[int, tuple[str, str]] = {}
    done = 0
    while found := _MOJIBAKE.search(data, done):
        start = data.rfind(b"\n", 0, found.start()) + 1
        end = data.find(b"\n", found.end())
        end = len(data) if end < 0 else end
        line = data[start:end].decode()
        suspicious[len(parts) + 1] = line, ftfy.fix_encoding(line)
        parts += [data[done:start], b""]
        done = end
    fixed = sum(line != after for line, after in suspicious.values())
    for place, (line, after) in suspicious.items():
        parts[place] = (_decoded_again(line) if line == after and 2 * fixed > len(suspicious) else after).encode()
    return b"".join([*parts, data[done:]]).decode()


def _decoded_again(line: str) -> str:
    """`line` as UTF-8 if its characters are Windows-1252 bytes of such text, else as it is."""
    try:
        return line.encode("sloppy-windows-1252").decode()
    except UnicodeError:
        return line


def _replaced(before: str, after: str) -> int:
    """How many characters of `before` are not in `after`. Lines that both hold cancel out, for speed."""
    lines = [Counter(text.split("\n")) for text in (before, after)]
    gone, come = (Counter("\n".join(rest.elements())) for rest in (lines[0] - lines[1], lines[1] - lines[0]))
    return (gone - come).total()


REPAIR_STEP = Step("repair", repair)

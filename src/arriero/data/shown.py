"""Texts of documents made fit to be shown: nothing that a terminal or a page obeys, and no person's data.

A document is written by anybody. Its control characters could move the cursor or rename the window, its marks of
writing direction make a text read as another; they become visible signs. Personal information is found anew (what was
dropped is not redacted) and hidden behind the name of its kind, unless it is asked for.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from arriero.data.pii import find_pii
from arriero.data.pii_detectors import DETECTORS

KINDS = sorted({detector.kind for detector in DETECTORS if detector.kind.isupper()})
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})\]")
# Format characters that are part of the text: the joiners of Arabic, Indic and emoji, and the soft hyphen.
HARMLESS = frozenset("\u200c\u200d\u00ad")
AROUND = 60  # characters before and after a mark in a passage


class Mark(StrEnum):
    """What a piece of a text is."""

    PLAIN = "plain"
    REDACTED = "redacted"  # a placeholder that stands in the corpus
    HIDDEN = "hidden"  # personal information, here behind a placeholder
    PERSONAL = "personal"  # personal information


@dataclass(frozen=True)
class Piece:
    text: str
    mark: Mark = Mark.PLAIN


def visible(text: str) -> str:
    """`text` with line ends and tabs, and with every other character that is obeyed and not seen as a visible sign."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or character in HARMLESS:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # ␀ to ␟
    if code == 0x7F:
        return "␡"
    # Controls, direction marks and tags, private use (a font draws what it will), halves, separators of lines.
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")
    return f"<U+{code:04X}>" if hidden else character


@dataclass(frozen=True)
class Shown:
    """How texts are shown. `phone_region` is that of the corpus."""

    personal: bool = False
    phone_region: str = "US"

    def pieces(self, text: str) -> list[Piece]:
        """A whole text."""
        return [Piece(visible(piece.text), piece.mark) for piece in self._pieces(text)]

    def beginning(self, text: str, characters: int) -> list[Piece]:
        """The first characters of a text, and a last piece "…" if there is more. A mark at the end is whole."""
        begun: list[Piece] = []
        left = characters
        for piece in self._pieces(text):
            if left <= 0:
                return [*begun, Piece(" …")]
            cut = piece.mark is Mark.PLAIN and len(piece.text) > left
            begun.append(Piece(visible(piece.text[:left] if cut else piece.text), piece.mark))
            if cut:
                return [*begun, Piece(" …")]
            left -= len(piece.text)
        return begun

    def passages(self, text: str, after: int, most: int) -> list[list[Piece]]:
        """The first marks that stand behind the first `after` characters, each with the words around it."""
        pieces = list(self._pieces(text))
        found: list[list[Piece]] = []
        place = 0
        for number, piece in enumerate(pieces):
            if piece.mark is not Mark.PLAIN and place >= after and len(found) < most:
                before, behind = (pieces[i].text if 0 <= i < len(pieces) else "" for i in (number - 1, number + 1))
                left, right = (" ".join(part.split()) for part in (before[-AROUND:], behind[:AROUND]))
                middle = Piece(visible(piece.text), piece.mark)
                found.append([Piece(f"… {visible(left)} "), middle, Piece(f" {visible(right)} …")])
            place += len(piece.text)
        return found

    def line(self, text: str) -> str:
        """A short text (a URL, a detail) on one line."""
        return self.id("".join(piece.text for piece in self._pieces(text)))

    @staticmethod
    def id(text: str) -> str:
        """An id on one line, whole: it is what a document is named by, and twelve digits are no card's here."""
        return visible(text).replace("\n", "␊").replace("\t", " ")

    def _pieces(self, text: str) -> Iterator[Piece]:
        """Not yet visible; personal information is hidden."""
        data, last = text.encode(), 0
        for finding in find_pii(text, self.phone_region):
            yield from _redacted(data[last : finding.start].decode())
            found = data[finding.start : finding.end].decode()
            yield Piece(found, Mark.PERSONAL) if self.personal else Piece(f"[{finding.kind}]", Mark.HIDDEN)
            last = finding.end
        yield from _redacted(data[last:].decode())


def _redacted(text: str) -> Iterator[Piece]:
    last = 0
    for found in PLACEHOLDER.finditer(text):
        if last < found.start():
            yield Piece(text[last : found.start()])
        yield Piece(found[0], Mark.REDACTED)
        last = found.end()
    if last < len(text):
        yield Piece(text[last:])

"""Tables and texts of documents on a terminal: aligned, and coloured where that is wanted."""

import unicodedata
from collections.abc import Sequence

from arriero.data.reasons import Reasons
from arriero.data.samples import Sample
from arriero.data.shown import Mark, Piece, Shown, visible
from arriero.report.page import Table

BEGINNING = 600  # characters of a sample's text
PASSAGES = 3
# SGR codes. What is hidden or redacted is told from the text's own brackets by its colour.
COLOURS = {Mark.REDACTED: "36", Mark.HIDDEN: "30;43", Mark.PERSONAL: "97;41"}
BOLD, FAINT = "1", "2"


def width(text: str) -> int:
    """Columns that a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _padded(text: str, columns: int, right: bool = False) -> str:
    space = " " * (columns - width(text))
    return space + text if right else text + space


class Terminal:
    """`colour`: whether what is printed on obeys SGR codes."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def _styled(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def table(self, table: Table) -> list[str]:
        """Its title, its columns aligned, and its caption."""
        lines = [table.columns, *(tuple(map(visible, row)) for row in table.rows)]
        widths = [max(width(line[column]) for line in lines) for column in range(len(table.columns))]
        shown = [
            "  ".join(
                _padded(cell, columns, number >= table.numbers_from)
                for number, (cell, columns) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        caption = [self._styled(FAINT, table.caption)] if table.caption else []
        return [self._styled(BOLD, table.title), *caption, self._styled(FAINT, shown[0]), *shown[1:]]

    def pieces(self, pieces: Sequence[Piece]) -> str:
        return "".join(
            self._styled(COLOURS[piece.mark], piece.text) if piece.mark in COLOURS else piece.text for piece in pieces
        )

    def rows(self, title: str, rows: Sequence[tuple[str, str]], text: Sequence[Piece] = ()) -> list[str]:
        """A title, labels with what they say, and a text set in."""
        columns = max((width(label) for label, _ in rows), default=0)
        lines = [f"  {self._styled(FAINT, _padded(label, columns))}  {said}" for label, said in rows]
        body = self.pieces(text).strip("\n")
        return [self._styled(BOLD, title), *lines, *(f"  │ {line}" for line in body.split("\n") if body)]

    def sample(self, sample: Sample, reasons: Reasons, shown: Shown) -> list[str]:
        """A document of a corpus: what is known of it, its beginning, and the personal information further on."""
        line = shown.line
        end = f"dropped by {line(sample.step)}: {line(sample.reason)}" if sample.step else f"kept in {sample.split}"
        rows = [
            ("url", line(sample.url)),
            ("source", line(f"{sample.source}, {sample.origin}")),
            ("language", line(sample.language)),
            ("edits", line(sample.edits)),
            ("why", line(reasons.in_words(sample.reason, sample.source)) if sample.step else ""),
            ("detail", (shown.id if sample.names_kept else line)(sample.detail)),
        ]
        title = f"{shown.id(sample.id)}: {end}"
        lines = self.rows(title, [row for row in rows if row[1]], shown.beginning(sample.text, BEGINNING))
        further = [] if sample.step else shown.passages(sample.text, BEGINNING, PASSAGES)
        return [*lines, *(f"  │ {self.pieces(passage)}" for passage in further)]

"""Main text of web pages: no navigation, header or footer.

The paper does not state how it read the web. resiliparse is the fastest extractor that keeps main text apart.
"""

import re
from functools import partial

import numpy as np
import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from arriero.data.documents import Step, with_columns

MOST_DEPTH = 512
OPENING = re.compile(r"<(/?)(?:div|section|article|main|nav|ul|ol|dl|li|blockquote|table|span)[\s>]", re.IGNORECASE)


def is_too_deep(html: str) -> bool:
    """Whether blocks are nested more deeply than people's pages are: the extractor's time grows with depth squared."""
    if html.count("<") < MOST_DEPTH:
        return False
    steps = [-1 if found[1] else 1 for found in OPENING.finditer(html)]
    return len(steps) > MOST_DEPTH and int(np.cumsum(steps).max()) > MOST_DEPTH


def main_text(html: str) -> str:
    """The text of a page's main content: no navigation, header or footer; lists and code keep their lines."""
    return str(extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False)).strip()


def extract(table: pa.Table, html: bool) -> pa.Table:
    """Turns pages into their main text, if `html`; drops documents without text (`no_text`)."""
    texts: list[str] = table["text"].to_pylist()
    reasons: list[str | None] = table["reason"].to_pylist()
    for row, text in enumerate(texts):
        if html and reasons[row] is None:
            if is_too_deep(text):
                texts[row], reasons[row] = "", "too_deep"
                continue
            texts[row] = main_text(text)
        if reasons[row] is None and not texts[row].strip():
            reasons[row] = "no_text"
    return with_columns(table, text=texts, reason=reasons)


def extract_step(html: bool) -> Step:
    return Step("extract", partial(extract, html=html))

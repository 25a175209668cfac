"""Main text of web pages: no navigation, header or footer.

The paper does not state how it read the web. resiliparse is the fastest extractor that keeps main text apart.
"""

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from arriero.data.documents import Step, with_columns
from arriero.data.sources import SourceKind


def main_text(html: str) -> str:
    """The text of a page's main content: no navigation, header or footer; lists and code keep their lines."""
    return str(extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False)).strip()


def extract(table: pa.Table) -> pa.Table:
    """Turns web documents into their main text; drops those without text (`no_text`)."""
    texts: list[str] = [
        main_text(text) if kind == SourceKind.WEB else text
        for text, kind in zip(table["text"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    reasons = [
        reason or (None if text.strip() else "no_text")
        for text, reason in zip(texts, table["reason"].to_pylist(), strict=True)
    ]
    return with_columns(table, text=texts, reason=reasons)


EXTRACT_STEP = Step("extract", extract)

"""Changes to a page's words that leave its markup as it is."""

import html
import random
import re
from collections.abc import Sequence

from resiliparse.extract.html2text import extract_plain_text

# What is no text of the page: comments, scripts, heads, navigation; and single tags.
MARKUP = re.compile(
    r"<!--.*?-->|<(script|style|head|nav|header|footer|template|svg)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE
)
WORD = re.compile(r"[^\W\d_]{2,}")
PARAGRAPH_END = re.compile(r"</p\s*>", re.IGNORECASE)


def squeezed(text: str) -> str:
    """Every run of white space one space."""
    return " ".join(text.split())


def seen_text(page: str) -> str:
    """The main text as an extractor sees it, squeezed."""
    return squeezed(extract_plain_text(page, main_content=True, alt_texts=False))


def words_of(page: str) -> list[re.Match[str]]:
    """The words of the page's text, entities (&eacute;) left out."""
    found, last = [], 0
    for gap in [*((m.start(), m.end()) for m in MARKUP.finditer(page)), (len(page), len(page))]:
        for word in WORD.finditer(page, last, gap[0]):
            before = page[max(0, word.start() - 2) : word.start()]
            if not before.endswith(("&", "&#")):
                found.append(word)
        last = gap[1]
    return found


def edited(page: str, rate: float, pool: Sequence[str], rng: random.Random) -> str:
    """The page with this share of its words replaced by one of `pool`, deleted, or followed by one of `pool`."""
    words = words_of(page)
    chosen = sorted(rng.sample(range(len(words)), round(rate * len(words))))
    parts, last = [], 0
    for number in chosen:
        word = words[number]
        kind = rng.choice(("replace", "delete", "insert"))
        new = {"replace": rng.choice(pool), "delete": "", "insert": f"{word[0]} {rng.choice(pool)}"}[kind]
        parts += [page[last : word.start()], new]
        last = word.end()
    return "".join([*parts, page[last:]])


def with_sentence(page: str, sentence: str, rng: random.Random) -> str | None:
    """The page with the sentence in a paragraph of its own or at a paragraph's end, where the extractor sees it.

    None if there is no such place among some tried.
    """
    ends = list(PARAGRAPH_END.finditer(page))
    markup = html.escape(sentence, quote=False).replace("\n", "<br>")
    for end in rng.sample(ends, min(6, len(ends))):
        if rng.random() < 0.5:
            changed = f"{page[: end.end()]}\n<p>{markup}</p>{page[end.end() :]}"
        else:
            changed = f"{page[: end.start()]} {markup}{page[end.start() :]}"
        if squeezed(sentence) in seen_text(changed):
            return changed
    return None

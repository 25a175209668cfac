"""More text of the same kind: variants of documents that are no duplicates of each other.

A variant shuffles a document's paragraphs, and the sentences of each; and replaces a share of its words by others: each
word stands for one other word of the pool in a variant (so that a variant keeps the frequencies of words, and its
repetitions), chosen anew for every variant. Words of at most three letters stay, so that stop words do.
"""

import random
import re
from collections.abc import Iterable, Iterator

SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
WORD = re.compile(r"[^\W\d_]{4,}")
SHARE = 0.5  # of the distinct longer words that are replaced


def variant(text: str, pool: list[str], rng: random.Random) -> str:
    paragraphs = [paragraph for paragraph in text.split("\n") if paragraph.strip()]
    rng.shuffle(paragraphs)
    shuffled = []
    for paragraph in paragraphs:
        sentences = SENTENCE_END.split(paragraph)
        rng.shuffle(sentences)
        shuffled.append(" ".join(sentences))
    stands_for: dict[str, str] = {}

    def other(word: re.Match[str]) -> str:
        if word[0] not in stands_for:
            stands_for[word[0]] = rng.choice(pool) if rng.random() < SHARE else word[0]
        return stands_for[word[0]]

    return WORD.sub(other, "\n".join(shuffled))


def variants(texts: list[str], size: int, seed: int) -> Iterator[str]:
    """The texts and then variants of them, round after round, until they hold `size` bytes."""
    pool = word_pool(texts)
    total, turn = 0, 0
    while True:
        for number, text in enumerate(texts):
            made = text if turn == 0 else variant(text, pool, random.Random(f"{seed}/{turn}/{number}"))
            yield made
            total += len(made.encode())
            if total >= size:
                return
        turn += 1


def word_pool(texts: Iterable[str], least: int = 20_000) -> list[str]:
    """Distinct longer words, in order of their first place; the first texts give enough of them."""
    words: dict[str, None] = {}
    for text in texts:
        words.update(dict.fromkeys(WORD.findall(text)))
        if len(words) >= least:
            break
    return sorted(words)

"""Evaluation samples made of real sentences, and copies of them with some words changed within the paper's rule.

Source: Llama 2 (arXiv:2307.09288) appendix A.6: a shared span is more than 10 tokens long and differs in at most 4 of
them, none among the first 10 nor the last.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence

SENTENCE_END = re.compile(r"(?<=[.?!]) (?=[A-Z])")
TOKEN = re.compile(r"[^\W_]+")
HEAD = 10  # tokens that are never edited
SHORTEST, LONGEST = 18, 40  # tokens of a sample


def sentences(text: str) -> Iterator[str]:
    """Sentences of squeezed text that read as prose and are long enough for a sample."""
    for sentence in SENTENCE_END.split(text):
        tokens, words = TOKEN.findall(sentence), sentence.split()
        plain = sum(word.strip("“”\"'(),;:.?!").isalpha() for word in words)
        if SHORTEST <= len(tokens) <= LONGEST and plain >= 0.85 * len(words) and sentence[-1] in ".?!":
            yield sentence


def sample(sentence: str) -> dict[str, str]:
    """The sentence as a question to be completed, and its answer."""
    words = sentence.split()
    cut = round(0.7 * len(words))
    return {"question": " ".join(words[:cut]), "answer": " ".join(words[cut:])}


def changed(sentence: str, edits: int, pool: Sequence[str], rng: random.Random) -> str:
    """The sentence with so many tokens replaced by others, none among the first HEAD nor the last."""
    tokens = list(TOKEN.finditer(sentence))
    parts, last = [], 0
    for number in sorted(rng.sample(range(HEAD, len(tokens) - 1), edits)):
        token = tokens[number]
        new = rng.choice([word for word in rng.sample(pool, 2) if word.lower() != token[0].lower()])
        parts += [sentence[last : token.start()], new]
        last = token.end()
    return "".join([*parts, sentence[last:]])


def unique(candidates: Sequence[str], texts: Iterable[str]) -> list[str]:
    """The candidates of which no 11 tokens in a row occur in the texts, and that share none with an earlier one."""
    known: dict[tuple[str, ...], set[int]] = {}
    tokens = [[token.lower() for token in TOKEN.findall(candidate)] for candidate in candidates]
    bad = set()
    for number, row in enumerate(tokens):
        for start in range(len(row) - HEAD):
            owners = known.setdefault(tuple(row[start : start + HEAD + 1]), set())
            if owners - {number}:
                bad.add(number)
            owners.add(number)
    vocabulary = {token for row in tokens for token in row}
    for text in texts:
        run: list[str] = []  # the last tokens, as long as all are known words of the candidates
        for token in TOKEN.findall(text.lower()):
            if token not in vocabulary:
                run.clear()
                continue
            run.append(token)
            if len(run) > HEAD:
                bad |= known.get(tuple(run[-HEAD - 1 :]), set())
    return [candidate for number, candidate in enumerate(candidates) if number not in bad]

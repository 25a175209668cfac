"""Factual recall: does a model know which term a definition belongs to?

Llama 2 (arXiv:2307.09288, section 2.1) up-samples "the most factual sources in an effort to increase knowledge and
dampen hallucinations" and shows no measure of it. Here a fact is a paragraph that names a term and then defines it. It
is recalled if the definition has a higher probability after its own term than after each of some others'. To compare
several definitions after one term would reward short and common ones (Holtzman et al., arXiv:2104.08315); one sentence
after several terms needs no correction. A model that does not look at the term is right by chance. Names and wording
give some definitions away: how many, facts tell that the model has never read.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arriero.generation import response_logprobs
from arriero.model import LoadedModel
from arriero.tokenizer import Tokenizer

TERM = 100  # characters of a term, at most
ANSWER = (20, 240)  # characters of a definition
WORDS = 5  # of a definition, at least: with fewer it may be said of anything
BEGINNING = "\n\n"  # what precedes a paragraph

_PARAGRAPH = re.compile(r"\n\s*\n")
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"\s*\S.*?(?:[.!?](?=\s|$)|$)", re.DOTALL)
# "ls - list directory contents", "nadir: the point below the observer".
_MARKED = re.compile(r"\S[^\n:.]{0,59}?(?::| --?| [–—])(?= +\S)")
# "Thimphu is the capital of Bhutan.", which an article begins with; "This is ..." begins anything.
_LEAD = re.compile(
    r"(?!(?:This|That|These|Those|It|There|Here|If|When|What|We|You)\b)[A-Z][^\n:.]{1,78}? (?:is|are|was|were)\b"
)


@dataclass(frozen=True)
class Fact:
    """A term and its definition, as they follow each other in a text; `module` is what the text documents."""

    module: str
    term: str
    answer: str

    @property
    def bytes(self) -> int:
        return len(self.answer.encode())


@dataclass(frozen=True)
class Recalled:
    """Whether the definition is likeliest after its own term, and -log2 p(definition | its term)."""

    hit: bool
    bits: float


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """(term, definition) of each paragraph that is one: an entry with an indented text, or a sentence that defines."""
    for number, paragraph in enumerate(_PARAGRAPH.split(text)):
        paragraph = paragraph.strip("\n")
        first, _, rest = paragraph.partition("\n")
        entry = first.strip() and rest and _indent(rest) > _indent(first) and first[-1] not in ".,;:!?"
        found = None if entry else _MARKED.match(paragraph) or (_LEAD.match(paragraph) if number < 2 else None)
        end = len(first) if entry else found.end() if found else 0
        sentence = _SENTENCE.match(paragraph, end)
        if not 0 < end <= TERM or sentence is None:
            continue
        term, answer = paragraph[:end].lstrip(), sentence[0]
        if ANSWER[0] <= len(answer.strip()) <= ANSWER[1] and len(_words(answer)) >= WORDS:
            yield term, answer


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def occurrences(answers: Sequence[str], texts: Iterable[str]) -> list[int]:
    """How often the words of each definition stand in the texts, one after the other, whatever lies between them."""
    beginning: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for words in {_words(answer) for answer in answers}:
        beginning.setdefault(words[:WORDS], []).append(words)
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        read = _words(text)
        for place, start in enumerate(zip(*(read[shift:] for shift in range(WORDS)), strict=False)):
            for words in beginning.get(start, ()):
                counts[words] += read[place : place + len(words)] == words
    return [counts[_words(answer)] for answer in answers]


def facts_in(documents: Iterable[tuple[str, str]]) -> list[Fact]:
    """The facts of (module, text) documents whose term no other fact there has."""
    found = [Fact(module, term, answer) for module, text in documents for term, answer in definitions(text)]
    terms = Counter(fact.term for fact in found)
    return [fact for fact in found if terms[fact.term] == 1]


def draw(facts: Sequence[Fact], count: int, seed: int) -> list[Fact]:
    """At most `count` of the facts, drawn by the seed."""
    ordered = sorted(facts, key=lambda fact: (fact.module, fact.term))
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))[:count]]


def encoded(fact: Fact, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the model is given, and the definition."""
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    return [start, *_ids(BEGINNING + fact.term, tokenizer)], _ids(fact.answer, tokenizer)


def _ids(text: str, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(text, continued=True)


def recalled(loaded: LoadedModel, facts: Sequence[Fact], distractors: int) -> list[Recalled]:
    """Each fact's definition after its own term and after those of the next `distractors` facts in the list.

    In a list in random order that is a random choice, in which each term is wrong as often as any other. Raises
    ValueError unless there are more facts than distractors.
    """
    if not 1 <= distractors < len(facts):
        raise ValueError(f"{distractors} distractors need at least {distractors + 1} facts, got {len(facts)}")
    both = [encoded(fact, loaded.tokenizer) for fact in facts]
    steps = range(distractors + 1)
    prompts = [both[(index + step) % len(facts)][0] for index in range(len(facts)) for step in steps]
    answers = [answer for _, answer in both for _ in steps]
    found = iter(float(logprobs_T.double().sum()) for logprobs_T in response_logprobs(loaded.model, prompts, answers))
    rows = [[next(found) for _ in steps] for _ in facts]
    return [Recalled(own > max(others), -own / math.log(2)) for own, *others in rows]

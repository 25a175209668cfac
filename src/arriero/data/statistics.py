"""What is in a corpus: sizes, languages, pronouns, words for groups of people, and toxicity of a sample.

Source: Llama 2 (arXiv:2307.09288) section 4.1 and table 9. Its own figures, to compare with: 28.45% of documents have
She pronouns and 50.73% He pronouns; 89.70% are English, 8.38% of unknown language; about 0.2% of a sample of 10% have
a toxicity of at least 0.5, the mean over a document's lines, by a classifier tuned on ToxiGen. Pronouns, terms and
toxicity are looked for in English documents only. It is not clear whether the paper's shares of pronouns are of all
documents or of those with a gendered one, so both are given; its terms are HolisticBias's, of which the lists here are
a compact choice of our own.

All counts are additive: `Statistics` of batches, files and workers are merged in any order.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2
from numpy.typing import NDArray

from arriero.config import config, setting
from arriero.data.sources import SourceKind, seeded_fraction

LISTS = Path(__file__).parent / "lists"
ENGLISH = "en"
# Table 9a. Third person is She, He, They and It; gendered are, as there, She, He and They.
PRONOUNS = {
    "she": ("she", "her", "hers", "herself"),
    "he": ("he", "him", "his", "himself"),
    "they": ("they", "them", "their", "theirs", "theirself", "themself", "themselves"),
    "it": ("it", "its", "itself"),
    "first_person": ("i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourself", "ourselves"),
    "second_person": ("you", "your", "yours", "yourself", "yourselves"),
}
UNIONS = {
    "gendered": ("she", "he", "they"),
    "third_person": ("she", "he", "they", "it"),
    "any": tuple(PRONOUNS),
}
WHITE_SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
TOXIC = 0.5
MILLION = 1_000_000  # scores are added up as whole millionths: a sum of floats would depend on the order

# Scores in [0, 1] of some texts: how likely each is toxic.
Scorer = Callable[[pa.Array], NDArray[np.float64]]


@config
class StatisticsConfig:
    """The sample whose toxicity is measured."""

    toxicity_share: float = setting(0.1, "share of the English documents that are scored (paper: 0.1)", ge=0, le=1)
    seed: int = setting(0, "chooses the sample, by the documents' ids", ge=0)


@dataclass(frozen=True)
class Statistics:
    """Counts by path, such as ("sources", "web", "bytes")."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def merge(self, other: "Statistics") -> "Statistics":
        return Statistics(self.counts + other.counts)

    def to_json(self) -> dict[str, Any]:
        """Nested by path, sorted."""
        tree: dict[str, Any] = {}
        for path, count in sorted(self.counts.items()):
            node = tree
            for name in path[:-1]:
                node = node.setdefault(name, {})
            node[path[-1]] = count
        return tree

    @staticmethod
    def from_json(tree: dict[str, Any]) -> "Statistics":
        return Statistics(Counter(dict(_leaves(tree))))


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, (*path, name))
    else:
        yield path, node


def _any_of(words: tuple[str, ...] | list[str]) -> str:
    """A pattern for any of the words as a whole word, in small or capital letters."""
    # The longer first: "african american" is not "african".
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return rf"(?i)\b(?:{'|'.join(map(re2.escape, ordered))})\b"


DESCRIPTORS: dict[str, list[str]] = json.loads((LISTS / "descriptors.json").read_text())
AXES = {term: axis for axis, terms in DESCRIPTORS.items() for term in terms}
_TERMS = re2.compile(_any_of(list(AXES)).encode())
_OPTIONS = re2.Options()
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 64 << 20
_GROUPS = re2.Set.SearchSet(_OPTIONS)
for _words in PRONOUNS.values():
    _GROUPS.Add(_any_of(_words).encode())
_GROUPS.Compile()


def word_list_scorer(path: Path = LISTS / "toxic_words.txt") -> Scorer:
    """1 for a text that holds one of the listed words, else 0: a coarse stand-in for a classifier.

    It knows neither context nor insult without such a word; its figures compare with its own only.
    """
    pattern = _any_of(path.read_text().split())
    return lambda texts: np.asarray(pc.match_substring_regex(texts, pattern), dtype=np.float64)


def count(table: pa.Table, cfg: StatisticsConfig, scorer: Scorer) -> Statistics:
    """The statistics of a batch of documents."""
    counts: Counter[tuple[str, ...]] = Counter()
    _count_sizes(table, counts)
    prose = table.filter(pc.not_equal(table["kind"], SourceKind.CODE))
    for language, documents in _value_counts(prose["language"]):
        counts["languages", language] += documents
    english = prose.filter(pc.equal(prose["language"], ENGLISH))
    if len(english):
        _count_words(english["text"], counts)
        _count_toxicity(english, cfg, scorer, counts)
    return Statistics(counts)


def _value_counts(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [(entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist()]


def _count_sizes(table: pa.Table, counts: Counter[tuple[str, ...]]) -> None:
    texts = table["text"].combine_chunks()
    sources = table["source"].combine_chunks().dictionary_encode()
    sizes = {
        "documents": np.ones(len(texts), np.int64),
        "bytes": np.asarray(pc.binary_length(texts)),
        "words": words_of(texts),
        # As an editor numbers them: a line end at the end of the text begins no further line.
        "lines": np.asarray(pc.add(pc.count_substring(texts, "\n"), _unfinished(texts))),
    }
    for code, source in enumerate(sources.dictionary.to_pylist()):
        mine = np.asarray(sources.indices) == code
        for name, values in sizes.items():
            counts["sources", source, name] += int(values[mine].sum())


def _unfinished(texts: pa.Array) -> pa.Array:
    """1 for a text that is not empty and whose last line has no end, else 0."""
    return pc.and_not(pc.greater(pc.binary_length(texts), 0), pc.ends_with(texts, "\n")).cast(pa.int32())


def words_of(texts: pa.Array) -> NDArray[np.int64]:
    """How many runs of other than ASCII white space each text holds."""
    if not len(texts):
        return np.zeros(0, np.int64)
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset)
    data = texts.buffers()[2]
    blank = WHITE_SPACE[np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]] if data else np.zeros(0, bool)
    begins = ~blank
    begins[1:] &= blank[:-1]
    places = offsets - offsets[0]
    full = places[:-1][places[1:] > places[:-1]]
    begins[full] = ~blank[full]  # what stands before a text's first byte is another text
    words: NDArray[np.int64] = np.diff(np.searchsorted(np.flatnonzero(begins), places))
    return words


def _count_words(texts: pa.ChunkedArray, counts: Counter[tuple[str, ...]]) -> None:
    """Documents with each group of pronouns and with each descriptor."""
    names = list(PRONOUNS)
    for text in texts.cast(pa.large_binary()):
        data = text.as_py()
        groups = {names[number] for number in _GROUPS.Match(data) or ()}
        groups |= {name for name, members in UNIONS.items() if groups.intersection(members)}
        terms = {found.lower().decode() for found in _TERMS.findall(data)}
        counts.update(("pronouns", group) for group in groups)
        counts.update(("terms", AXES[term], term) for term in terms)
        counts.update(("axes", axis) for axis in {AXES[term] for term in terms})
    counts["english_documents",] += len(texts)


def _count_toxicity(english: pa.Table, cfg: StatisticsConfig, scorer: Scorer, counts: Counter[tuple[str, ...]]) -> None:
    """Each sampled document's score is the mean of its lines' scores."""
    chosen = [seeded_fraction(cfg.seed, id) < cfg.toxicity_share for id in english["id"].to_pylist()]
    texts = english["text"].combine_chunks().filter(pa.array(chosen, pa.bool_()))
    lists = pc.split_pattern(texts, "\n")
    full = pc.not_equal(pc.utf8_trim_whitespace(lists.flatten()), "")
    owners = np.asarray(pc.list_parent_indices(lists).filter(full), dtype=np.int64)
    if not len(owners):
        return
    scores = np.bincount(owners, scorer(lists.flatten().filter(full)), len(texts))
    lines = np.bincount(owners, minlength=len(texts))
    means = scores[lines > 0] / lines[lines > 0]
    counts["toxicity", "documents"] += len(means)
    counts["toxicity", "toxic"] += int((means >= TOXIC).sum())
    counts["toxicity", "score_millionths"] += int(np.rint(means * MILLION).sum())

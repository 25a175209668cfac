"""Quality rules: cheap counts that tell text from lists, tables, error pages and generated files.

The paper does not state its filters. Web rules and thresholds are those of Gopher (arXiv:2112.11446, appendix A.1.1)
and C4 (arXiv:1910.10683); code rules those of StarCoder (arXiv:2305.06161, section 3.2). Reference text (short by
nature: a docstring) and a user's own files have a lenient table. Counted per batch, on Arrow and numpy columns.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.documents import Step, with_columns
from arriero.data.sources import SourceKind

Counts = NDArray[np.float64]
Mask = NDArray[np.bool_]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# Gopher: the most frequent n-gram's share of characters, and the share inside repeated n-grams.
TOP_NGRAM_LIMITS = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAM_LIMITS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication is a bijection of 64-bit words


class _Parts:
    """The pieces (words or lines) of D documents, flat: P pieces, each with its document."""

    def __init__(self, lists: pa.Array, keep: Callable[[pa.Array], pa.Array]) -> None:
        flat = lists.flatten()
        kept = keep(flat)
        self.documents = len(lists)
        self.owner_P = np.asarray(pc.list_parent_indices(lists).filter(kept), dtype=np.int64)
        encoded = flat.filter(kept).dictionary_encode()
        self.vocabulary = encoded.dictionary
        self.code_P = np.asarray(encoded.indices, dtype=np.int64)
        self.count_D = self.per_document(np.ones(len(self.code_P)))
        self.length_P = np.asarray(pc.utf8_length(self.vocabulary), dtype=np.float64)[self.code_P]
        self.characters_D = self.per_document(self.length_P)

    def per_document(self, values_P: Counts) -> Counts:
        """Sums over each document's pieces."""
        return np.bincount(self.owner_P, values_P, self.documents).astype(np.float64)

    def share(self, matches: pa.Array) -> Counts:
        """Share of each document's pieces whose vocabulary entry matches; 0 without pieces."""
        hits_P = np.asarray(matches, dtype=np.float64)[self.code_P]
        return self.per_document(hits_P) / np.maximum(self.count_D, 1)


class Features:
    """What the rules count, per document; D = documents. Computed when first asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.text = table["text"].combine_chunks()
        self.english: Mask = np.asarray(pc.equal(table["language"], "en"), dtype=bool)

    @cached_property
    def words(self) -> _Parts:
        return _Parts(pc.utf8_split_whitespace(self.text), lambda flat: pc.not_equal(flat, ""))

    @cached_property
    def lines(self) -> _Parts:
        return _Parts(pc.split_pattern(self.text, "\n"), lambda flat: pc.not_equal(pc.utf8_trim_whitespace(flat), ""))

    @property
    def mean_word_length(self) -> Counts:
        return self.words.characters_D / np.maximum(self.words.count_D, 1)

    def symbols_per_word(self, *symbols: str) -> Counts:
        counts = [np.asarray(pc.count_substring(self.text, symbol), dtype=np.float64) for symbol in symbols]
        most_D: Counts = np.max(counts, axis=0)
        return most_D / np.maximum(self.words.count_D, 1)

    @property
    def alphabetic_words(self) -> Counts:
        return self.words.share(pc.match_substring_regex(self.words.vocabulary, r"\p{L}"))

    @property
    def stop_words(self) -> Counts:
        """How many occurrences of STOP_WORDS each document holds."""
        found = pc.is_in(pc.utf8_lower(self.words.vocabulary), pa.array(STOP_WORDS, self.words.vocabulary.type))
        return self.words.share(found) * self.words.count_D

    @property
    def bullet_lines(self) -> Counts:
        return self.lines.share(pc.match_substring_regex(self.lines.vocabulary, r"^\s*[•‣*\-]\s"))

    @property
    def ellipsis_lines(self) -> Counts:
        return self.lines.share(pc.match_substring_regex(self.lines.vocabulary, r"(\.\.\.|…)\s*$"))

    def contains(self, phrase: str) -> Mask:
        return np.asarray(pc.match_substring(self.text, phrase, ignore_case=True), dtype=bool)

    @cached_property
    def repeated_lines(self) -> tuple[Counts, Counts]:
        """(share of lines, share of lines' characters) that repeat an earlier line of the document."""
        lines = self.lines
        key_P = lines.owner_P * np.int64(len(lines.vocabulary)) + lines.code_P
        again_P = np.ones(len(key_P))
        again_P[np.unique(key_P, return_index=True)[1]] = 0.0
        return (
            lines.per_document(again_P) / np.maximum(lines.count_D, 1),
            lines.per_document(again_P * lines.length_P) / np.maximum(lines.characters_D, 1),
        )

    def _ngrams(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(start, group, first n-gram of each group) of the word n-grams that lie within one document."""
        words = self.words
        size = len(words.code_P) - n + 1
        if size <= 0:
            none = np.zeros(0, np.int64)
            return none, none, none
        starts = np.flatnonzero(words.owner_P[:size] == words.owner_P[n - 1 :])
        mixed_P = words.code_P.astype(np.uint64) * MULTIPLIER
        key = words.owner_P[starts].astype(np.uint64)
        for offset in range(n):
            key = (key ^ (key >> np.uint64(29)) ^ mixed_P[starts + offset]) * MULTIPLIER
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        return starts, group, first

    def top_ngram_share(self, n: int) -> Counts:
        """Share of characters in the document's most frequent n-gram, if it occurs at least twice."""
        words = self.words
        starts, group, _ = self._ngrams(n)
        count = np.bincount(group)
        reach = np.concatenate([[0.0], np.cumsum(words.length_P)])
        characters = np.where(count[group] > 1, count[group] * (reach[starts + n] - reach[starts]), 0.0)
        most_D = np.zeros(words.documents)
        np.maximum.at(most_D, words.owner_P[starts], characters)
        return most_D / np.maximum(words.characters_D, 1)

    def repeated_ngram_share(self, n: int) -> Counts:
        """Share of characters that lie in n-grams which occurred before, each character counted once."""
        words = self.words
        starts, _, first = self._ngrams(n)
        repeated = np.delete(starts, first)
        edges = np.zeros(len(words.code_P) + 1)
        edges[repeated] += 1
        np.subtract.at(edges, repeated + n, 1)
        inside_P = np.cumsum(edges)[:-1] > 0
        return words.per_document(words.length_P * inside_P) / np.maximum(words.characters_D, 1)

    @property
    def alphanumeric(self) -> Counts:
        """Share of alphanumeric characters among those that are not white space."""
        words = self.words
        letters = np.asarray(pc.utf8_length(pc.replace_substring_regex(words.vocabulary, r"[^\p{L}\p{N}]", "")))
        return words.per_document(letters.astype(np.float64)[words.code_P]) / np.maximum(words.characters_D, 1)

    @property
    def longest_line(self) -> Counts:
        longest_D = np.zeros(self.lines.documents)
        np.maximum.at(longest_D, self.lines.owner_P, self.lines.length_P)
        return longest_D

    @property
    def mean_line_length(self) -> Counts:
        return self.lines.characters_D / np.maximum(self.lines.count_D, 1)


Rule = tuple[str, Callable[[Features], Mask]]

WEB_RULES: tuple[Rule, ...] = (
    ("too_short", lambda f: f.words.count_D < 50),
    ("too_long", lambda f: f.words.count_D > 100_000),
    ("word_length", lambda f: (f.mean_word_length < 3) | (f.mean_word_length > 10)),
    ("symbols", lambda f: np.maximum(f.symbols_per_word("#"), f.symbols_per_word("...", "…")) > 0.1),
    ("bullet_lines", lambda f: f.bullet_lines > 0.9),
    ("ellipsis_lines", lambda f: f.ellipsis_lines > 0.3),
    ("few_alphabetic_words", lambda f: f.alphabetic_words < 0.8),
    ("few_stop_words", lambda f: f.english & (f.stop_words < 2)),
    ("lorem_ipsum", lambda f: f.contains("lorem ipsum")),
    ("javascript_notice", lambda f: f.contains("enable javascript") & (f.words.count_D < 200)),
    ("repeated_lines", lambda f: (f.repeated_lines[0] > 0.3) | (f.repeated_lines[1] > 0.2)),
    *((f"top_{n}gram", lambda f, n=n, top=top: f.top_ngram_share(n) > top) for n, top in TOP_NGRAM_LIMITS.items()),
    *(
        (f"repeated_{n}grams", lambda f, n=n, most=most: f.repeated_ngram_share(n) > most)
        for n, most in REPEATED_NGRAM_LIMITS.items()
    ),
)
REFERENCE_RULES: tuple[Rule, ...] = (
    ("too_short", lambda f: f.words.count_D < 5),
    ("few_alphabetic_words", lambda f: f.alphabetic_words < 0.4),
    ("repeated_lines", lambda f: f.repeated_lines[1] > 0.5),
)
CODE_RULES: tuple[Rule, ...] = (
    ("too_short", lambda f: f.words.count_D < 20),
    ("long_lines", lambda f: (f.longest_line > 1000) | (f.mean_line_length > 100)),
    ("few_alphanumeric", lambda f: f.alphanumeric < 0.25),
)
RULES = {
    SourceKind.WEB: WEB_RULES,
    SourceKind.REFERENCE: REFERENCE_RULES,
    SourceKind.TEXT: REFERENCE_RULES,
    SourceKind.CODE: CODE_RULES,
}


def failed_rule(table: pa.Table, rules: tuple[Rule, ...]) -> list[str | None]:
    """For each document the name of the first rule that it fails, or None."""
    features = Features(table)
    reasons = np.full(table.num_rows, None, dtype=object)
    for name, fails in rules:
        reasons[fails(features) & (reasons == None)] = name  # noqa: E711 - elementwise
    return list(reasons)


def filter_quality(table: pa.Table) -> pa.Table:
    """Drops documents that fail a rule of their kind, with the rule's name as the reason."""
    reasons = np.full(table.num_rows, None, dtype=object)
    kinds = np.asarray(table["kind"].to_pylist(), dtype=object)
    for kind, rules in RULES.items():
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            reasons[rows] = failed_rule(table.take(rows), rules)
    return with_columns(table, reason=list(reasons))


QUALITY_STEP = Step("quality", filter_quality)

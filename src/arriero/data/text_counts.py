"""What the quality rules count, for a batch of documents at once, on Arrow and numpy columns.

Words are what white space parts. Where Gopher's rules leave room, they are counted as datatrove counts them, whose
results the published limits are used with: shares are of all characters of the text, white space too.
Shapes: D documents; P pieces (words, lines, paragraphs) of all documents, one after the other; C candidates: places of
n-grams that may occur twice.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arriero.data.hashing import ODD

Counts = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# Ends of sentences in the scripts of most of the web; datatrove's list has those of all scripts. No quotes, as there.
TERMINAL_PUNCTUATION = tuple(".?!。？！．｡؟۔।॥։።။។‼‽⁇⁈⁉")
BULLETS = tuple(bullet + blank for bullet in "•‣*-" for blank in " \t\u00a0")
_FOLD = np.uint64(29)


class Parts:
    """The pieces (words, lines or paragraphs) of D documents, flat: P pieces, each with its document."""

    def __init__(self, lists: pa.Array, keep: Callable[[pa.Array], pa.Array]) -> None:
        flat = lists.flatten()
        kept = keep(flat)
        self.documents = len(lists)
        self.owner_P: Ints = np.asarray(pc.list_parent_indices(lists).filter(kept), dtype=np.int64)
        encoded = flat.filter(kept).dictionary_encode()
        self.vocabulary = encoded.dictionary
        self.code_P = np.asarray(encoded.indices)
        self.count_D = self.per_document(np.ones(len(self.code_P)))
        self.length_P = np.asarray(pc.utf8_length(self.vocabulary), dtype=np.float64)[self.code_P]

    def per_document(self, values_P: Counts) -> Counts:
        """Sums over each document's pieces."""
        return np.bincount(self.owner_P, values_P, self.documents).astype(np.float64)

    def matching(self, matches: pa.Array) -> Counts:
        """How many of each document's pieces have a vocabulary entry that matches, or the sum of what is counted."""
        value_V = np.asarray(matches, dtype=np.float64)
        hits = np.flatnonzero((value_V != 0)[self.code_P])
        if len(hits) > len(self.code_P) // 4:
            return self.per_document(value_V[self.code_P])
        return np.bincount(self.owner_P[hits], value_V[self.code_P[hits]], self.documents).astype(np.float64)

    def share(self, matches: pa.Array) -> Counts:
        """Share of each document's pieces whose vocabulary entry matches; 0 without pieces."""
        return self.matching(matches) / np.maximum(self.count_D, 1)

    @cached_property
    def characters(self) -> Counts:
        return self.per_document(self.length_P)

    @cached_property
    def repeated(self) -> Counts:
        """1 for each piece that occurred before in its document, else 0."""
        key_P = self.owner_P * np.int64(len(self.vocabulary)) + self.code_P
        again_P = np.ones(len(key_P))
        again_P[np.unique(key_P, return_index=True)[1]] = 0.0
        return again_P

    @property
    def repeated_share(self) -> Counts:
        return self.per_document(self.repeated) / np.maximum(self.count_D, 1)

    @property
    def repeated_characters(self) -> Counts:
        return self.per_document(self.repeated * self.length_P)


class RepeatedNgrams:
    """Shares of characters in repeated word n-grams, for n that grows from call to call.

    Most n-grams occur once. Counting them in a table by some bits of their hash finds the candidates, all that may
    occur twice and few others; an n-gram that occurs twice begins with an (n-1)-gram that does, so that each n looks
    at less text. What the candidates amount to bounds a document's share from above: only where the bound passes the
    limit are the n-grams sorted or followed one by one.
    """

    def __init__(self, words: Parts, among_D: Mask, characters_D: Counts) -> None:
        """N-grams of the documents `among_D`, whose texts have so many characters."""
        among_P = among_D[words.owner_P]
        owner_P = words.owner_P[among_P]
        self.characters_D = characters_D
        # After each document a border that equals no other: an n-gram over it occurs once.
        borders = np.arange(len(among_D))
        border = np.cumsum(np.bincount(owner_P, minlength=len(among_D))) + borders
        place_P = np.arange(len(owner_P)) + owner_P
        size = len(owner_P) + len(borders)
        self.owner_P, code_P, length_P = np.empty(size, np.int64), np.empty(size, np.uint64), np.zeros(size)
        self.owner_P[place_P], self.owner_P[border] = owner_P, borders
        code_P[place_P], code_P[border] = words.code_P[among_P], len(words.vocabulary) + borders
        length_P[place_P] = words.length_P[among_P]
        self.reach = np.concatenate([[0.0], np.cumsum(length_P)])  # characters before each word
        self._mixed_P = code_P * ODD
        self.n = 1
        self.start_C: Ints = np.arange(size)
        self._key_C = self._mixed(self.owner_P.astype(np.uint64), self._mixed_P)
        self._count_C: Ints = np.zeros(size, np.int64)

    @staticmethod
    def _mixed(key: NDArray[np.uint64], word: NDArray[np.uint64]) -> NDArray[np.uint64]:
        mixed: NDArray[np.uint64] = (key ^ (key >> _FOLD) ^ word) * ODD
        return mixed

    def _grow(self, n: int) -> None:
        assert n >= self.n, "n must not shrink"
        while self.n < n:
            # The last ones would reach past the last border.
            inside = int(np.searchsorted(self.start_C, len(self.owner_P) - self.n))
            start = self.start_C[:inside]
            key = self._mixed(self._key_C[:inside], self._mixed_P[start + self.n])
            bits = max(8, (2 * len(key)).bit_length())
            bucket = (key >> np.uint64(64 - bits)).view(np.int64)
            count = np.bincount(bucket, minlength=1)[bucket] if inside else bucket
            twice = np.flatnonzero(count > 1)
            self.start_C, self._key_C, self._count_C = start[twice], key[twice], count[twice]
            self.n += 1

    def _characters(self, start: Ints, end: Ints) -> Counts:
        characters: Counts = self.reach[end] - self.reach[start]
        return characters

    def _of(self, suspects_D: Mask) -> tuple[Ints, NDArray[np.uint64]]:
        chosen = suspects_D[self.owner_P[self.start_C]]
        return self.start_C[chosen], self._key_C[chosen]

    def top_share(self, n: int, limit: float) -> Counts:
        """Share of characters in the most frequent n-gram (the first of equals), if it occurs at least twice.

        Exact where it is above `limit`; elsewhere some value up to the limit.
        """
        self._grow(n)
        owner_C = self.owner_P[self.start_C]
        most_C = self._count_C * (self._characters(self.start_C, self.start_C + n) + n - 1)
        suspects_D = np.zeros(len(self.characters_D), dtype=bool)
        suspects_D[owner_C[most_C > limit * self.characters_D[owner_C]]] = True
        start_S, key_S = self._of(suspects_D)
        share_D = np.zeros(len(self.characters_D))
        if len(key_S):
            _, first, count = np.unique(key_S, return_index=True, return_counts=True)
            start = start_S[first]
            order = np.lexsort((start, -count, self.owner_P[start]))
            owners, leaders = np.unique(self.owner_P[start[order]], return_index=True)
            start, count = start[order][leaders], count[order][leaders]
            characters = np.where(count > 1, count * (self._characters(start, start + n) + n - 1), 0.0)
            share_D[owners] = characters / self.characters_D[owners]
        return share_D

    def repeated_share(self, n: int, limit: float) -> Counts:
        """Share of characters in n-grams that occurred before; one that is counted is stepped over as a whole.

        Exact where it is above `limit`; elsewhere some value up to the limit.
        """
        self._grow(n)
        # The words that candidates cover: each up to where the next begins.
        covered_C = self._characters(self.start_C, np.minimum(self.start_C + n, np.append(self.start_C[1:], 1 << 62)))
        bound_D = np.bincount(self.owner_P[self.start_C], covered_C, len(self.characters_D))
        start_S, key_S = self._of(bound_D > limit * self.characters_D)
        repeated = np.array(_repeated_starts(start_S.tolist(), key_S.tolist(), n), dtype=np.int64)
        characters = self._characters(repeated, repeated + n)
        shares: Counts = np.bincount(self.owner_P[repeated], characters, len(bound_D)) / np.maximum(
            self.characters_D, 1
        )
        return shares


def _repeated_starts(starts: list[int], keys: list[int], n: int) -> list[int]:
    seen: set[int] = set()
    found, free = [], 0
    for start, key in zip(starts, keys, strict=True):
        if start < free:
            continue
        if key in seen:
            found.append(start)
            free = start + n
        else:
            seen.add(key)
    return found


class TextCounts:
    """The counts of a batch of texts, each computed when first asked for."""

    def __init__(self, texts: pa.Array) -> None:
        self.text = texts
        self.characters_D: Counts = np.asarray(pc.utf8_length(texts), dtype=np.float64)
        self._ngrams: RepeatedNgrams | None = None

    def ngrams(self, among_D: Mask) -> RepeatedNgrams:
        """N-grams of the documents `among_D`, which counts at the first call."""
        if self._ngrams is None:
            self._ngrams = RepeatedNgrams(self.words, among_D, self.characters_D)
        return self._ngrams

    @cached_property
    def words(self) -> Parts:
        return Parts(pc.utf8_split_whitespace(self.text), lambda flat: pc.not_equal(flat, ""))

    @cached_property
    def _lines(self) -> pa.Array:
        return pc.split_pattern(self.text, "\n")

    @cached_property
    def lines(self) -> Parts:
        """Lines that are not empty."""
        return Parts(self._lines, lambda flat: pc.not_equal(pc.utf8_trim_whitespace(flat), ""))

    @cached_property
    def paragraphs(self) -> Parts:
        """Pieces between empty lines."""
        lists = pc.split_pattern(self.text, "\n\n")
        trimmed = pc.utf8_trim(lists.flatten(), "\n")  # of three line ends in a row, one is left over
        return Parts(pa.LargeListArray.from_arrays(_offsets(lists), trimmed), lambda flat: pc.not_equal(flat, ""))

    def _per_word(self, counts_D: Counts) -> Counts:
        return counts_D / np.maximum(self.words.count_D, 1)

    def occurrences(self, pattern: str) -> Counts:
        """How often each text holds the pattern, in small letters or large."""
        return np.asarray(pc.count_substring(self.text, pattern, ignore_case=True), dtype=np.float64)

    @cached_property
    def line_ends(self) -> Counts:
        return np.asarray(pc.list_value_length(self._lines), dtype=np.float64) - 1

    @cached_property
    def real_words(self) -> Counts:
        """How many words hold a letter or a digit."""
        return self.words.matching(self._real)

    @cached_property
    def _real(self) -> pa.Array:
        return pc.match_substring_regex(self.words.vocabulary, r"[\p{L}\p{N}]")

    @cached_property
    def mean_word_length(self) -> Counts:
        """Of words that hold a letter or a digit."""
        real_P = np.asarray(self._real, dtype=np.float64)[self.words.code_P]
        return self.words.per_document(real_P * self.words.length_P) / np.maximum(self.real_words, 1)

    @property
    def symbols_per_word(self) -> Counts:
        """Hashes or ellipses, whichever are more, per word."""
        hashes, dots, ellipses = (
            self.words.matching(pc.count_substring(self.words.vocabulary, symbol)) for symbol in ("#", "...", "…")
        )
        return self._per_word(np.maximum(hashes, dots + ellipses))

    @property
    def alphabetic_words(self) -> Counts:
        return self.words.share(pc.match_substring_regex(self.words.vocabulary, r"\p{L}"))

    @property
    def stop_words(self) -> Counts:
        """How many of STOP_WORDS each document holds."""
        word_V = pc.index_in(pc.utf8_lower(self.words.vocabulary), pa.array(STOP_WORDS, self.words.vocabulary.type))
        word_P = np.asarray(pc.fill_null(word_V, -1), dtype=np.int64)[self.words.code_P]
        found = word_P >= 0
        cell = self.words.owner_P[found] * len(STOP_WORDS) + word_P[found]
        held = np.bincount(cell, minlength=self.words.documents * len(STOP_WORDS)) > 0
        held_D: Counts = held.reshape(-1, len(STOP_WORDS)).sum(axis=1).astype(np.float64)
        return held_D

    @property
    def bullet_lines(self) -> Counts:
        first = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(self.lines.vocabulary), 0, 2)
        return self.lines.share(pc.is_in(first, pa.array(BULLETS, first.type)))

    @cached_property
    def _lines_trimmed(self) -> pa.Array:
        return pc.utf8_rtrim_whitespace(self.lines.vocabulary)

    @property
    def ellipsis_lines(self) -> Counts:
        ends = self._lines_trimmed
        return self.lines.share(pc.or_(pc.ends_with(ends, "..."), pc.ends_with(ends, "…")))

    @property
    def punctuated_lines(self) -> Counts:
        last = pc.utf8_slice_codeunits(self._lines_trimmed, -1)
        return self.lines.share(pc.is_in(last, pa.array(TERMINAL_PUNCTUATION, last.type)))

    def short_lines(self, characters: int) -> Counts:
        """Share of lines of at most so many characters."""
        short_P = (self.lines.length_P <= characters).astype(np.float64)
        shares: Counts = self.lines.per_document(short_P) / np.maximum(self.lines.count_D, 1)
        return shares

    def of_characters(self, characters_D: Counts) -> Counts:
        return characters_D / np.maximum(self.characters_D, 1)

    @property
    def line_ends_per_word(self) -> Counts:
        return self._per_word(self.line_ends)

    @property
    def alphanumeric(self) -> Counts:
        """Share of alphanumeric characters among those that are not white space."""
        words = self.words
        letters = np.asarray(pc.utf8_length(pc.replace_substring_regex(words.vocabulary, r"[^\p{L}\p{N}]", "")))
        return words.per_document(letters.astype(np.float64)[words.code_P]) / np.maximum(words.characters, 1)

    @property
    def longest_line(self) -> Counts:
        longest_D = np.zeros(self.lines.documents)
        np.maximum.at(longest_D, self.lines.owner_P, self.lines.length_P)
        return longest_D

    @property
    def mean_line_length(self) -> Counts:
        return self.lines.characters / np.maximum(self.lines.count_D, 1)

    @property
    def sentences(self) -> Counts:
        """Sentences: one for each line, and one more after each stop, with quotes, that white space follows."""
        inner = pc.count_substring_regex(self._lines_trimmed, r"[.!?。？！][\"'”’)\]]*\s")
        return self.lines.count_D + self.lines.per_document(np.asarray(inner, dtype=np.float64)[self.lines.code_P])


def _offsets(lists: pa.Array) -> pa.Array:
    """Where each list begins in `lists.flatten()`, and the end."""
    return pa.array(np.concatenate([[0], np.cumsum(np.asarray(pc.list_value_length(lists), dtype=np.int64))]))

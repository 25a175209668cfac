"""Quality rules against datatrove's, one by one, over real documents: help pages and packages' descriptions.

Given the same words (datatrove's own tokenizer parts punctuation from words), verdicts differ only where a count is
meant to differ: bullets are followed by a blank here (datatrove counts every line that begins with "-", and empty
lines among all), stop words are found in capitals too, and a stop may have quotes or white space behind it. Sentences
are compared without empty lines, each of which is one for datatrove. The top
n-grams are compared where there are 50 words: in shorter texts datatrove counts n-grams that occur once.
"""

import pydoc
import re
import sys
from importlib.metadata import distributions
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
from small_crawl import documents

from arriero.data.c4_lines import clean_lines
from arriero.data.quality import RULES, Batch
from arriero.data.quality_config import C4Config, QualityConfig

pytest.importorskip("datatrove", reason="compares with datatrove (pip install 'datatrove[processing]')")
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

pytestmark = pytest.mark.full

LEAST_AGREEMENT = 0.99


class Blanks(WhitespaceTokenizer):
    """Words between white space, sentences after a stop."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


BLANKS = Blanks()
QUALITY: dict[str, Any] = dict.fromkeys(
    (
        *("min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio"),
        *("max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"),
    )
)
REPETITION: dict[str, Any] = {"top_n_grams": (), "dup_n_grams": ()} | dict.fromkeys(
    ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")
)
C4: dict[str, Any] = dict.fromkeys(
    (
        *("remove_citations", "filter_no_terminal_punct", "filter_lorem_ipsum", "filter_javascript"),
        *("filter_curly_bracket", "filter_policy"),
    ),
    False,
) | dict.fromkeys(("min_num_sentences", "min_words_per_line", "max_word_length"), -1)
FINEWEB = {"line_punct_thr": 0.0, "short_line_thr": 1.0, "char_duplicates_ratio": 1.0, "new_line_ratio": np.inf}

# Our (group, field): datatrove's filter with all other rules off, and its setting for the limit.
PEERS: dict[tuple[str, str], tuple[Any, dict[str, Any], str]] = {
    ("gopher", "min_words"): (GopherQualityFilter, QUALITY, "min_doc_words"),
    ("gopher", "max_words"): (GopherQualityFilter, QUALITY, "max_doc_words"),
    ("gopher", "min_word_length"): (GopherQualityFilter, QUALITY, "min_avg_word_length"),
    ("gopher", "max_word_length"): (GopherQualityFilter, QUALITY, "max_avg_word_length"),
    ("gopher", "max_symbols_per_word"): (GopherQualityFilter, QUALITY, "max_symbol_word_ratio"),
    ("gopher", "max_bullet_lines"): (GopherQualityFilter, QUALITY, "max_bullet_lines_ratio"),
    ("gopher", "max_ellipsis_lines"): (GopherQualityFilter, QUALITY, "max_ellipsis_lines_ratio"),
    ("gopher", "min_alphabetic_words"): (GopherQualityFilter, QUALITY, "max_non_alpha_words_ratio"),
    ("gopher", "min_stop_words"): (GopherQualityFilter, QUALITY, "min_stop_words"),
    ("gopher", "max_repeated_lines"): (GopherRepetitionFilter, REPETITION, "dup_line_frac"),
    ("gopher", "max_repeated_line_characters"): (GopherRepetitionFilter, REPETITION, "dup_line_char_frac"),
    ("gopher", "max_repeated_paragraphs"): (GopherRepetitionFilter, REPETITION, "dup_para_frac"),
    ("gopher", "max_repeated_paragraph_characters"): (GopherRepetitionFilter, REPETITION, "dup_para_char_frac"),
    **{("gopher", f"max_top_{n}gram"): (GopherRepetitionFilter, REPETITION, f"top_n_grams {n}") for n in (2, 3, 4)},
    **{
        ("gopher", f"max_repeated_{n}grams"): (GopherRepetitionFilter, REPETITION, f"dup_n_grams {n}")
        for n in range(5, 11)
    },
    ("c4", "max_lorem_ipsum"): (C4QualityFilter, C4, "filter_lorem_ipsum"),
    ("c4", "max_curly_brackets"): (C4QualityFilter, C4, "filter_curly_bracket"),
    ("c4", "min_sentences"): (C4QualityFilter, C4, "min_num_sentences"),
    ("fineweb", "min_punctuated_lines"): (FineWebQualityFilter, FINEWEB, "line_punct_thr"),
    ("fineweb", "max_short_lines"): (FineWebQualityFilter, FINEWEB, "short_line_thr"),
    ("fineweb", "max_copied_characters"): (FineWebQualityFilter, FINEWEB, "char_duplicates_ratio"),
    ("fineweb", "max_line_ends_per_word"): (FineWebQualityFilter, FINEWEB, "new_line_ratio"),
}
LIMITS = {("c4", "max_curly_brackets"): 0, ("fineweb", "max_line_ends_per_word"): 0.3}  # off by default


def real_documents() -> list[str]:
    """Help topics, help pages of the standard library, and descriptions of installed packages."""
    pages = [
        pydoc.plaintext.document(module)
        for name, module in sorted(sys.modules.items())
        if name in sys.stdlib_module_names
    ]
    described = [str(found.metadata.get_payload() or "") for found in distributions()]
    # Without blanks at the ends of lines: datatrove counts lines of blanks alone among those that repeat.
    found = [re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in [*topics.values(), *pages, *described]]
    texts = sorted({text.strip() for text in found})
    return [text for text in texts if 50 < len(text) < 15_000][:400]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found = real_documents()
    assert len(found) > 150
    # Real text that is cut, said twice or laid out anew reaches limits that help pages do not.
    found += [text[:300] for text in found[::3]] + ["\n".join(text.split()[:400]) for text in found[1::3]]
    return found + [f"{text[:3000]}\n\n{text[:1000]}\n{text[500:900]}" for text in found[2::3]]


def peer_verdicts(texts: list[str], peer: tuple[Any, dict[str, Any], str], limit: float, language: Any) -> list[bool]:
    make, off, name = peer
    name, _, n = name.partition(" ")
    value: Any = ((int(n), limit),) if n else True if name.startswith("filter_") else limit
    judge = make(**off | {name: value}, language=language)
    if name == "min_num_sentences":
        texts = [re.sub("\n+", "\n", text) for text in texts]
    verdicts = [judge.filter(Document(text=text, id="")) for text in texts]
    return [not (verdict if isinstance(verdict, bool) else verdict[0]) for verdict in verdicts]


def agreement(texts: list[str], language: Any) -> dict[str, tuple[float, int, int]]:
    """By rule: share of equal verdicts, and how many documents we drop and datatrove drops."""
    found = {}
    table = documents(texts)
    for rule in RULES:
        key = (rule.group, rule.field)
        if key in PEERS:
            limit = LIMITS.get(key, getattr(getattr(QualityConfig(), rule.group), rule.field))
            ours = rule.broken(Batch(table), limit)[1]
            theirs = np.array(peer_verdicts(texts, PEERS[key], limit, language))
            asked = np.array([len(text.split()) >= 50 or "top" not in rule.field for text in texts])
            ours, theirs = ours[asked], theirs[asked]
            found[f"{rule.group}.{rule.field}"] = (float((ours == theirs).mean()), int(ours.sum()), int(theirs.sum()))
    return found


def test_verdicts_agree_with_datatrove_given_the_same_words(texts: list[str]) -> None:
    found = agreement(texts, BLANKS)
    assert len(found) == len(PEERS)
    low = {name: row for name, row in found.items() if row[0] < LEAST_AGREEMENT}
    assert not low, f"(agreement, dropped here, dropped there): {low}"
    exercised = [name for name, (_, ours, theirs) in found.items() if ours and theirs]
    assert len(exercised) >= len(PEERS) - 6, f"rules that drop nothing show nothing: {set(found) - set(exercised)}"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"max_line_word_length": 40}, {"max_word_length": 40}),
        ({"min_line_words": 3}, {"min_words_per_line": 3}),
        ({"terminal_punctuation": True}, {"filter_no_terminal_punct": True}),
        ({"javascript_lines": True}, {"filter_javascript": True}),
        ({"policy_lines": True}, {"filter_policy": True}),
        ({"citations": True}, {"remove_citations": True}),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_c4_leaves_the_lines_that_datatrove_leaves(
    texts: list[str], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    cleaned = clean_lines(documents(texts)["text"].combine_chunks(), C4Config(**{"max_line_word_length": None} | ours))
    judge = C4QualityFilter(**C4 | theirs, language=BLANKS)
    same = []
    for before, after in zip(texts, cleaned[0].to_pylist(), strict=True):
        document = Document(text=before, id="")
        judge.filter(document)
        kept = [line.strip() for line in document.text.splitlines() if line.strip()]
        same.append(kept == [line.strip() for line in after.splitlines() if line.strip()])
    assert np.mean(same) >= LEAST_AGREEMENT

"""The settings of the quality rules, one field a rule, with the papers' numbers.

The paper does not state its filters. Sources: Gopher (arXiv:2112.11446) appendix A.1.1 and table A1; C4
(arXiv:1910.10683) section 2.2, with the numbers of its code (`c4_utils.py` of TensorFlow Datasets), which datatrove
repeats; FineWeb (arXiv:2406.17557) section 3.6; StarCoder (arXiv:2305.06161) section 3.2. A document is dropped below
a `min_` limit and above a `max_` limit. "off" (null where there is one) switches a rule off.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from arriero.config import config, setting
from arriero.data.sources import SourceKind


def _off_is_none(value: object) -> object:
    return None if value == "off" else value


_Off = BeforeValidator(_off_is_none)  # TOML has no null
Limit = Annotated[float | None, _Off]
Count = Annotated[int | None, _Off]
Group = Literal["gopher", "c4", "fineweb", "code", "reference", "learned"]


def _share(default: float | None, doc: str) -> float | None:
    share: float | None = setting(default, doc, ge=0, le=1)
    return share


@config
class GopherConfig:
    """Gopher's rules: prose, not lists, tables or error pages, and little repetition."""

    min_words: Count = setting(50, "words that hold a letter or digit", unit="words", ge=0)
    max_words: Count = setting(100_000, "words that hold a letter or digit", unit="words", ge=0)
    min_word_length: Limit = setting(3, "mean length of those words", unit="characters", ge=0)
    max_word_length: Limit = setting(10, "mean length of those words", unit="characters", ge=0)
    max_symbols_per_word: Limit = setting(0.1, "hashes or ellipses, whichever are more, per word", ge=0)
    max_bullet_lines: Limit = _share(0.9, "share of lines that begin with a bullet")
    max_ellipsis_lines: Limit = _share(0.3, "share of lines that end with an ellipsis")
    min_alphabetic_words: Limit = _share(0.8, "share of words that hold a letter")
    min_stop_words: Count = setting(2, "of eight common English words, those that occur; asked of English only", ge=0)
    max_repeated_lines: Limit = _share(0.3, "share of lines that repeat an earlier one")
    max_repeated_line_characters: Limit = _share(0.2, "share of characters in lines that repeat an earlier one")
    max_repeated_paragraphs: Limit = _share(0.3, "share of paragraphs that repeat an earlier one")
    max_repeated_paragraph_characters: Limit = _share(0.2, "share of characters in repeated paragraphs")
    max_top_2gram: Limit = _share(0.20, "share of characters in the most frequent two words")
    max_top_3gram: Limit = _share(0.18, "share of characters in the most frequent three words")
    max_top_4gram: Limit = _share(0.16, "share of characters in the most frequent four words")
    max_repeated_5grams: Limit = _share(0.15, "share of characters in 5 words that came before")
    max_repeated_6grams: Limit = _share(0.14, "share of characters in 6 words that came before")
    max_repeated_7grams: Limit = _share(0.13, "share of characters in 7 words that came before")
    max_repeated_8grams: Limit = _share(0.12, "share of characters in 8 words that came before")
    max_repeated_9grams: Limit = _share(0.11, "share of characters in 9 words that came before")
    max_repeated_10grams: Limit = _share(0.10, "share of characters in 10 words that came before")


@config
class C4Config:
    """C4's rules. Its lines are removed first (noted in `edits`); all other rules see the text that is left.

    Off are the rules that harm documentation: it has lines without a full stop, short ones and curly brackets (code,
    headings, tables), writes of JavaScript and cookies, and indexes lists by [0]. FineWeb, too, leaves terminal
    punctuation out, which alone removed 30% of its text; a site's own notices repeat, and go as boilerplate.
    """

    max_line_word_length: Count = setting(1000, "lines with a longer word are removed", unit="characters", ge=1)
    min_line_words: Count = setting(None, "lines with fewer words are removed (C4: 3)", unit="words", ge=0)
    terminal_punctuation: bool = setting(False, "remove lines that do not end in . ? ! or a quote, or end in ... (C4)")
    javascript_lines: bool = setting(False, "remove lines that say JavaScript (C4)")
    policy_lines: bool = setting(False, "remove lines that speak of cookies, privacy policy or terms of use (C4)")
    citations: bool = setting(False, "remove [1], [edit] and [citation needed] from lines (C4)")
    max_lorem_ipsum: Count = setting(0, "occurrences of `lorem ipsum`", ge=0)
    max_curly_brackets: Count = setting(None, "occurrences of { (C4: 0)", ge=0)
    min_sentences: Count = setting(5, "sentences; a line is at least one", unit="sentences", ge=0)
    min_javascript_notice_words: Count = setting(
        200, "words of a page that says `enable JavaScript` (C4 drops such lines alone)", unit="words", ge=0
    )


@config
class FinewebConfig:
    """FineWeb's own rules."""

    min_punctuated_lines: Limit = _share(0.12, "share of lines that end in a full stop or the like")
    max_short_lines: Limit = _share(0.67, "share of lines of at most 30 characters")
    max_copied_characters: Limit = _share(
        0.1, "share of characters in lines that repeat an earlier one, line ends apart (datatrove's default: 0.01)"
    )
    max_line_ends_per_word: Limit = setting(None, "line ends per word (datatrove: 0.3, not in the paper)", ge=0)


@config
class CodeConfig:
    """StarCoder's rules of programs that are no data and not generated; the least length is ours."""

    min_words: Count = setting(20, "words", unit="words", ge=0)
    max_line_length: Count = setting(1000, "the longest line", unit="characters", ge=0)
    max_mean_line_length: Limit = setting(100, "mean length of lines", unit="characters", ge=0)
    min_alphanumeric: Limit = _share(0.25, "share of letters and digits among characters other than white space")


@config
class ReferenceConfig:
    """Our lenient rules of text that is short by nature: a docstring, a user's own notes."""

    min_words: Count = setting(5, "words", unit="words", ge=0)
    min_alphabetic_words: Limit = _share(0.4, "share of words that hold a letter")
    max_repeated_line_characters: Limit = _share(0.5, "share of characters in lines that repeat an earlier one")


@config
class LearnedConfig:
    """Rules of models that were trained on reference text; each needs its model."""

    min_score: Limit = _share(None, "the text classifier's probability that a document is like its reference")
    max_perplexity: Limit = setting(None, "perplexity per word under the n-gram model", gt=0)


@config
class QualityConfig:
    """Which documents are text worth learning from."""

    gopher: GopherConfig = setting(GopherConfig(), "Gopher's rules")
    c4: C4Config = setting(C4Config(), "C4's rules")
    fineweb: FinewebConfig = setting(FinewebConfig(), "FineWeb's rules")
    code: CodeConfig = setting(CodeConfig(), "StarCoder's rules")
    reference: ReferenceConfig = setting(ReferenceConfig(), "lenient rules of short text")
    learned: LearnedConfig = setting(LearnedConfig(), "rules of trained models")
    groups: dict[SourceKind, list[Group]] = setting(
        {
            SourceKind.WEB: ["gopher", "c4", "learned"],
            SourceKind.REFERENCE: ["reference"],
            SourceKind.TEXT: ["reference"],
            SourceKind.CODE: ["code"],
        },
        "the groups of rules that a kind of source must pass; kinds that are not named keep theirs",
    )

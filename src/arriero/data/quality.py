"""Quality rules: cheap counts that tell text from lists, tables, error pages and generated files.

`quality_config` has the limits and their sources. C4's lines are removed first; then the rules are asked in the order
of RULES, cheap ones first, and the first that a document breaks is its `reason`; `detail` has the value and the limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.data.c4_lines import clean_lines
from arriero.data.classifier import load_classifier, score_words
from arriero.data.documents import Step, with_columns, with_edits
from arriero.data.perplexity import load_ngrams, perplexity_of_words
from arriero.data.quality_config import C4Config, QualityConfig
from arriero.data.text_counts import Counts, Mask, Parts, TextCounts
from arriero.errors import ConfigError

SHORT_LINE = 30  # characters, FineWeb


class Batch:
    """Documents that are judged by the same rules; `kept_D` are those that failed none so far."""

    def __init__(self, table: pa.Table) -> None:
        self.counts = TextCounts(table["text"].combine_chunks())
        self.english_D: Mask = np.asarray(pc.equal(table["language"], "en"), dtype=bool)
        self.kept_D: Mask = np.ones(table.num_rows, dtype=bool)


@dataclass(frozen=True)
class Rule:
    """A limit on a measure. `field` is the limit's in its group's config; its prefix, min_ or max_, says which side.

    `measure(batch, limit)` need only be exact where the limit is broken.
    """

    reason: str
    group: str
    field: str
    measure: Callable[[Batch, float], Counts]

    def broken(self, batch: Batch, limit: float) -> tuple[Counts, Mask]:
        """(value, whether it breaks the limit) of each document."""
        value_D = self.measure(batch, limit)
        return value_D, (value_D < limit if self.field.startswith("min_") else value_D > limit)

    def detail(self, value: float, limit: float) -> str:
        return f"{_number(value)} {'<' if self.field.startswith('min_') else '>'} {_number(limit)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.4g}"


def _stop_words(batch: Batch, _: float) -> Counts:
    return np.where(batch.english_D, batch.counts.stop_words, np.inf)


def _javascript_notice(batch: Batch, _: float) -> Counts:
    return np.where(batch.counts.occurrences("enable javascript") > 0, batch.counts.words.count_D, np.inf)


def _copied_characters(batch: Batch, _: float) -> Counts:
    counts = batch.counts
    return counts.lines.repeated_characters / np.maximum(counts.characters_D - counts.line_ends, 1)


def _top_ngram(batch: Batch, limit: float, n: int) -> Counts:
    return batch.counts.ngrams(batch.kept_D).top_share(n, limit)


def _repeated_ngrams(batch: Batch, limit: float, n: int) -> Counts:
    return batch.counts.ngrams(batch.kept_D).repeated_share(n, limit)


RULES: tuple[Rule, ...] = (
    Rule("too_short", "gopher", "min_words", lambda b, _: b.counts.real_words),
    Rule("too_long", "gopher", "max_words", lambda b, _: b.counts.real_words),
    Rule("short_words", "gopher", "min_word_length", lambda b, _: b.counts.mean_word_length),
    Rule("long_words", "gopher", "max_word_length", lambda b, _: b.counts.mean_word_length),
    Rule("symbols", "gopher", "max_symbols_per_word", lambda b, _: b.counts.symbols_per_word),
    Rule("bullet_lines", "gopher", "max_bullet_lines", lambda b, _: b.counts.bullet_lines),
    Rule("ellipsis_lines", "gopher", "max_ellipsis_lines", lambda b, _: b.counts.ellipsis_lines),
    Rule("few_alphabetic_words", "gopher", "min_alphabetic_words", lambda b, _: b.counts.alphabetic_words),
    Rule("few_stop_words", "gopher", "min_stop_words", _stop_words),
    Rule("lorem_ipsum", "c4", "max_lorem_ipsum", lambda b, _: b.counts.occurrences("lorem ipsum")),
    Rule("javascript_notice", "c4", "min_javascript_notice_words", _javascript_notice),
    Rule("curly_brackets", "c4", "max_curly_brackets", lambda b, _: b.counts.occurrences("{")),
    Rule("few_sentences", "c4", "min_sentences", lambda b, _: b.counts.sentences),
    Rule("repeated_lines", "gopher", "max_repeated_lines", lambda b, _: b.counts.lines.repeated_share),
    Rule(
        "repeated_line_characters",
        "gopher",
        "max_repeated_line_characters",
        lambda b, _: b.counts.of_characters(b.counts.lines.repeated_characters),
    ),
    Rule("repeated_paragraphs", "gopher", "max_repeated_paragraphs", lambda b, _: b.counts.paragraphs.repeated_share),
    Rule(
        "repeated_paragraph_characters",
        "gopher",
        "max_repeated_paragraph_characters",
        lambda b, _: b.counts.of_characters(b.counts.paragraphs.repeated_characters),
    ),
    Rule("unpunctuated_lines", "fineweb", "min_punctuated_lines", lambda b, _: b.counts.punctuated_lines),
    Rule("short_lines", "fineweb", "max_short_lines", lambda b, _: b.counts.short_lines(SHORT_LINE)),
    Rule("copied_characters", "fineweb", "max_copied_characters", _copied_characters),
    Rule("many_lines", "fineweb", "max_line_ends_per_word", lambda b, _: b.counts.line_ends_per_word),
    *(Rule(f"top_{n}gram", "gopher", f"max_top_{n}gram", partial(_top_ngram, n=n)) for n in (2, 3, 4)),
    *(
        Rule(f"repeated_{n}grams", "gopher", f"max_repeated_{n}grams", partial(_repeated_ngrams, n=n))
        for n in (5, 6, 7, 8, 9, 10)
    ),
    Rule("too_short", "code", "min_words", lambda b, _: b.counts.words.count_D),
    Rule("long_lines", "code", "max_line_length", lambda b, _: b.counts.longest_line),
    Rule("long_mean_line", "code", "max_mean_line_length", lambda b, _: b.counts.mean_line_length),
    Rule("few_alphanumeric", "code", "min_alphanumeric", lambda b, _: b.counts.alphanumeric),
    Rule("too_short", "reference", "min_words", lambda b, _: b.counts.words.count_D),
    Rule("few_alphabetic_words", "reference", "min_alphabetic_words", lambda b, _: b.counts.alphabetic_words),
    Rule(
        "repeated_line_characters",
        "reference",
        "max_repeated_line_characters",
        lambda b, _: b.counts.of_characters(b.counts.lines.repeated_characters),
    ),
)


def judge(table: pa.Table, cfg: QualityConfig, rules: Sequence[Rule]) -> pa.Table:
    """`table` with `reason` and `detail` of the first rule that each document breaks.

    A document whose lines were all removed is dropped as `no_lines_left`.
    """
    batch = Batch(table)
    reasons: list[str | None] = [None] * table.num_rows
    details = reasons.copy()
    for rule in rules:
        limit = getattr(getattr(cfg, rule.group), rule.field)
        if limit is None or not batch.kept_D.any():
            continue
        value_D, broken_D = rule.broken(batch, limit)
        for row in np.flatnonzero(broken_D & batch.kept_D):
            reasons[row], details[row] = rule.reason, rule.detail(value_D[row], limit)
        batch.kept_D &= ~broken_D
    for row in np.flatnonzero(batch.kept_D & (batch.counts.characters_D == 0)):
        reasons[row] = "no_lines_left"
    return with_columns(table, reason=reasons, detail=details)


def _without_lines(table: pa.Table, cfg: C4Config) -> pa.Table:
    text, edits = clean_lines(table["text"].combine_chunks(), cfg)
    return with_edits(with_columns(table, text=text), edits)


def filter_quality(table: pa.Table, cfg: QualityConfig, rules: Sequence[Rule] = RULES) -> pa.Table:
    """Drops documents that break a rule of their kind, and removes C4's lines."""
    kinds = np.asarray(table["kind"].to_pylist(), dtype=object)
    parts, places = [], []
    for kind in sorted(set(kinds)):
        rows, groups = np.flatnonzero(kinds == kind), cfg.groups.get(kind, [])
        part = table.take(rows) if len(rows) < table.num_rows else table
        part = _without_lines(part, cfg.c4) if "c4" in groups else part
        parts.append(judge(part, cfg, [rule for rule in rules if rule.group in groups]))
        places.append(rows)
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(places))) if parts else table


def _learned(batch: Batch, _: float, measure: Callable[[Parts], Counts]) -> Counts:
    return measure(batch.counts.words)


def quality_step(cfg: QualityConfig, classifier: Path | None = None, perplexity: Path | None = None) -> Step:
    """The rules of `cfg`, with the models in these folders, if any.

    Raises ConfigError where a limit has no model or a model no limit, ArtifactError where a model is damaged.
    """
    limits = cfg.learned
    for name, limit, folder in (
        ("min_score", limits.min_score, classifier),
        ("max_perplexity", limits.max_perplexity, perplexity),
    ):
        if (limit is None) != (folder is None):
            lacks = f"is {limit}, but no model is given" if folder is None else "is not set, though its model is given"
            raise ConfigError(f"quality.learned.{name} {lacks}. Give both or neither.")
    rules = list(RULES)
    if classifier is not None:
        measure = partial(score_words, load_classifier(classifier))
        rules.append(Rule("unlike_reference", "learned", "min_score", partial(_learned, measure=measure)))
    if perplexity is not None:
        measure = partial(perplexity_of_words, load_ngrams(perplexity))
        rules.append(Rule("high_perplexity", "learned", "max_perplexity", partial(_learned, measure=measure)))
    return Step("quality", partial(filter_quality, cfg=cfg, rules=rules))

"""C4's rules that remove lines: long words, few words, no terminal punctuation, JavaScript, policies; and citations.

Source: C4 (arXiv:1910.10683) section 2.2 and its code; order and details as in datatrove's C4QualityFilter. Unlike
there, lines keep their indentation and empty lines stay: they part paragraphs and are no text.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.data.quality_config import C4Config
from arriero.data.text_counts import Mask

CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"
POLICIES = r"(?i)terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
END_PUNCTUATION = (".", "?", "!", '"', "'")


def _asked(cfg: C4Config) -> bool:
    counts = cfg.max_line_word_length is not None or cfg.min_line_words is not None
    return counts or cfg.terminal_punctuation or cfg.javascript_lines or cfg.policy_lines or cfg.citations


def _mask(values: pa.Array) -> Mask:
    return np.asarray(values, dtype=bool)


def _removed(line: pa.Array, whole: pa.Array, cfg: C4Config) -> Mask:
    """Which lines go. `line` has no citations, `whole` has; both are trimmed and not empty."""
    gone = np.zeros(len(line), dtype=bool)
    if cfg.max_line_word_length is not None:
        long = np.flatnonzero(_mask(pc.greater(pc.utf8_length(whole), cfg.max_line_word_length)))
        for place in long:
            gone[place] = max(map(len, whole[place].as_py().split())) > cfg.max_line_word_length
    if cfg.terminal_punctuation:
        ends = pc.is_in(pc.utf8_slice_codeunits(line, -1), pa.array(END_PUNCTUATION, line.type))
        gone |= _mask(pc.invert(ends)) | _mask(pc.ends_with(line, "..."))
    if cfg.min_line_words is not None:
        gone |= _mask(pc.less(pc.list_value_length(pc.utf8_split_whitespace(whole)), cfg.min_line_words))
    if cfg.javascript_lines:
        gone |= _mask(pc.match_substring(line, "javascript", ignore_case=True))
    if cfg.policy_lines:
        gone |= _mask(pc.match_substring_regex(line, POLICIES))
    return gone


def clean_lines(texts: pa.Array, cfg: C4Config) -> tuple[pa.Array, list[str]]:
    """The texts without the lines and citations that `cfg` removes, and what was done to each ("" for nothing)."""
    if not _asked(cfg):
        return texts, [""] * len(texts)
    lists = pc.split_pattern(texts, "\n")
    lines, owner = lists.flatten(), np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    cleaned, citations = lines, np.zeros(len(lines), np.int64)
    if cfg.citations:
        cleaned = pc.replace_substring_regex(lines, CITATION, "")
        citations = np.asarray(pc.count_substring_regex(lines, CITATION), dtype=np.int64)
    whole = pc.utf8_trim_whitespace(lines)
    full = np.flatnonzero(_mask(pc.not_equal(whole, "")))
    gone = np.zeros(len(lines), dtype=bool)
    gone[full] = _removed(pc.utf8_trim_whitespace(cleaned).take(full), whole.take(full), cfg)
    lines_D = np.bincount(owner, gone, len(texts)).astype(int)
    citations_D = np.bincount(owner, citations * ~gone, len(texts)).astype(int)
    changed_D = (lines_D + citations_D) > 0
    if not changed_D.any():
        return texts, [""] * len(texts)
    stays = ~gone & changed_D[owner]
    ends = np.concatenate([[0], np.cumsum(np.bincount(owner[stays], minlength=len(texts))[changed_D])])
    kept = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), cleaned.filter(pa.array(stays)))
    rebuilt = pc.utf8_trim(pc.binary_join(kept, pa.scalar("\n", cleaned.type)), "\n")
    edits = [
        "; ".join(f"quality {count} {what}" for count, what in ((lines, "lines"), (cited, "citations")) if count)
        for lines, cited in zip(lines_D, citations_D, strict=True)
    ]
    return pc.replace_with_mask(texts, pa.array(changed_D), rebuilt), edits

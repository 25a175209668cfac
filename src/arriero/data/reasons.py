"""Why a document was dropped, in a sentence.

A quality rule is explained by the documentation of its own limit, with the value that the corpus was built by; reasons
without a setting have their sentence here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.artifacts.files import read_json
from arriero.config import describe
from arriero.data.quality import RULES
from arriero.data.quality_config import QualityConfig
from arriero.data.sources import SOURCES_FILE

DUPLICATES = ("exact_duplicates", "near_duplicates")

REASONS = {
    "too_deep": "its blocks are nested too deeply for the extractor",
    "unlike_reference": "the trained classifier finds it unlike its reference (quality.learned.min_score)",
    "high_perplexity": "the n-gram model finds its words too unlikely (quality.learned.max_perplexity)",
    "http_status": "the server answered with an error or a redirection, not with a page",
    "not_html": "the record holds no HTML",
    "no_text": "nothing is left of the page without its navigation, header and footer",
    "only_boilerplate": "nothing is left of the text without the lines that its site repeats",
    "no_lines_left": "nothing is left of the text without the lines that C4's rules remove",
    "pii_site": "the site holds too much personal information for its words, so all of it went",
    "exact_duplicate": "another document has the same text, upper and lower case and white space apart",
    "near_duplicate": "another document has nearly the same text",
    "evaluation_edited": "the text shares more than ten words with an evaluation sample, up to four of them changed",
    "evaluation_ngram": "the text shares more than ten words in a row with an evaluation sample",
    "evaluation_question": "the text holds the whole of a short evaluation question",
}
OF_HELDOUT = "_of_heldout"
LANGUAGE = "language_"


@dataclass(frozen=True)
class Reasons:
    """`quality` is the config of the quality rules as the corpus's manifest states it; `kinds` are the sources'."""

    quality: Mapping[str, Any]
    kinds: Mapping[str, str]

    @staticmethod
    def of(corpus: Path, config: Mapping[str, Any]) -> "Reasons":
        """`config` is that of data.build in the corpus's manifest."""
        return Reasons(config["quality"], {row["name"]: row["kind"] for row in read_json(corpus / SOURCES_FILE)})

    def in_words(self, reason: str, source: str) -> str:
        """Why a document of `source` was dropped; empty where nothing is known but the reason's name."""
        if reason.startswith(LANGUAGE):
            code = reason.removeprefix(LANGUAGE)
            what = "no language that is sure enough" if code == "unknown" else f"the language {code!r}"
            return f"the text is in {what}, and not in one that stays"
        if reason.endswith(OF_HELDOUT):
            plain = self.in_words(reason.removesuffix(OF_HELDOUT), source)
            return f"{plain}, and that one is held out" if plain else ""
        return REASONS.get(reason) or self._rule(reason, source)

    def _rule(self, reason: str, source: str) -> str:
        """The limit of the rule; several groups may have a rule of this name, and a kind of source goes by some."""
        groups = self.quality["groups"].get(self.kinds.get(source), ())
        for rule in RULES:
            if rule.reason == reason and rule.group in groups:
                (row,) = (row for row in describe(QualityConfig) if row.name == f"{rule.group}.{rule.field}")
                side = "least" if rule.field.startswith("min_") else "most"
                return f"{row.doc}: at {side} {self.quality[rule.group][rule.field]} are wanted ({rule.group})"
        return ""

"""What the steps of data.build do, and their reasons, each in a sentence.

A rule that can be set is explained by the documentation of its own field, with the value that this corpus was built by;
only what is no field has its sentence here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arriero.config import describe

DUPLICATES = ("exact_duplicates", "near_duplicates")

STEPS = {
    "extract": "the main text of a page",
    "repair": "damaged characters",
    "language": "the languages that stay",
    "boilerplate": "lines that a site repeats",
    "quality": "rules that tell text from what is none",
    "pii": "personal information",
    "decontamination": "texts of evaluations",
    "exact_duplicates": "documents that are the same",
    "near_duplicates": "documents that are nearly the same",
}
REASONS = {
    "http_status": "the server answered with an error or a redirection, not with a page",
    "not_html": "the record holds no HTML",
    "no_text": "nothing is left of the page without its navigation, header and footer",
    "pii_site": "the site holds too much personal information for its words, so all of it went",
    "exact_duplicate": "another document has the same text, upper and lower case and white space apart",
    "near_duplicate": "another document has nearly the same text",
    "evaluation_edited": "the text shares more than ten words with an evaluation sample, up to four of them changed",
    "evaluation_ngram": "the text shares more than ten words in a row with an evaluation sample",
    "evaluation_question": "the text holds the whole of a short evaluation question",
    "too_short": "the text has too few words",
    "too_long": "the text has too many words",
    "boilerplate": "nothing is left of the text without the lines that its site repeats",
}
OF_HELDOUT = "_of_heldout"
LANGUAGE = "language_"
LIMITS = {"min_": "at least", "max_": "at most"}


@dataclass(frozen=True)
class Reasons:
    """`config` is that of the stage that built the corpus, `values` are its fields' as the manifest states them."""

    config: type
    values: Mapping[str, Any]

    def in_words(self, step: str, reason: str) -> str:
        """Why a document was dropped; empty where nothing is known but the reason's name."""
        if reason.startswith(LANGUAGE):
            code = reason.removeprefix(LANGUAGE)
            what = "no language that is sure enough" if code == "unknown" else f"the language {code!r}"
            return f"the text is in {what}, and not in one that stays"
        if reason.endswith(OF_HELDOUT):
            plain = self.in_words(step, reason.removesuffix(OF_HELDOUT))
            return f"{plain}, and that one is held out" if plain else ""
        return REASONS.get(reason) or self._rule(step, reason)

    def _rule(self, step: str, reason: str) -> str:
        """The documentation of the field that the reason names, with or without its group and its min_ or max_."""
        for row in describe(self.config):
            *groups, name = row.name.split(".")
            if not groups or groups[0] != step:
                continue
            limit, bare = (name[:4], name[4:]) if name[:4] in LIMITS else ("", name)
            names = {name, bare, *(f"{group}{dot}{n}" for group in groups[1:] for n in (name, bare) for dot in "_.")}
            if reason in names:
                bound = f"{LIMITS[limit]} " if limit else ""
                unit = f" {row.unit}" if row.unit else ""
                return f"{row.doc}: must be {bound}{self._value(row.name)}{unit}"
        return ""

    def _value(self, name: str) -> Any:
        value: Any = self.values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

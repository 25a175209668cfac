"""Recall and precision per kind of case, from the truth and a build's outcome."""

import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.metrics.intervals import wilson
from crawl.html_text import seen_text, squeezed
from crawl.judge import ALIKE, SharedSpans, likeness
from crawl.outcome import PLACEHOLDER, Outcome, originals
from planted.mojibake import foreign_words

DUPLICATES = ("exact_duplicates", "near_duplicates")
LEAKS = "decontamination"
JUDGED = 200  # near duplicates whose texts are compared
SHOWN = 50
RESTORED, PRESENT = 0.98, 0.5  # of the words out those of the original, and of the original's words those out


@dataclass
class Score:
    """`good` of `total`; `unreached` cases were dropped by an earlier step, which is no fault of this one."""

    name: str
    good: int = 0
    total: int = 0
    unreached: int = 0

    def add(self, good: bool | None) -> None:
        if good is None:
            self.unreached += 1
        else:
            self.total += 1
            self.good += good

    def row(self) -> str:
        if not self.total:
            return f"| {self.name} | 0 of 0 | | {self.unreached} |"
        share = wilson(self.good, self.total)
        interval = f"{share.mean:.3f} ({share.low:.3f} to {share.high:.3f})"
        return f"| {self.name} | {self.good} of {self.total} | {interval} | {self.unreached} |"


@dataclass
class Report:
    """Scores by name, and lines to read for a judgement, by kind."""

    recall: dict[str, Score] = field(default_factory=dict)
    precision: dict[str, Score] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def found(self, name: str, good: bool | None) -> None:
        self.recall.setdefault(name, Score(name)).add(good)

    def right(self, name: str, good: bool | None) -> None:
        self.precision.setdefault(name, Score(name)).add(good)

    def table(self, title: str, scores: dict[str, Score]) -> str:
        rows = "\n".join(score.row() for score in scores.values())
        return f"| {title} | | share (95% interval) | not reached |\n|---|---|---|---|\n{rows}\n"


Truth = list[dict[str, Any]]


def score(truth: Truth, questions: list[dict[str, str]], outcome: Outcome, corpus: Path, seed: int) -> Report:
    """`corpus` is the folder that the build read; cases of documents that it lacks are left out, and named."""
    report, rng = Report(), random.Random(seed)
    by_case: dict[str, Truth] = defaultdict(list)
    for row in truth:
        if row["url"] in outcome.present and row.get("original", row["url"]) in outcome.present:
            by_case[row["case"]].append(row)
        else:
            report.shown["in neither corpus nor dropped"].append(row["url"])
    for row in by_case["pii"]:
        _personal(row, outcome, report)
    for row in by_case["not pii"]:
        _not_personal(row, outcome, report)
    for row in by_case["copy"]:
        _copy(row, outcome, report)
    for row in by_case["leak"]:
        gone = outcome.dropped.get(row["url"])
        report.found(f"leak, {row['form']}", None if gone and gone.step != LEAKS else gone is not None)
    for row in by_case["mojibake"]:
        _mojibake(row, outcome, report)
    for row in by_case["spam"]:
        report.found(f"spam, {row['form']}", row["url"] in outcome.dropped)
    _sites(by_case, outcome, report)
    _real_findings(truth, questions, outcome, corpus, report, rng)
    return report


def _personal(row: dict[str, Any], outcome: Outcome, report: Report) -> None:
    """Found is what exactly its placeholder stands for: neither a part of it nor more."""
    name = row["kind"]
    if (text := outcome.kept.get(row["url"])) is None:
        return report.found(name, None)
    text = squeezed(text)
    around = re.escape(row["before"]) + rf"\s?{PLACEHOLDER.pattern}\s?" + re.escape(row["after"])
    kinds = {found[1] for found in re.finditer(around, text)}
    line_left = row["value"] in text or kinds or (row["before"] or row["after"]) in text
    good = row["kind"] in kinds and row["value"] not in text
    report.found(name, good if line_left else None)
    if kinds - {row["kind"]}:
        report.right(next(iter(kinds)), False)
    elif line_left:
        report.right(name, True) if good else None
    if line_left and not good:
        report.shown[f"missed {name}"].append(
            f"{row['form']}: {row['before']!r} {row['value']!r} {row['after']!r} {kinds}"
        )
    return None


def _not_personal(row: dict[str, Any], outcome: Outcome, report: Report) -> None:
    """A number that only looks like personal information is a false finding where a placeholder took its place."""
    if (text := outcome.kept.get(row["url"])) is None or row["value"] in squeezed(text):
        return
    around = re.escape(row["before"]) + r"[^\[]{0,40}" + PLACEHOLDER.pattern
    found = re.search(around, squeezed(text))
    if found is not None:
        report.right(found[1], False)
        report.shown[f"false {found[1]}"].append(f"{row['form']}: {row['before']!r} {row['value']!r} {row['after']!r}")


def _copy(row: dict[str, Any], outcome: Outcome, report: Report) -> None:
    """Found if not both the copy and its original stay; not reached if one of them went before."""
    gone = [outcome.dropped.get(row[name]) for name in ("url", "original")]
    reached = all(one is None or one.step in DUPLICATES for one in gone)
    report.found(f"copy, {row['form']} of words edited", any(one is not None for one in gone) if reached else None)


def _mojibake(row: dict[str, Any], outcome: Outcome, report: Report) -> None:
    """Restored if the words beyond ASCII are the original's. Text taken for no language is a miss, too."""
    name, text, gone = f"mojibake, {row['form']}", outcome.kept.get(row["url"]), outcome.dropped.get(row["url"])
    if text is None:
        return report.found(name, False if gone is None or gone.step == "language" else None)
    words, original = foreign_words(text), set(row["words"])
    same = len(words & original)
    good = same >= RESTORED * len(words) and same >= PRESENT * len(original)
    report.found(name, good)
    if not good:
        report.shown["not restored"].append(f"{row['url']} {sorted(words - original)[:6]} {same} of {len(original)}")
    return None


def _sites(by_case: dict[str, Truth], outcome: Outcome, report: Report) -> None:
    """A site counts once. A removed one is right if it was planted as full of people or as spam with contacts."""
    removed = {url.split("/")[2] for url, gone in outcome.dropped.items() if gone.reason == "pii_site"}
    people, spam = ({row["host"] for row in by_case[case]} for case in ("people", "spam"))
    for host in sorted(people):
        report.found("site full of people", host in removed)
    for host in sorted(removed):
        report.right("site removed for its people", host in people | spam)
        if host not in people | spam:
            report.shown["site removed"].append(host)


def _real_findings(
    truth: Truth, questions: list[dict[str, str]], outcome: Outcome, corpus: Path, report: Report, rng: random.Random
) -> None:
    """Precision of duplicates and leaks: all that were found, planted or not, by the plain definitions."""
    near = sorted(url for url, gone in outcome.dropped.items() if gone.step == "near_duplicates" and gone.keeper)
    near = rng.sample(near, min(JUDGED, len(near)))
    leaks = sorted(url for url, gone in outcome.dropped.items() if gone.step == LEAKS)
    planted = {row["url"] for row in truth}
    personal = [found for found in outcome.redacted if found.url not in planted]
    personal = rng.sample(personal, min(SHOWN, len(personal)))
    repaired = sorted(set(outcome.repaired) - planted)
    repaired = rng.sample(repaired, min(SHOWN, len(repaired)))
    wanted = {*near, *(outcome.dropped[url].keeper for url in near), *leaks, *(found.url for found in personal)}
    texts = {url: plain_text(text) for url, text in originals(corpus, wanted)}
    for url in near:
        keeper = outcome.dropped[url].keeper
        like = likeness(texts[url], texts[keeper])
        report.right("near duplicates, a sample", like >= ALIKE)
        if like < ALIKE:
            report.shown["near duplicate"].append(f"{like:.2f} {url} {keeper}")
    spans = SharedSpans([f"{row['question']} {row['answer']}" for row in questions])
    planted_leaks = {row["url"] for row in truth if row["case"] == "leak"}
    for url in leaks:
        shared = spans.in_text(texts[url])
        report.right("leaks", shared is not None)
        if url not in planted_leaks:
            report.shown["leak"].append(f"{url}: {shared}")
    for found in personal:
        report.shown["redacted in real text"].append(
            f"{found.kind}: {in_place(texts.get(found.url, ''), found.before)}"
        )
    report.shown["repaired"] += repaired
    quality = sorted(url for url, gone in outcome.dropped.items() if gone.step == "quality" and url not in planted)
    for url in rng.sample(quality, min(SHOWN, len(quality))):
        report.shown["dropped for quality"].append(f"{outcome.dropped[url].reason} {outcome.dropped[url].detail} {url}")


def plain_text(text: str) -> str:
    """A page's main text; an entry's own."""
    return seen_text(text) if text.lstrip().startswith("<") else squeezed(text)


def in_place(text: str, before: str) -> str:
    """What stood where a placeholder is: the original's text from the words before it on."""
    context = squeezed(before)[-25:]
    place = text.find(context)
    return f"…{context}» {text[place + len(context) :][:50]}" if context and place >= 0 else f"…{context}» ?"


def reasons(truth: Truth, outcome: Outcome, case: str) -> dict[str, Counter[str]]:
    """Why documents of a case were dropped, by form."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in truth:
        if row["case"] == case:
            gone = outcome.dropped.get(row["url"])
            found[row["form"]][f"{gone.step}: {gone.reason}" if gone else "kept"] += 1
    return found

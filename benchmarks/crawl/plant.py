"""Plants cases of known number among real documents. What was planted where stands in the truth, outside the corpus.

A page that holds a case is a real page at its own URL. A near copy takes the URL of a page of the same package that
was taken out of the corpus; evaluation samples and the prose of made-up sites come from such pages too. So neither
names nor neighbours tell a planted case.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crawl.documents import Page
from crawl.html_text import MARKUP, edited, seen_text, squeezed, with_sentence, words_of
from planted.leaks import changed, sample, sentences, unique
from planted.mojibake import MOJIBAKE, foreign_words
from planted.pii_cases import FORMS, PLAIN
from planted.pii_negatives import NEGATIVES
from planted.sites import ordinary_pages, person_pages, site_names, spam_sites

LANGUAGES = ("de", "en", "es", "fr", "it", "ru")  # those that the corpus keeps
RATES = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Counts:
    """How many cases of each kind."""

    held_pages: int = 2500  # taken out of the corpus
    pii_per_form: int = 48  # 21 forms
    not_pii: int = 500
    copies: int = 200  # of each rate
    leaks: int = 200  # verbatim, and as many with 1 to 4 edits
    mojibake_per_form: int = 10  # of each language but English
    spam_per_form: int = 24
    sites: int = 6  # full of people, and as many ordinary ones
    pages_per_site: int = 25


@dataclass
class Corpus:
    """`pages` and `entries` as they go into the corpus; `truth` and `questions` lie beside it."""

    pages: list[Page]
    entries: list[Page]
    truth: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, str]] = field(default_factory=list)


def plant(pages: list[Page], entries: list[Page], counts: Counts, seed: int) -> Corpus:
    """The same pages, entries, counts and seed give the same corpus."""
    rng = random.Random(seed)
    order = list(range(len(pages)))
    rng.shuffle(order)
    held = [pages[number] for number in order[: counts.held_pages]]
    taken = {page.url for page in held}
    corpus = Corpus([page for page in pages if page.url not in taken], list(entries))
    planter = _Planter(corpus, rng)
    planter.personal(counts)
    planter.leaks(held, counts)
    planter.mojibake(counts)
    planter.copies(held, counts)
    planter.sites(held, counts)
    return corpus


class _Planter:
    """Draws documents at random; each carries one case at most."""

    def __init__(self, corpus: Corpus, rng: random.Random) -> None:
        self.corpus, self.rng = corpus, rng
        self.free_pages, self.free_entries = list(range(len(corpus.pages))), list(range(len(corpus.entries)))
        rng.shuffle(self.free_pages)
        rng.shuffle(self.free_entries)
        # Those that may carry a sentence: one that has no place for it is not asked again.
        self.carriers = [number for number in self.free_pages if corpus.pages[number].language == "en"]

    def _add(self, case: str, page: Page, form: str, **more: Any) -> None:
        self.corpus.truth.append({"case": case, "url": page.url, "form": form, "host": page.host, **more})

    def _insert(self, sentence: str) -> Page:
        """Puts the sentence into an English document: one of five times a dictionary's entry, else a page."""
        if self.rng.random() < 0.2:
            number = self.free_entries.pop()
            entry = self.corpus.entries[number]
            lines = entry.text.split("\n")
            lines.insert(self.rng.randint(1, len(lines)), sentence)
            self.corpus.entries[number] = replace(entry, text="\n".join(lines))
            return entry
        while self.carriers:
            number = self.carriers.pop()
            page = self.corpus.pages[number]
            if len(seen_text(page.text).split()) >= 200:
                changed_page = with_sentence(page.text, sentence, self.rng)
                if changed_page is not None:
                    self.free_pages.remove(number)
                    self.corpus.pages[number] = replace(page, text=changed_page)
                    return page
        raise AssertionError("no page left to plant in")

    def personal(self, counts: Counts) -> None:
        cases = [
            (form.name, form.kind, self.rng.choice(form.sentences), form.make) for form in FORMS * counts.pii_per_form
        ]
        names = sorted(NEGATIVES)
        for _ in range(counts.not_pii):
            name = self.rng.choice(names)
            cases.append((name, "", self.rng.choice(PLAIN), NEGATIVES[name]))
        for form, kind, sentence, make in cases:
            value = make(self.rng)
            before, after = sentence.split("{}")
            page = self._insert(sentence.replace("{}", value))
            case = "pii" if kind else "not pii"
            self._add(
                case, page, form, kind=kind, before=squeezed(before), value=squeezed(value), after=squeezed(after)
            )

    def leaks(self, held: Sequence[Page], counts: Counts) -> None:
        candidates = dict.fromkeys(
            sentence for page in held if page.language == "en" for sentence in list(sentences(seen_text(page.text)))[:4]
        )
        # A translation may hold sentences that nobody has translated yet.
        texts = (MARKUP.sub(" ", page.text) for page in (*self.corpus.pages, *self.corpus.entries))
        chosen = self.rng.sample(unique(list(candidates), texts), 2 * counts.leaks)
        pool = sorted({word.lower() for sentence in candidates for word in sentence.split() if word.isalpha()})
        for number, sentence in enumerate(chosen):
            self.corpus.questions.append(sample(sentence))
            edits = number % 4 + 1 if number >= counts.leaks else 0
            page = self._insert(changed(sentence, edits, pool, self.rng))
            self._add("leak", page, f"{edits} edits" if edits else "verbatim", sample=number)

    def mojibake(self, counts: Counts) -> None:
        wanted = [
            (language, form) for form in MOJIBAKE for language in LANGUAGES if language != "en"
        ] * counts.mojibake_per_form
        left = defaultdict(list)
        for language, form in wanted:
            left[language].append(form)
        for number in list(self.free_pages):
            page = self.corpus.pages[number]
            if left[page.language] and len(words := foreign_words(seen_text(page.text))) >= 10:
                form = left[page.language].pop()
                self.free_pages.remove(number)
                self.corpus.pages[number] = replace(page, text=MOJIBAKE[form](page.text))
                self._add("mojibake", page, form, language=page.language, words=sorted(words))
        assert not any(left.values()), {language: len(forms) for language, forms in left.items()}

    def copies(self, held: Sequence[Page], counts: Counts) -> None:
        """A copy keeps the package and language of the URL that it takes."""
        rates = [rate for rate in RATES for _ in range(counts.copies)]
        by_kind: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in self.free_pages:
            page = self.corpus.pages[number]
            by_kind[page.package, page.language].append(number)
        for slot in held:
            if not rates:
                return
            if slot.language in LANGUAGES and (original := self._original(by_kind[slot.package, slot.language])):
                pool = sorted({word[0] for word in words_of(original.text)})
                copy = replace(slot, text=edited(original.text, rates[-1], pool, self.rng))
                self.corpus.pages.append(copy)
                self._add("copy", copy, f"{rates.pop():.0%}", original=original.url)
        assert not rates, f"{len(rates)} copies have no place"

    def _original(self, numbers: list[int]) -> Page | None:
        """The next page of the list with enough text; it takes no other case."""
        while numbers:
            number = numbers.pop()
            page = self.corpus.pages[number]
            if len(seen_text(page.text).split()) >= 100:
                self.free_pages.remove(number)
                return page
        return None

    def sites(self, held: Sequence[Page], counts: Counts) -> None:
        # The samples' sentences are no part of this: they would be leaks.
        asked = {f"{row['question']} {row['answer']}" for row in self.corpus.questions}
        prose = [
            sentence
            for page in held
            if page.language == "en"
            for sentence in sentences(seen_text(page.text))
            if sentence not in asked
        ]
        prose = list(dict.fromkeys(prose))
        hosts = iter(site_names(8 + 2 * counts.sites, self.rng))
        spam = spam_sites(counts.spam_per_form, prose, self.rng, [next(hosts) for _ in range(8)])
        people = person_pages([next(hosts) for _ in range(counts.sites)], counts.pages_per_site, prose, self.rng)
        others = ordinary_pages([next(hosts) for _ in range(counts.sites)], counts.pages_per_site, prose, self.rng)
        for case, made in (("spam", spam), ("people", people), ("ordinary", others)):
            for one in made:
                page = Page(one.url, one.html, "", "en")
                self.corpus.pages.append(page)
                self._add(case, page, one.form)

"""Questions about the standard library whose true answers its docstrings give.

The answer is the docstring's first sentence, if it can stand alone. A question comes closed-book, with the docstring
in the user's turn, or as the end of a short dialogue about one module.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from arriero.data.python_docs import DocItem, ItemKind, ModuleDocs
from arriero.data.stdlib import unit
from arriero.dialogue import Dialogue, Message, Role

MIN_WORDS, MAX_WORDS = 4, 40
MAX_NAME = 48  # characters; longer names are of inner workings

SIGNATURE = re.compile(r"^[\w.]+\([^)]*\)(?:\s*->\s*[\w., |\[\]()]+?)?\s*(?:[-:\u2013]+\s+|\n|$)")
SENTENCE_END = re.compile(r"(?<![A-Z])(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)[.!?](?=\s|$)")
PLAIN = re.compile(r"[ -~]+")
# What marks a sentence that cannot stand alone or is not prose.
UNFIT = re.compile(
    r">>>|::|\||\\|``|:\w+:|@|XXX|TODO|FIXME|\bsee\b|\bsame as\b|\bas above\b|\bfollowing\b|\bbelow\b|[:;,]$"
    r"|_{3,}|--{2,}|={2,}|<[^>]*$| = \w+\(|\+--",
    re.IGNORECASE,
)
DRAWING = re.compile(r"\+--|[|=_*-]{4,}|>>>|::")  # tables, rules and sessions lose their meaning on one line
PRONOUN_START = re.compile(
    r"(?:This|These|That|It|They|If|When|Note|Example|Usage|Internal|Deprecated|Override|And|Or|But)\b"
)

CLOSED_BOOK = {
    ItemKind.FUNCTION: (
        "What does {name} do?",
        "In Python, what does {name}() do?",
        "What is {name} for?",
        "Explain {name} in one sentence.",
        "Tell me briefly what {name} does.",
        "What happens when I call {name}?",
        "I saw {name} in some code. What does it do?",
        "Summarise what Python's {name} does.",
    ),
    ItemKind.CLASS: (
        "What is {name}?",
        "What is the class {name} for?",
        "In Python, what is {name}?",
        "Describe the class {name} in one sentence.",
        "Tell me briefly what {name} is.",
        "I saw {name} in some code. What is it?",
    ),
    ItemKind.METHOD: (
        "What does {name} do?",
        "What does the method {name}() do?",
        "Explain the method {name} in one sentence.",
        "Tell me briefly what {name} does.",
        "In Python, what is {name} for?",
    ),
    ItemKind.MODULE: (
        "What is the module {name} for?",
        "What does Python's {name} module do?",
        "Describe the {name} module in one sentence.",
        "Tell me briefly what the {name} module is.",
    ),
}
WITH_DOCS = (
    'The documentation of {name} says: "{docs}" {question}',
    'Here is a docstring: "{docs}" {question}',
    "{question} Its documentation: {docs}",
    '{question} Answer from this text: "{docs}"',
    'Read this. "{docs}" {question}',
)
OPENERS = (
    "What is the {module} module for?",
    "What does the {module} module do?",
    "Tell me about Python's {module} module.",
)
NEXT = (
    "And {name}?",
    "What does its {short} do?",
    "And what is {name} for?",
    "What about {name}?",
    "Then what does {short} do?",
)


@dataclass(frozen=True)
class Question:
    """A documented thing that can be asked about: `answer` is true and short, `docs` the start of its docstring."""

    item: DocItem
    answer: str
    docs: str

    @property
    def unit(self) -> str:
        return unit(self.item.module)

    @property
    def key(self) -> str:
        return f"{self.item.kind}/{self.item.name}"


def first_sentence(doc: str) -> str | None:
    """A docstring's first sentence without a leading signature, or None if it cannot stand alone as an answer."""
    sentence = _sentence(strip_signature(doc))
    if sentence is None:
        return None
    sentence = sentence[0].upper() + sentence[1:]
    paired = all(sentence.count(a) == sentence.count(b) for a, b in ("()", "[]", "{}"))
    balanced = paired and sentence.count('"') % 2 == 0
    fits = MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
    if not fits or not balanced or not sentence[0].isalpha() or PRONOUN_START.match(sentence):
        return None
    return sentence if PLAIN.fullmatch(sentence) and not UNFIT.search(sentence) else None


def _sentence(doc: str) -> str | None:
    paragraph = " ".join(doc.split("\n\n")[0].split())
    if not paragraph:
        return None
    end = SENTENCE_END.search(paragraph)
    return paragraph[: end.end()] if end else paragraph + ("" if paragraph[-1] in ".!?:;,-" else ".")


def strip_signature(doc: str) -> str:
    """`copy(src, dst) -> path` and the like are dropped from a docstring's start."""
    previous, doc = None, doc.strip()
    while doc != previous:
        previous, doc = doc, SIGNATURE.sub("", doc, count=1).strip()
    return doc


def excerpt(doc: str, words: int) -> str:
    """The first `words` words on one line, without a signature; it ends at a sentence's end if one is in reach."""
    listed = strip_signature(doc).split()
    text = " ".join(listed[:words])
    if len(listed) <= words:
        return text
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text + " ..."


def questions(modules: Iterable[ModuleDocs], docs_words: int) -> list[Question]:
    """Every question that the docs can answer, in order of its key; an answer that several share is no answer."""
    # Of a name that several files define for different systems, the last file's docstring counts.
    items = {f"{item.kind}/{item.name}": item for module in modules for item in _with_module(module)}
    answers = {key: first_sentence(item.doc) for key, item in items.items()}
    shared = Counter(answers.values())
    found = {
        key: Question(item, answer, excerpt(item.doc, docs_words))
        for key, item in items.items()
        if (answer := answers[key]) is not None and shared[answer] == 1 and len(item.name) <= MAX_NAME
    }
    ordered = [found[key] for key in sorted(found)]
    return [question for question in ordered if PLAIN.fullmatch(question.docs) and not DRAWING.search(question.docs)]


def _with_module(module: ModuleDocs) -> tuple[DocItem, ...]:
    if not module.doc or any(part.startswith("_") for part in module.module.split(".")):
        return module.items
    return (DocItem(module.module, module.module, ItemKind.MODULE, "", module.doc), *module.items)


def closed_book(question: Question, rng: random.Random) -> Dialogue:
    """The question alone, nothing given. It ends with the user's turn."""
    return Dialogue((Message(Role.USER, ask(question, rng)),))


def ask(question: Question, rng: random.Random) -> str:
    return rng.choice(CLOSED_BOOK[question.item.kind]).format(name=question.item.name)


def with_docs(question: Question, rng: random.Random) -> Dialogue:
    """The question with the start of the docstring that answers it."""
    text = rng.choice(WITH_DOCS).format(name=question.item.name, docs=question.docs, question=ask(question, rng))
    return Dialogue((Message(Role.USER, text),))


def multi_turn(members: list[Question], turns: int, rng: random.Random) -> Dialogue:
    """A dialogue of at most `turns` turns about one module, answers included.

    `members` are questions of one module, the first of which may be about the module itself.
    """
    messages: list[Message] = []
    for position, question in enumerate(members):
        name = question.item.name
        if question.item.kind is ItemKind.MODULE:
            text = rng.choice(OPENERS).format(module=name)
        elif position == 0:
            text = ask(question, rng)
        else:
            text = rng.choice(NEXT).format(name=name, short=name.removeprefix(f"{question.item.module}."))
        messages += [Message(Role.USER, text), Message(Role.ASSISTANT, question.answer)]
        if question.item.kind is not ItemKind.MODULE and rng.random() < 0.3:
            asked, answer = follow_up(question, rng)
            messages += [Message(Role.USER, asked), Message(Role.ASSISTANT, answer)]
    return Dialogue(tuple(messages[: 2 * turns]))


def follow_up(question: Question, rng: random.Random) -> tuple[str, str]:
    """A question about what was just said, with its answer: the dialogue itself holds it."""
    item = question.item
    if rng.random() < 0.5:
        return rng.choice(("Which module is it in?", "Where do I find it?")), f"It is in the {item.module} module."
    return rng.choice(("What kind of thing is it?", "Is it a function, a class or a method?")), f"It is a {item.kind}."

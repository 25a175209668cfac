"""Facts: which paragraphs are one, how often a definition is read, and which one a model picks."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.eval import facts
from arriero.eval.facts import Fact, definitions, draw, facts_in, occurrences, recalled
from tiny_chat import tiny_loaded

PAGE = """\
shutil

Utility functions for copying and archiving files and directory trees.

shutil.copytree(src, dst)
    Recursively copy a directory tree. The destination must not exist.

    If it does, FileExistsError is raised with the name of the directory.

class shutil.Error
\tRaised when several copies have
\tfailed in one operation

Note that this is prose:
    with an example that goes on for long enough.

nadir: the point that is straight below an observer.

ls -- list what a directory holds, by name

shutil.which(cmd)
    Find a command.

The lead comes first, and this is no article's lead sentence any more.
"""


def test_entries_and_sentences_that_define() -> None:
    assert list(definitions(PAGE)) == [
        ("shutil.copytree(src, dst)", "\n    Recursively copy a directory tree."),
        ("class shutil.Error", "\n\tRaised when several copies have\n\tfailed in one operation"),
        ("nadir:", " the point that is straight below an observer."),
        ("ls --", " list what a directory holds, by name"),
    ]


@pytest.mark.parametrize("before", ["", "Thimphu\n\n"])
def test_an_article_s_lead_defines_its_subject(before: str) -> None:
    text = (
        before + "Thimphu is the capital and the largest city of Bhutan. It lies in the west.\n\nBhutan is a country."
    )
    assert list(definitions(text)) == [("Thimphu is", " the capital and the largest city of Bhutan.")]
    assert list(definitions(before + "This is the capital and the largest city of Bhutan.")) == []


@given(st.text(alphabet="aB. \n\t:-", max_size=60))
def test_a_fact_stands_in_its_text(text: str) -> None:
    for term, answer in definitions(text):
        assert term + answer in text
        assert term.strip()


def test_a_term_of_two_definitions_is_no_fact() -> None:
    again = "shutil.copytree(src, dst)\n    Copy a tree of another kind altogether.\n"
    found = facts_in([("shutil", PAGE), ("other", again)])
    assert [(fact.module, fact.term) for fact in found] == [
        ("shutil", t) for t in ("class shutil.Error", "nadir:", "ls --")
    ]


def test_occurrences_are_of_whole_definitions_whatever_lies_between_their_words() -> None:
    answers = ["\n    Copy a tree of files to a place.", "Copy a tree of files", "never said anywhere in it at all"]
    texts = [
        '# copy a TREE of\n#  files "to" a place',
        "copy a tree of files to a",
        "Copy a tree. Of files: copy a tree of files",
    ]
    assert occurrences(answers, texts) == [1, 4, 0]


def test_a_draw_is_a_subset_that_the_order_given_does_not_change() -> None:
    many = [Fact("m", f"term {n}", "definition") for n in range(50)]
    drawn = draw(many, 20, seed=3)
    assert len(set(drawn)) == 20
    assert draw(many[::-1], 20, seed=3) == drawn != draw(many, 20, seed=4)


def test_a_fact_is_recalled_if_its_own_term_makes_its_definition_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, three facts and two distractors each: log p of a definition after its own term and the next two in turn.

    The first is likeliest after its own term, the second after another, the third after two: a tie is no recall.
    """
    rows = [[-10.0, -12.0, -11.0], [-4.0, -9.0, -3.5], [-2.0, -2.0, -6.0]]
    asked = []

    def logprobs(_: object, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        asked.append((list(prompts), list(answers)))
        return [torch.tensor([value / 2, value / 2]) for row in rows for value in row]

    monkeypatch.setattr(facts, "response_logprobs", logprobs)
    three = [Fact("m", term, f" {term} is what {term} does") for term in ("copy", "move", "list")]
    loaded = tiny_loaded()
    found = recalled(loaded, three, 2)
    assert [one.hit for one in found] == [True, False, False]
    assert [one.bits for one in found] == [pytest.approx(bits / math.log(2)) for bits in (10, 4, 2)]
    prompts, answers = zip(*(facts.encoded(fact, loaded.tokenizer) for fact in three), strict=True)
    order, own = (0, 1, 2, 1, 2, 0, 2, 0, 1), (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert asked == [([prompts[n] for n in order], [answers[n] for n in own])]


def test_bits_are_those_of_the_definition_after_its_term() -> None:
    loaded = tiny_loaded()
    pair = [Fact("m", "copy a file", "\n    move the list of a path"), Fact("m", "open", "\n    read the name")]
    for fact, one in zip(pair, recalled(loaded, pair, 1), strict=True):
        prompt, answer = facts.encoded(fact, loaded.tokenizer)
        assert prompt[0] == loaded.tokenizer.bos_id
        assert loaded.tokenizer.decode(prompt[1:] + answer) == "\n\n" + fact.term + fact.answer
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logprobs = loaded.model(ids).log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])
        assert one.bits == pytest.approx(-float(logprobs[len(prompt) - 1 :].sum()) / math.log(2), rel=1e-5)


def test_a_model_that_has_read_nothing_recalls_by_chance() -> None:
    """Random weights, 400 facts of random words, three distractors: within four standard errors of a quarter."""
    generator = torch.Generator().manual_seed(0)
    words = ["copy", "move", "list", "file", "path", "open", "close", "read", "name", "over"]
    drawn = torch.randint(0, len(words), (400, 8), generator=generator).tolist()
    many = [Fact("m", " ".join(words[i] for i in row[:3]), " " + " ".join(words[i] for i in row[3:])) for row in drawn]
    hits = [one.hit for one in recalled(tiny_loaded(), many, 3)]
    assert abs(sum(hits) / 400 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("distractors", [0, 2, 3])
def test_more_distractors_than_other_facts_are_refused(distractors: int) -> None:
    with pytest.raises(ValueError, match="distractors need at least"):
        recalled(tiny_loaded(), [Fact("m", "copy", " moves"), Fact("m", "open", " reads")], distractors)

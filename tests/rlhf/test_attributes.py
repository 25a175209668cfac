import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.rlhf.attributes import ATTRIBUTES, FAMILIES, Attribute, Instruction, draw_instruction

PLAIN = "The function copies a whole directory tree to another place, following links on the way"


@pytest.mark.parametrize(
    ("family", "value", "kept", "broken"),
    [
        ("length", "3", ["one two three", "One."], ["one two three four"]),
        ("case", "capital", ["IT IS 3.", "A"], ["It is", "it", "..."]),
        ("case", "small", ["it is 3.", "a"], ["It is", "IT"]),
        ("opening", "Captain:", ["Captain: yes", "CAPTAIN: YES"], ["Captain yes", "Yes, Captain: "]),
        ("ending", "over", ["It is done, over", "over.", "Done OVER!"], ["It is moreover", "over and out", "over?"]),
        ("ending", "!", ["Yes!", "Yes !", "Over!"], ["Yes", "! Yes.", "Yes!."]),
    ],
)
def test_checks(family, value, kept, broken):
    attribute = Attribute(family, value)
    assert [attribute.check(text) for text in kept] == [True] * len(kept)
    assert [attribute.check(text) for text in broken] == [False] * len(broken)
    assert not attribute.check("")
    assert not attribute.check(" !. ")


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda a: f"{a.family}-{a.value}")
def test_an_ordinary_answer_does_not_keep_to_an_attribute_by_chance_and_a_repair_makes_it(attribute):
    assert not attribute.check(PLAIN)
    assert attribute.check(attribute.apply(PLAIN))
    assert attribute.value in attribute.full
    assert attribute.value in attribute.short
    assert len(attribute.short) < len(attribute.full)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 100_000), st.text(alphabet="abcXYZ .,!?5", max_size=60))
def test_any_drawn_combination_can_be_kept_together(seed, text):
    instruction = draw_instruction(random.Random(seed))
    answer = f"{text} word"
    repaired = instruction.apply(answer)
    assert instruction.check(repaired), (instruction.text, repaired)
    assert instruction.apply(repaired) == repaired


def test_drawing_is_seeded_and_mixes_one_and_two_attributes_and_both_wordings():
    drawn = [draw_instruction(random.Random(seed)) for seed in range(300)]
    assert drawn == [draw_instruction(random.Random(seed)) for seed in range(300)]
    assert all(len({a.family for a in i.attributes}) == len(i.attributes) for i in drawn)
    for share in (sum(i.shortened for i in drawn) / 300, sum(len(i.attributes) == 2 for i in drawn) / 300):
        assert 0.4 < share < 0.6
    assert {a for i in drawn for a in i.attributes} == set(ATTRIBUTES)


def test_every_family_has_an_attribute():
    assert {a.family for a in ATTRIBUTES} == set(FAMILIES)


def test_the_wording_joins_the_attributes_in_full_or_in_short():
    attributes = (Attribute("case", "capital"), Attribute("ending", "over"))
    assert Instruction(attributes, shortened=True).text == "Letters: capital. End: over."
    assert Instruction(attributes, shortened=False).text == (
        'Always write in capital letters only. Always end your answer with "over".'
    )


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="family must be one of"):
        Attribute("hobby", "chess")

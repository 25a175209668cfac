"""Attributes of an answer that a program can check: the instructions of Ghost Attention.

Source: Llama 2, section 3.3: an instruction is a random combination of constraints (hobbies, language, public figure),
half the time shortened ("Figure: Napoleon"). There a person, or a model, judges whether an answer keeps to it. Here the
constraints are those that a small model can follow and a program can check, so that recall is counted and not guessed.
"""

import random
import re
from dataclasses import dataclass

# An instruction joins attributes of different families only, and these never contradict each other.
FAMILIES = ("length", "opening", "ending", "case")
_LENGTH_SLACK = 2  # words that an opening and an ending may add after a repair has shortened the answer


@dataclass(frozen=True)
class Attribute:
    """One constraint: its family and value, e.g. ("ending", "over"), with the wording in full and in short."""

    family: str
    value: str

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {self.family!r}")

    @property
    def full(self) -> str:
        wordings = {
            "length": f"Always answer in at most {self.value} words.",
            "case": f"Always write in {self.value} letters only.",
            "opening": f'Always begin your answer with "{self.value}".',
            "ending": f'Always end your answer with "{self.value}".',
        }
        return wordings[self.family]

    @property
    def short(self) -> str:
        names = {"length": "Words at most", "case": "Letters", "opening": "Begin", "ending": "End"}
        return f"{names[self.family]}: {self.value}" + ("." if self.value[-1].isalnum() else "")

    def check(self, answer: str) -> bool:
        """Whether the answer keeps to the attribute; an answer without a letter or digit never does.

        Openings and endings are compared without regard to case, as another attribute may fix it; a full stop or an
        exclamation mark may follow a closing word.
        """
        text = answer.strip()
        if not re.search(r"\w", text):
            return False
        if self.family == "length":
            return len(text.split()) <= int(self.value)
        if self.family == "case":
            letters = "".join(c for c in text if c.isalpha())
            return bool(letters) and letters == (letters.upper() if self.value == "capital" else letters.lower())
        if self.family == "opening":
            return text.lower().startswith(self.value.lower())
        closing = text if self.value[-1] in ".!?" else text.rstrip(" .!")
        return _ends_with(closing.lower(), self.value.lower())

    def apply(self, answer: str) -> str:
        """The answer, changed by rule to keep to the attribute: synthetic data, where a sampler cannot follow."""
        if self.check(answer):
            return answer
        text = answer.strip()
        if self.family == "length":
            return " ".join(text.split()[: max(1, int(self.value) - _LENGTH_SLACK)])
        if self.family == "case":
            return text.upper() if self.value == "capital" else text.lower()
        if self.family == "opening":
            return f"{self.value} {text}"
        return f"{text.rstrip('.!?')}{self.value}" if self.value == "!" else f"{text} {self.value}"


def _ends_with(text: str, ending: str) -> bool:
    before = text[: -len(ending)]
    return text.endswith(ending) and not (ending[0].isalnum() and before[-1:].isalnum())


# Each is one that an answer hardly keeps to by chance, or recall would say little.
ATTRIBUTES = (
    Attribute("length", "6"),
    Attribute("opening", "Captain:"),
    Attribute("opening", "Well,"),
    Attribute("opening", "Dear friend,"),
    Attribute("ending", "over"),
    Attribute("ending", "amen"),
    Attribute("ending", "!"),
    Attribute("case", "capital"),
    Attribute("case", "small"),
)


@dataclass(frozen=True)
class Instruction:
    """A combination of attributes, and whether it is worded in short."""

    attributes: tuple[Attribute, ...]
    shortened: bool

    @property
    def text(self) -> str:
        return " ".join(a.short if self.shortened else a.full for a in self.attributes)

    def check(self, answer: str) -> bool:
        """Whether the answer keeps to every attribute."""
        return all(a.check(answer) for a in self.attributes)

    def apply(self, answer: str) -> str:
        """The answer changed to keep to the attributes, in the order of FAMILIES. It may still fail `check`."""
        for attribute in sorted(self.attributes, key=lambda a: FAMILIES.index(a.family)):
            answer = attribute.apply(answer)
        return answer

    def to_json(self) -> dict[str, object]:
        return {
            "attributes": [{"family": a.family, "value": a.value} for a in self.attributes],
            "shortened": self.shortened,
            "text": self.text,
        }


def draw_instruction(generator: random.Random) -> Instruction:
    """One attribute, or two of different families, each as likely; worded in short half the time.

    Families are drawn first, so that one with many values is no likelier than one with few.
    """
    families = sorted({a.family for a in ATTRIBUTES})
    chosen = generator.sample(families, min(len(families), generator.choice((1, 2))))
    attributes = tuple(generator.choice([a for a in ATTRIBUTES if a.family == family]) for family in chosen)
    return Instruction(attributes, shortened=generator.random() < 0.5)

"""Plain, slow definitions of what the steps look for, to judge what they found beside the planted cases."""

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence

TOKEN = re.compile(r"[^\W_]+")
EXACT, BUDGET = 10, 4
WORDS = 2000  # of a text, which are compared
ALIKE = (
    0.7  # of words in common order: a copy with 30% of its words replaced, deleted or joined by others has 0.7 to 0.8
)


def likeness(first: str, second: str) -> float:
    """The share of words that two texts have in common, in order (difflib's ratio)."""
    a, b = (TOKEN.findall(text.lower())[:WORDS] for text in (first, second))
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


class SharedSpans:
    """The paper's rule (appendix A.6): more than 10 tokens, at most 4 differ, none of the first 10 nor the last."""

    def __init__(self, samples: Sequence[str]) -> None:
        self.samples = [TOKEN.findall(sample.lower()) for sample in samples]
        self.starts: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for number, tokens in enumerate(self.samples):
            for start in range(len(tokens) - EXACT + 1):
                self.starts[tuple(tokens[start : start + EXACT])].append((number, start))

    def in_text(self, text: str) -> str | None:
        """A sample's part that the text shares, or None."""
        tokens = TOKEN.findall(text.lower())
        for place in range(len(tokens) - EXACT + 1):
            for number, start in self.starts.get(tuple(tokens[place : place + EXACT]), ()):
                length, missed = EXACT, 0
                pairs = zip(tokens[place + EXACT :], self.samples[number][start + EXACT :], strict=False)
                for offset, (one, other) in enumerate(pairs, EXACT + 1):
                    missed += one != other
                    if missed > BUDGET:
                        break
                    if one == other:
                        length = offset
                if length > EXACT:
                    return " ".join(self.samples[number][start : start + length])
        return None

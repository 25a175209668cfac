"""Overlap of an answer with the true one: exact match and token F1.

Source: the normalisation and both measures are SQuAD's (Rajpurkar et al., arXiv:1606.05250), which Llama 2 uses for
reading comprehension and, as exact match, for world knowledge (section 2.3).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> list[str]:
    """Words of `text`: lower case, without ASCII punctuation and English articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, reference: str) -> bool:
    """Whether both normalise to the same words."""
    return normalise(answer) == normalise(reference)


def token_f1(answer: str, reference: str) -> float:
    """F1 of the normalised words as bags, in [0, 1]. Two empty texts agree: 1."""
    return bag_f1(normalise(answer), normalise(reference))


def bag_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of the shares of `answer` and of `reference` that the other holds, counting repeats; in [0, 1]."""
    if not answer or not reference:
        return float(not answer and not reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))

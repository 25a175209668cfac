"""Which comparisons are held out. Paper, section 3.2.1: 1000 test examples of every batch."""

import hashlib
import json

from arriero.dialogue import Dialogue
from arriero.preference.record import Split


def split_of(prompt: Dialogue, test_fraction: float, seed: int, group: str = "") -> Split:
    """The split of all comparisons of `prompt`, test with probability `test_fraction`.

    It depends on the seed and on the prompt's group, or without one its text, alone: a prompt that comes back in a
    later batch, or in other words, keeps its split, so no reward model is tested on a prompt that it was trained on.
    """
    text = json.dumps([seed, group or prompt.to_json()], sort_keys=True, ensure_ascii=False)
    position = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "test" if position < test_fraction else "train"

"""Which comparisons are held out. Paper, section 3.2.1: 1000 test examples of every batch."""

import hashlib

from arriero.preference.record import Split


def split_of(asks: str, test_fraction: float, seed: int) -> Split:
    """The split of all comparisons of prompts that ask the same (`Prompt.asks`), test with probability `test_fraction`.

    It depends on these alone: a prompt that comes back in a later batch, or in other words, keeps its split, so no
    reward model is tested on a prompt that it was trained on.
    """
    position = int.from_bytes(hashlib.sha256(f"{seed} {asks}".encode()).digest()[:8], "big") / 2**64
    return "test" if position < test_fraction else "train"

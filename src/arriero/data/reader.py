"""Reads shards as training windows, in a seeded order that needs no state.

The order is a permutation computed from the position alone (a Feistel network), so resuming at any step is instant
and the windows of a step do not depend on the world size. One pass over the mixture reads each source as often as its
epochs say; a fraction of an epoch reads that fraction of the source's windows, other ones in every pass.
Shapes: B = windows in a batch, T = sequence_length; N = any number of positions.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arriero.artifacts.files import file_digest, read_json
from arriero.errors import ArtifactError, InputError

TOKENS_FILE, SHARDS_FILE = "tokens.bin", "shards.json"

ROUNDS = 6  # four are enough for a pseudo-random permutation of large domains; small ones want more


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every input bit changes every output bit with probability near one half."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def round_keys(*parts: int) -> NDArray[np.uint64]:
    """ROUNDS keys that depend on all the parts (a seed, a pass, ...)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8 * ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def permute(positions_N: NDArray[np.int64], size: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of range(size) takes the positions, which must lie in range(size).

    A balanced Feistel network permutes the next power of four; what lands outside of range(size) is sent through it
    again (cycle walking), which leaves a permutation of range(size).
    """
    assert ((positions_N >= 0) & (positions_N < size)).all()
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    result = positions_N.astype(np.uint64)
    outside = np.ones(len(result), dtype=bool)
    while outside.any():
        left, right = result[outside] >> half, result[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        result[outside] = (left << half) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)


@dataclass(frozen=True)
class _Segment:
    """A source's tokens: `windows` of them begin at `start`, sequence_length apart; `reads` are made in a pass."""

    number: int
    start: int
    windows: int
    reads: int


class ShardReader:
    """Windows of `sequence_length` + 1 tokens (inputs and, shifted by one, targets) from a shards folder.

    Windows do not cross from one source into another. `windows` counts those of one pass over the mixture.
    Opening reads all tokens once to compare their checksum (about a second per GB). Raises ArtifactError if the
    folder is damaged, InputError if it holds less than one window.
    """

    def __init__(self, folder: Path, sequence_length: int, seed: int) -> None:
        self.sequence_length = sequence_length
        self.seed = seed
        about = read_json(folder / SHARDS_FILE)
        path = folder / TOKENS_FILE
        size = path.stat().st_size if path.is_file() else 0
        if size != about["bytes"] or file_digest(path) != about["sha256"][TOKENS_FILE]:
            raise ArtifactError(
                f"{path} is damaged: its {size} bytes are not the {about['bytes']} bytes that {SHARDS_FILE} describes. "
                "Delete the artifact and run data.shards again."
            )
        self.tokenizer: str = about["tokenizer"]  # its digest
        self._segments = []
        for number, source in enumerate(about["sources"]):
            windows = max(0, (source["tokens"] - 1) // sequence_length)
            self._segments.append(_Segment(number, source["start"], windows, round(windows * source["epochs"])))
        self._bounds = np.cumsum([segment.reads for segment in self._segments])
        self.windows = int(self._bounds[-1]) if self._segments else 0
        if not self.windows:
            raise InputError(
                f"The shards {folder} hold {about['tokens']} tokens: no source fills a window of {sequence_length} + 1 "
                "of them. Give more text or a shorter sequence_length."
            )
        self._tokens = np.memmap(path, dtype=np.dtype(about["dtype"]).newbyteorder("<"), mode="r")

    def batch(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """The windows of a step, (B, T + 1) int64: a function of the arguments, the seed and the shards alone."""
        starts_B = self.starts(np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64))
        tokens: NDArray[np.int64] = self._tokens[starts_B[:, None] + np.arange(self.sequence_length + 1)].astype(
            np.int64
        )
        return tokens

    def starts(self, positions_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """First token of the window at each position of the endless order; each `windows` positions are a pass."""
        result_N = np.empty_like(positions_N)
        passes_N, inside_N = np.divmod(positions_N, self.windows)
        for number in np.unique(passes_N):
            rows = passes_N == number
            order = permute(inside_N[rows], self.windows, round_keys(self.seed, int(number)))
            result_N[rows] = self._starts_in_pass(order, int(number))
        return result_N

    def _starts_in_pass(self, reads_N: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        """`reads_N` count the reads of one pass in the order of the sources."""
        result_N = np.empty_like(reads_N)
        owner_N = np.searchsorted(self._bounds, reads_N, side="right")
        for index in np.unique(owner_N):
            segment, rows = self._segments[index], owner_N == index
            read = reads_N[rows] - (self._bounds[index] - segment.reads)
            # A permutation of its own for each source and pass: the last, fractional epoch takes a prefix of it.
            keys = round_keys(self.seed, number, segment.number)
            window = permute(read % segment.windows, segment.windows, keys)
            result_N[rows] = segment.start + window * self.sequence_length
        return result_N

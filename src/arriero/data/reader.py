"""Reads shards as training windows, in a seeded order that needs no state.

The order is a permutation computed from the position alone (a Feistel network), so resuming at any step is instant
and the windows of a step do not depend on the world size. One pass over the mixture reads each source as often as its
epochs say; a fraction of an epoch reads that fraction of the source's windows, other ones in every pass.
Shapes: B = windows in a batch, T = sequence_length; N = any number of positions.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arriero.artifacts.files import file_digest, read_json
from arriero.data.hashing import mixed
from arriero.errors import ArtifactError, ConfigError, InputError

SHARDS_FILE = "shards.json"

BLOCK = 4096  # positions whose order is computed at once: numpy's calls cost more than a small batch's numbers
ROUNDS = 6  # four are enough for a pseudo-random permutation of large domains; small ones want more


def round_keys(*parts: int) -> NDArray[np.uint64]:
    """ROUNDS keys that depend on all the parts (a seed, a pass, ...)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8 * ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _below(bound: np.uint64, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mixed values as numbers below `bound` < 2^32, by multiplication (Lemire, arXiv:1805.10941): division is slow."""
    return (mixed(values) >> np.uint64(32)) * bound >> np.uint64(32)


def permute(positions_N: NDArray[np.int64], size: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of range(size) takes the positions, which must lie in range(size).

    A Feistel network with additions (Black and Rogaway, CT-RSA 2002) permutes range(a b), a and b about the root of
    `size`; what lands outside of range(size) is sent through it again (cycle walking), which leaves a permutation.
    """
    assert ((positions_N >= 0) & (positions_N < size)).all()
    assert size < 1 << 62
    rows = math.isqrt(size - 1) + 1 if size else 1
    a, b = np.uint64(rows), np.uint64(-(-size // rows) or 1)
    result = positions_N.astype(np.uint64)
    outside = np.arange(len(result))
    while len(outside):
        left, right = np.divmod(result[outside], b)
        for even, odd in keys.reshape(-1, 2):
            left += _below(a, right ^ even)
            left -= a * (left >= a)
            right += _below(b, left ^ odd)
            right -= b * (right >= b)
        result[outside] = left * b + right
        outside = outside[result[outside] >= np.uint64(size)]
    return result.astype(np.int64)


@dataclass(frozen=True)
class ShardFile:
    """One file of token ids and its index, as shards.json lists them: documents of one source, end to end."""

    number: int
    source: str
    documents: int
    tokens: int
    sha256: str
    index_sha256: str


def tokens_file(number: int) -> str:
    return f"tokens-{number:05d}.bin"


def index_file(number: int) -> str:
    return f"index-{number:05d}.parquet"


class _Tokens:
    """All files as one array, in their order. Sizes are compared at once; if `check`, a file with its checksum when it
    is first read: about a second per GB."""

    def __init__(self, folder: Path, files: list[ShardFile], dtype: np.dtype[Any], check: bool) -> None:
        self._folder, self._files, self._dtype, self._check = folder, files, dtype, check
        self._maps: list[NDArray[Any] | None] = [None] * len(files)
        self._lengths = np.array([file.tokens for file in files], np.int64)
        self._ends = np.cumsum(self._lengths)
        for file in files:
            path = folder / tokens_file(file.number)
            size = path.stat().st_size if path.is_file() else 0
            if size != file.tokens * dtype.itemsize:
                raise _damaged(path, f"its {size} bytes are not the {file.tokens * dtype.itemsize}")

    def windows(self, starts_B: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """(B, width): the tokens from each start on, which may go on in the next files."""
        owner_B = np.searchsorted(self._ends, starts_B, side="right")
        inside_B = starts_B - (self._ends - self._lengths)[owner_B]
        # Slices, joined: indexing a map with all rows at once is slower, even where one file holds them.
        pieces = []
        for number, inside in zip(owner_B.tolist(), inside_B.tolist(), strict=True):
            pieces.append(self._map(number)[inside : inside + width])
            missing = width - len(pieces[-1])
            while missing:
                number += 1
                pieces.append(self._map(number)[:missing])
                missing -= len(pieces[-1])
        result = np.empty(len(starts_B) * width, np.int64)
        return np.concatenate(pieces, out=result).reshape(len(starts_B), width)

    def _map(self, number: int) -> NDArray[Any]:
        known = self._maps[number]
        if known is None:
            file = self._files[number]
            path = self._folder / tokens_file(file.number)
            if self._check and file_digest(path) != file.sha256:
                raise _damaged(path, "its checksum is not the one")
            # Not np.memmap: each slice of it would make another, which costs more than what is read.
            known = self._maps[number] = np.memmap(path, dtype=self._dtype, mode="r").view(np.ndarray)
        return known


def _damaged(path: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged: {how} that {SHARDS_FILE} states. Delete the artifact and run data.shards again."
    )


@dataclass(frozen=True)
class _Segment:
    """A source's tokens: `windows` of them begin at `start`, sequence_length apart; `reads` are made in a pass."""

    number: int
    start: int
    windows: int
    reads: int


class ShardReader:
    """Windows of `sequence_length` + 1 tokens (inputs and, shifted by one, targets) from a shards folder.

    Windows do not cross from one source into another. `windows` counts those of one pass over the mixture. `epochs`
    replace those of the shards for the sources that they name, by name or kind; 0 leaves a source out. Raises
    ConfigError on an unknown source, InputError if the folder holds less than one window, ArtifactError if a file is
    damaged: its size when opening, its content when it is first read. A run that is resumed has read them: without
    `check` it goes on at once.
    """

    def __init__(
        self,
        folder: Path,
        sequence_length: int,
        seed: int,
        epochs: Mapping[str, float] | None = None,
        check: bool = True,
    ) -> None:
        self.sequence_length = sequence_length
        self.seed = seed
        about = read_json(folder / SHARDS_FILE)
        self.tokenizer: str = about["tokenizer"]  # its digest
        self.epochs = _chosen(dict(epochs or {}), about["sources"])
        self._segments = []
        start = 0
        for number, source in enumerate(about["sources"]):
            windows = max(0, (source["tokens"] - 1) // sequence_length)
            self._segments.append(_Segment(number, start, windows, round(windows * self.epochs[source["name"]])))
            start += source["tokens"]
        self._bounds = np.cumsum([segment.reads for segment in self._segments])
        self.windows = int(self._bounds[-1]) if self._segments else 0
        if not self.windows:
            raise InputError(
                f"The shards {folder} hold {about['tokens']} tokens: no source that is read fills a window of "
                f"{sequence_length} + 1 of them. Give more text or a shorter sequence_length."
            )
        files = [ShardFile(**file) for file in about["files"]]
        self._size = min(BLOCK, self.windows)
        self._known: tuple[int, NDArray[np.int64]] | None = None
        self._tokens = _Tokens(folder, files, np.dtype(about["dtype"]).newbyteorder("<"), check)

    def batch(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """The windows of a step, (B, T + 1) int64: a function of the arguments, the seed and the shards alone."""
        first, last = step * batch_size, (step + 1) * batch_size - 1
        blocks = [self._block(number) for number in range(first // self._size, last // self._size + 1)]
        inside = first % self._size
        starts_B = np.concatenate(blocks)[inside : inside + batch_size]
        return self._tokens.windows(starts_B, self.sequence_length + 1)

    def _block(self, number: int) -> NDArray[np.int64]:
        """`starts` of some positions at once, of which the next batches will want the rest."""
        if self._known is None or self._known[0] != number:
            positions = np.arange(number * self._size, (number + 1) * self._size, dtype=np.int64)
            self._known = number, self.starts(positions)
        return self._known[1]

    def starts(self, positions_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """First token of the window at each position of the endless order; each `windows` positions are a pass."""
        result_N = np.empty_like(positions_N)
        passes_N, inside_N = np.divmod(positions_N, self.windows)
        for number in np.unique(passes_N):
            rows = passes_N == number
            order = permute(inside_N[rows], self.windows, round_keys(self.seed, int(number)))
            result_N[rows] = self._starts_in_pass(order, int(number))
        return result_N

    def tokens_read(self, windows: int) -> dict[str, int]:
        """Tokens of each source in the first `windows` windows of the endless order."""
        firsts = [segment.start for segment in self._segments]
        owner_N = np.searchsorted(firsts, self.starts(np.arange(windows, dtype=np.int64)), side="right") - 1
        counts = np.bincount(owner_N, minlength=len(firsts)) * self.sequence_length
        return dict(zip(self.epochs, counts.tolist(), strict=True))

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


def _chosen(epochs: dict[str, float], sources: list[dict[str, Any]]) -> dict[str, float]:
    """Epochs of each source: as given for its name, else for its kind, else its own."""
    names, kinds = ([source[key] for source in sources] for key in ("name", "kind"))
    for name, value in epochs.items():
        if name not in (*names, *kinds):
            raise ConfigError(
                f"`epochs` names {name!r}, which is no source of these shards ({', '.join(names)}) and no kind of them "
                f"({', '.join(sorted(set(kinds)))})."
            )
        if not 0 <= value < math.inf:
            raise ConfigError(f"`epochs` of {name!r} is {value}: it must be a number, zero or more.")
    return {row["name"]: epochs.get(row["name"], epochs.get(row["kind"], row["epochs"])) for row in sources}

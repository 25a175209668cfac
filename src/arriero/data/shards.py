"""Stage data.shards: the corpus as token ids in memory-mapped files, one for each of its parts.

Each document becomes BOS (where the tokenizer has one) + ids + EOS; no text yields EOS, so it marks the boundaries of
the documents. They lie in a seeded order within their part, so that a prefix of a part is a random subset of it.
Epochs are not copied into the files: `reader.py` applies them. The parts are work units of processes: kitoken releases
Python's lock, but its lists of ids are made and read under it, a sixth of the time: threads would gain nothing beyond
six.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, read_json, write_json
from arriero.config import config, setting
from arriero.corpus import Part, read_parts
from arriero.data.engine import EngineConfig
from arriero.data.parquet import write_parquet
from arriero.data.reader import SHARDS_FILE, ShardFile, index_file, tokens_file
from arriero.data.units import Phase, place
from arriero.tokenizer import Tokenizer, load_tokenizer

TOKENS, INDEX = "tokens.bin", "index.parquet"  # of a unit
BATCH_BYTES = 1 << 20  # of text, tokenised at once: its ids are Python's own numbers, some 40 bytes each
ALONE_BYTES = 1 << 26  # of text: fewer are encoded before two processes, which import torch, have started
LEAST_TOKENS = 1 << 16  # of a part under max_tokens: less would hold the beginnings of documents only


@config
class ShardsConfig:
    """From text to token ids."""

    max_tokens: int | None = setting(
        None,
        "at most this many tokens in one pass over the mixture: a random subset of documents, each source in its share",
        unit="tokens",
        ge=1,
    )
    seed: int = setting(1, "order of the documents, and which are taken under max_tokens", ge=0)
    engine: EngineConfig = setting(EngineConfig(), "where the work is done")


@dataclass(frozen=True)
class PartWork:
    """A part to tokenise, at most `budget` tokens of it."""

    number: int
    part: Part
    budget: int | None

    @property
    def name(self) -> str:
        return f"{self.number:05d}"


def token_budget(max_tokens: int | None, source: dict[str, Any]) -> int | None:
    """Tokens to store of a source of mixture.json, so that all of them read `epochs` times stay under `max_tokens`."""
    return None if max_tokens is None else int(max_tokens * source["share_after"] / source["epochs"])


def part_budgets(budget: int | None, sizes: list[int], seed: int) -> list[int | None]:
    """A source's budget shared among its parts, whose bytes are `sizes`; their sum is the budget exactly.

    Each part's share is by its bytes, so parts with few tokens to a byte leave a little of it. Where the shares would
    be less than LEAST_TOKENS, only some parts, drawn by the seed, get one.
    """
    if budget is None:
        return [None] * len(sizes)
    most = max(1, budget // LEAST_TOKENS)
    chosen = sorted(np.random.default_rng(seed).permutation(len(sizes))[:most].tolist())
    ends = np.cumsum([sizes[place] for place in chosen], dtype=object)
    shares = np.diff([0, *(budget * end // ends[-1] for end in ends)]).tolist()
    by_part = dict(zip(chosen, shares, strict=True))
    return [by_part.get(place, 0) for place in range(len(sizes))]


def planned(corpus: Path, sources: list[dict[str, Any]], cfg: ShardsConfig) -> list[PartWork]:
    """What to tokenise, source by source in the order of mixture.json."""
    parts = read_parts(corpus, "train")
    work: list[PartWork] = []
    for number, source in enumerate(sources):
        own = [part for part in parts if part.source == source["name"] and part.bytes]
        seed = int(np.random.SeedSequence((cfg.seed, number)).generate_state(1)[0])
        budgets = part_budgets(token_budget(cfg.max_tokens, source), [part.bytes for part in own], seed)
        for part, budget in zip(own, budgets, strict=True):
            if budget != 0:
                work.append(PartWork(len(work), part, budget))
    return work


def document_tokens(ids: list[list[int]], tokenizer: Tokenizer, dtype: np.dtype[Any]) -> tuple[NDArray[Any], list[int]]:
    """The documents' tokens one after the other, each with its BOS and EOS, and how many each has."""
    head = tokenizer.bos_id is not None
    lengths = np.fromiter(map(len, ids), np.int64, len(ids)) + head + 1
    ends = np.cumsum(lengths)
    tokens = np.empty(int(lengths.sum()), dtype)
    is_text = np.ones(len(tokens), bool)
    is_text[ends - 1] = False
    tokens[ends - 1] = tokenizer.eos_id
    if tokenizer.bos_id is not None:
        is_text[ends - lengths] = False
        tokens[ends - lengths] = tokenizer.bos_id
    tokens[is_text] = np.fromiter(chain.from_iterable(ids), dtype, int(is_text.sum()))
    return tokens, lengths.tolist()


def encoded(
    texts: Iterator[list[str]], tokenizer: Tokenizer, dtype: np.dtype[Any], budget: int | None
) -> Iterator[tuple[NDArray[Any], list[int]]]:
    """`document_tokens` of each batch until `budget` tokens are reached. The last document is cut there, and its last
    token becomes its EOS; it is left out if that leaves no text of it."""
    left = math.inf if budget is None else budget
    least = 2 + (tokenizer.bos_id is not None)
    for batch in texts:
        tokens, lengths = document_tokens(tokenizer.encode_batch(batch), tokenizer, dtype)
        if len(tokens) > left:
            whole = int(np.searchsorted(np.cumsum(lengths), left, side="right"))
            rest = int(left) - sum(lengths[:whole])
            lengths = lengths[:whole] + ([rest] if rest >= least else [])
            tokens = tokens[: sum(lengths)]
            tokens[-1:] = tokenizer.eos_id
            left = 0
        else:
            left -= len(tokens)
        yield tokens, lengths
        if left < least:
            return


def token_type(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")


def batches(texts: pa.ChunkedArray, order: NDArray[np.int64]) -> Iterator[list[str]]:
    """The texts in `order`, about BATCH_BYTES at a time."""
    sizes = np.asarray(pc.binary_length(texts))[order]
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes, dtype=np.int64) // BATCH_BYTES)) + 1
    for rows in np.split(order, cuts):
        yield texts.take(pa.array(rows)).to_pylist()


@dataclass(frozen=True)
class Tokenise:
    """Writes a part's tokens.bin and index.parquet (id, start, tokens). `load` must be picklable."""

    corpus: Path
    load: Callable[[], Tokenizer]
    seed: int

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.load()

    def __call__(self, folder: Path, work: PartWork) -> tuple[dict[str, Any], dict[str, float]]:
        started = time.process_time()
        table = pq.read_table(self.corpus / work.part.file, columns=["id", "text"])
        order = np.random.default_rng((self.seed, work.number)).permutation(table.num_rows)
        digest, counts = hashlib.sha256(), list[int]()
        with (folder / TOKENS).open("wb") as file:
            texts = batches(table["text"], order)
            for tokens, lengths in encoded(texts, self.tokenizer, token_type(self.tokenizer), work.budget):
                file.write(tokens.data)
                digest.update(tokens.data)
                counts += lengths
        starts = np.cumsum([0, *counts], dtype=np.int64)
        ids = table["id"].take(pa.array(order[: len(counts)]))
        index = pa.table({"id": ids, "start": starts[:-1], "tokens": pa.array(counts, pa.int64())})
        write_parquet(folder / INDEX, index)
        digests = digest.hexdigest(), file_digest(folder / INDEX)
        made = ShardFile(work.number, work.part.source, len(counts), int(starts[-1]), *digests)
        return asdict(made), {"tokenise": time.process_time() - started}


def write_shards(
    corpus: Path, load: Callable[[], Tokenizer], cfg: ShardsConfig, context: StageContext
) -> dict[str, Any]:
    """Writes the files of all parts and shards.json; returns the metrics. `load` must be picklable."""
    sources = read_json(corpus / "mixture.json")["sources"]
    work = planned(corpus, sources, cfg)
    phase = Phase(context, cfg.engine).suited(sum(one.part.bytes for one in work), ALONE_BYTES)
    files = [ShardFile(**made) for made in phase.run("parts", work, Tokenise(corpus, load, cfg.seed))]
    for one in work:
        place(phase.folder("parts", one.name) / TOKENS, context.out / tokens_file(one.number))
        place(phase.folder("parts", one.name) / INDEX, context.out / index_file(one.number))
    tokenizer, about = load(), layout(files, sources)
    kind = {"dtype": token_type(tokenizer).name, "tokenizer": tokenizer.digest()}
    write_json(context.out / SHARDS_FILE, kind | about)
    totals = {name: about[name] for name in ("documents", "tokens", "tokens_per_pass")}
    return totals | {"tokens_by_source": {row["name"]: row["tokens"] for row in about["sources"]}}


def layout(files: list[ShardFile], sources: list[dict[str, Any]]) -> dict[str, Any]:
    """The files, and of each source of mixture.json its tokens before and after its epochs."""
    rows = []
    for source in sources:
        own = [file for file in files if file.source == source["name"]]
        tokens = sum(file.tokens for file in own)
        counted = {"documents": sum(file.documents for file in own), "tokens": tokens}
        named = {key: source[key] for key in ("name", "kind", "epochs")}
        rows.append(named | counted | {"tokens_per_pass": tokens * source["epochs"]})
    total, per_pass = (sum(row[key] for row in rows) for key in ("tokens", "tokens_per_pass"))
    for row in rows:
        row["share_before"] = row["tokens"] / total if total else 0.0
        row["share_after"] = row["tokens_per_pass"] / per_pass if total else 0.0
    totals = {"documents": sum(row["documents"] for row in rows), "tokens": total, "tokens_per_pass": int(per_pass)}
    return totals | {"sources": rows, "files": [asdict(file) for file in files]}


def shards(cfg: ShardsConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Tokenises a corpus with a tokenizer, or with the one that a model carries."""
    source = inputs.one("tokenizer")
    folder = source.path / "tokenizer" if source.manifest.kind == "model" else source.path
    return write_shards(inputs.one("corpus").path, partial(load_tokenizer, folder), cfg, context)


STAGE = Stage(
    "data.shards",
    ShardsConfig,
    (Input("corpus", "corpus"), Input("tokenizer", ("tokenizer", "model"))),
    "shards",
    shards,
)

"""Stage data.shards: the corpus as token ids in one memory-mapped file.

Each document becomes BOS (where the tokenizer has one) + ids + EOS. Documents lie source by source, in a
seeded order within each, so that a prefix of a source is a random subset of it. Epochs are not copied into the file:
`reader.py` applies them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.artifacts import Input, Inputs, Stage, StageContext
from arriero.artifacts.files import file_digest, read_json, sync_folder, write_json
from arriero.config import config, setting
from arriero.data.parquet import write_parquet
from arriero.data.reader import SHARDS_FILE, TOKENS_FILE
from arriero.tokenizer import Tokenizer, load_tokenizer

INDEX_FILE = "index.parquet"
BATCH_DOCUMENTS = 16


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


def token_budget(max_tokens: int | None, source: dict[str, Any]) -> int | None:
    """Tokens to store of a source of mixture.json, so that all of them read `epochs` times stay under `max_tokens`."""
    return None if max_tokens is None else int(max_tokens * source["share_after"] / source["epochs"])


def encoded(texts: Iterator[list[str]], tokenizer: Tokenizer, budget: int | None) -> Iterator[list[int]]:
    """Ids of each document, with its BOS and EOS, until `budget` tokens are reached: the last document is cut there."""
    head = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    left = budget
    for batch in texts:
        if left == 0:
            return
        for ids in tokenizer.encode_batch(batch):
            document = [*head, *ids, tokenizer.eos_id][:left]
            if left is not None:
                left -= len(document)
            yield document
            if left == 0:
                return


def write_shards(corpus: Path, tokenizer: Tokenizer, cfg: ShardsConfig, context: StageContext) -> dict[str, Any]:
    """Writes tokens.bin, index.parquet (id, source, start, tokens) and shards.json; returns the metrics."""
    mixture = read_json(corpus / "mixture.json")
    train = pq.read_table(corpus / "train.parquet", columns=["id", "source", "text"])
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    index: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    position = 0
    partial = context.scratch / TOKENS_FILE
    with partial.open("wb") as file, context.progress(train.num_rows, "documents") as bar:
        for number, source in enumerate(mixture["sources"]):
            table = train.filter(pc.equal(train["source"], source["name"]))
            table = table.take(np.random.default_rng((cfg.seed, number)).permutation(table.num_rows))
            ids, start = table["id"].to_pylist(), position
            texts = _batches(table["text"], context)
            for id, document in zip(ids, encoded(texts, tokenizer, token_budget(cfg.max_tokens, source)), strict=False):
                file.write(np.asarray(document, dtype).tobytes())
                index.append({"id": id, "source": source["name"], "start": position, "tokens": len(document)})
                position += len(document)
                bar.advance()
            named = {key: source[key] for key in ("name", "kind", "epochs")}
            taken = len(index) - sum(row["documents"] for row in sources)
            sources.append(named | {"start": start, "tokens": position - start, "documents": taken})
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, context.out / TOKENS_FILE)
    sync_folder(context.out)
    schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("start", pa.int64()), ("tokens", pa.int64())])
    write_parquet(context.out / INDEX_FILE, pa.Table.from_pylist(index, schema=schema))
    per_pass = sum(row["tokens"] * row["epochs"] for row in sources)
    for row in sources:
        row["share"] = row["tokens"] * row["epochs"] / per_pass if per_pass else 0.0
    digests = {name: file_digest(context.out / name) for name in (TOKENS_FILE, INDEX_FILE)}
    totals = {"documents": len(index), "tokens": position, "tokens_per_pass": int(per_pass)}
    layout = {"dtype": dtype.name, "tokenizer": tokenizer.digest(), "bytes": position * dtype.itemsize}
    write_json(context.out / SHARDS_FILE, {**layout, **totals, "sources": sources, "sha256": digests})
    return totals | {"tokens_by_source": {row["name"]: row["tokens"] for row in sources}}


def _batches(texts: pa.ChunkedArray, context: StageContext) -> Iterator[list[str]]:
    for start in range(0, len(texts), BATCH_DOCUMENTS):
        context.check_stop()
        yield texts.slice(start, BATCH_DOCUMENTS).to_pylist()


def shards(cfg: ShardsConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Tokenises a corpus with a tokenizer, or with the one that a model carries."""
    source = inputs.one("tokenizer")
    folder = source.path / "tokenizer" if source.manifest.kind == "model" else source.path
    return write_shards(inputs.one("corpus").path, load_tokenizer(folder), cfg, context)


STAGE = Stage(
    "data.shards",
    ShardsConfig,
    (Input("corpus", "corpus"), Input("tokenizer", ("tokenizer", "model"))),
    "shards",
    shards,
)

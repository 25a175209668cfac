"""The mixture: how many times each source is read in one pass over the corpus.

Source: Llama 2 (arXiv:2307.09288) section 2.1: "up-sampling the most factual sources". The paper states no weights.
An epoch count says directly how often a text is seen, which a share does not; nothing is copied: the reader of the
shards applies the counts.
"""

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arriero.data.sources import Source, SourceKind
from arriero.errors import ConfigError


def epochs_by_source(epochs: Mapping[str, float], sources: list[Source]) -> dict[str, float]:
    """Epochs of each source: by its name, else by its kind, else 1. Raises ConfigError on a key that is neither."""
    wrong = [name for name, value in epochs.items() if not 0 < value < math.inf]
    if wrong:
        raise ConfigError(f"`epochs` of {wrong[0]!r} is {epochs[wrong[0]]}: it must be a number above zero.")
    names = [source.name for source in sources]
    unknown = sorted(set(epochs) - set(names) - set(SourceKind))
    if unknown:
        raise ConfigError(
            f"`epochs` names {unknown[0]!r}, which is no source of this crawl ({', '.join(names)}) "
            f"and no kind of source ({', '.join(SourceKind)})."
        )
    return {source.name: epochs.get(source.name, epochs.get(source.kind, 1.0)) for source in sources}


def mixture(train: pa.Table, epochs: Mapping[str, float], sources: list[Source]) -> dict[str, Any]:
    """Documents, bytes and epochs of each source with text left, and its share of the bytes before and after epochs.

    `epochs` are by source, as `epochs_by_source` gives them.
    """
    rows: list[dict[str, Any]] = []
    for source in sources:
        texts = train.filter(pc.equal(train["source"], source.name))["text"]
        if len(texts):
            size = pc.sum(pc.binary_length(texts)).as_py()
            rows.append(
                {"name": source.name, "kind": source.kind.value, "documents": len(texts), "bytes": size}
                | {"epochs": epochs[source.name]}
            )
    before = sum(row["bytes"] for row in rows)
    after = sum(row["bytes"] * row["epochs"] for row in rows)
    for row in rows:
        row["share_before"] = row["bytes"] / before
        row["share_after"] = row["bytes"] * row["epochs"] / after
    return {"sources": sorted(rows, key=lambda row: row["name"]), "bytes": before, "bytes_per_pass": after}

"""What the proxies' measurements say: intervals by mix, changes against the first mix, a table.

The models of one mix differ by their seed. What is measured on a document or a fact is averaged over them first; the
intervals then resample modules, since documents and facts of one module are no independent evidence. They say how far
other text could move a figure; what other seeds do is told by each seed's own figure, `seeds`.
"""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arriero.eval.bits_per_byte import Document
from arriero.eval.facts import Fact
from arriero.metrics.intervals import bootstrap_ratio
from arriero.report.text import interval, share

Values = NDArray[np.float64]
WHERE = {"train": "training text", "heldout": "held-out text"}


class _Measure:
    """One quantity as a ratio of sums over items: bits over bytes, hits over facts."""

    def __init__(self, sizes: Sequence[float], modules: Sequence[str], seed: int) -> None:
        self._sizes, self._modules, self._seed = np.asarray(sizes, dtype=np.float64), modules, seed

    def of(self, values_SN: Values) -> dict[str, Any]:
        """Interval of the mean over S seeds of N items, and each seed's own figure."""
        own = (values_SN.sum(axis=1) / self._sizes.sum()).tolist()
        found = bootstrap_ratio(values_SN.mean(axis=0), self._sizes, self._seed, groups=self._modules)
        return found.to_json() | {"seeds": own}

    def both(self, values_SN: Values, first_SN: Values) -> dict[str, Any]:
        """`of`, and the change from the first mix on the same items and seeds."""
        return self.of(values_SN) | {"change": self.of(values_SN - first_SN)}


def summary(
    rows: Sequence[Mapping[str, Any]],
    documents: Mapping[str, Sequence[Document]],
    facts: Mapping[str, Sequence[Fact]],
    tokens: Mapping[str, int],
    factual: Collection[str],
    seed: int,
) -> dict[str, Any]:
    """results.json, from one row a model; rows of a mix stand together, seeds in the same order.

    `tokens` are those of each source in the shards, `factual` the sources that facts are asked of.
    """
    by_mix: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_mix.setdefault(row["mix"], []).append(row)
    first = next(iter(by_mix.values()))
    bits = {
        source: _Measure([d.bytes for d in listed], [d.module for d in listed], seed)
        for source, listed in documents.items()
    }
    modules = {side: [fact.module for fact in listed] for side, listed in facts.items()}
    hits = {side: _Measure([1] * len(listed), modules[side], seed) for side, listed in facts.items()}
    costs = {side: _Measure([f.bytes for f in listed], modules[side], seed) for side, listed in facts.items()}

    def asked(own: Sequence[Mapping[str, Any]], side: str, key: str) -> Values:
        return np.array([[float(one[key]) for one in row["facts"][side]] for row in own])

    def read(own: Sequence[Mapping[str, Any]], source: str) -> Values:
        return np.array([row["bits"][source] for row in own], dtype=np.float64)

    def times(own: Sequence[Mapping[str, Any]], sources: Collection[str]) -> float:
        return fmean(sum(row["tokens_read"][s] for s in sources) / sum(tokens[s] for s in sources) for row in own)

    mixes = [
        {
            "mix": mix,
            "epochs": own[0]["epochs"],
            "times_read": {source: times(own, [source]) for source, count in tokens.items() if count},
            "factual_read": times(own, factual),
            "training_loss": fmean(row["training_loss"] for row in own),
            "bits_per_byte": {name: m.both(read(own, name), read(first, name)) for name, m in bits.items()},
            "recall": {side: m.both(asked(own, side, "hit"), asked(first, side, "hit")) for side, m in hits.items()},
            "definition_bits_per_byte": {
                side: m.both(asked(own, side, "bits"), asked(first, side, "bits")) for side, m in costs.items()
            },
        }
        for mix, own in by_mix.items()
    ]
    return {
        "parameters": rows[0]["parameters"],
        "tokens": tokens,
        "documents": {source: len(listed) for source, listed in documents.items()},
        "facts": {side: len(listed) for side, listed in facts.items()},
        "mixes": mixes,
    }


def table(results: Mapping[str, Any]) -> str:
    """Two Markdown tables: what each mix gives, and how that differs from the first mix."""
    sources, sides = list(results["documents"]), list(results["facts"])
    first, *others = results["mixes"]
    heads = ["mix", f"times {results['facts_source']} is read"]
    measures = [f"held-out {source}, bits per byte" for source in sources]
    measures += [f"facts recalled, {WHERE[side]}" for side in sides]
    measures += [f"their definitions, {WHERE[side]}, bits per byte" for side in sides]
    rows = [
        [row["mix"], f"{row['factual_read']:.2f}"]
        + [interval(row["bits_per_byte"][source], 3) for source in sources]
        + [share(row["recall"][side]) for side in sides]
        + [interval(row["definition_bits_per_byte"][side], 2) for side in sides]
        for row in results["mixes"]
    ]
    changes = [
        [row["mix"], f"{row['factual_read']:.2f}"]
        + [interval(row["bits_per_byte"][source]["change"], 3, signed=True) for source in sources]
        + [interval(row["recall"][side]["change"], 2, signed=True) for side in sides]
        + [interval(row["definition_bits_per_byte"][side]["change"], 2, signed=True) for side in sides]
        for row in others
    ]
    asked = " and ".join(f"{count} facts of {WHERE[side]}" for side, count in results["facts"].items())
    about = (
        f"{results['seeds']} models of {results['parameters']:,} parameters a mix, {asked}; by chance "
        f"{results['chance']:.0%} are recalled. Brackets: 95% bootstrap over modules.\n\n"
    )
    said = about + _markdown([*heads, *measures], rows)
    return said + (f"\nChange from mix {first['mix']}:\n\n" + _markdown([*heads, *measures], changes) if others else "")


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that stand in the manifest."""
    by_mix = {row["mix"]: row for row in results["mixes"]}
    return {
        "parameters": results["parameters"],
        "facts": results["facts"],
        "times_read": {mix: row["factual_read"] for mix, row in by_mix.items()},
        "recall": {mix: {side: i["mean"] for side, i in row["recall"].items()} for mix, row in by_mix.items()},
        "bits_per_byte": {mix: {s: i["mean"] for s, i in row["bits_per_byte"].items()} for mix, row in by_mix.items()},
    }

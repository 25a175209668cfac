"""The mixture: how many times each source is read in one pass over the corpus.

Source: Llama 2 (arXiv:2307.09288) section 2.1: "up-sampling the most factual sources". The paper states no weights.
An epoch count says directly how often a text is seen, which a share does not; nothing is copied: the reader of the
shards applies the counts. They are found in three steps, from each source's bytes b:
1. `epochs` e as stated: the source gives b e bytes, p = b e / W of a pass of W = sum of b e bytes.
2. `temperature` T: shares q = p^(1/T) / sum of p^(1/T), of a pass of the same W bytes, so e' = q W / b. T = 1 changes
   nothing; the higher T, the more equal are the sources. It is the exponent alpha = 1/T of multilingual BERT and of XLM
   (arXiv:1901.07291, section 3.1: 0.5).
3. `caps` c: e'' = min(e', c / b). What a cap takes away no other source gets: the pass is that much smaller. (T5,
   arXiv:1910.10683, caps before the temperature, which can then raise a source above its cap; here a cap holds.)
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from arriero.config import config, setting
from arriero.data.sources import Source, SourceKind
from arriero.errors import ConfigError


@config
class MixtureConfig:
    """How often each source is read in one pass over the mixture."""

    epochs: dict[str, float] = setting(
        {"reference": 3.0},
        "passes over a source, by its name or kind, in one pass over the mixture; 1 where not named",
        unit="epochs",
    )
    temperature: Annotated[float, Field(allow_inf_nan=False)] = setting(
        1.0, "shares p become p^(1/temperature), normalised, in a pass as large as before; 1 changes nothing", ge=1
    )
    caps: dict[str, float] = setting(
        {},
        "most bytes of a source, by its name or kind, in one pass over the mixture, after epochs and temperature",
        unit="bytes",
    )


def by_source(field: str, values: Mapping[str, float], sources: list[Source]) -> dict[str, float]:
    """The value of each source that has one: by its name, else by its kind. Raises ConfigError, naming the config's
    `field`, on a key that is neither and on a value that is no number above zero."""
    wrong = [name for name, value in values.items() if not 0 < value < math.inf]
    if wrong:
        raise ConfigError(f"`{field}` of {wrong[0]!r} is {values[wrong[0]]}: it must be a number above zero.")
    names = [source.name for source in sources]
    unknown = sorted(set(values) - set(names) - set(SourceKind))
    if unknown:
        raise ConfigError(
            f"`{field}` names {unknown[0]!r}, which is no source of this crawl ({', '.join(names)}) "
            f"and no kind of source ({', '.join(SourceKind)})."
        )
    known = {source.name: values.get(source.name, values.get(source.kind)) for source in sources}
    return {name: value for name, value in known.items() if value is not None}


def epochs_by_source(epochs: Mapping[str, float], sources: list[Source]) -> dict[str, float]:
    """Epochs of each source as stated: by its name, else by its kind, else 1. Raises ConfigError as `by_source`."""
    stated = by_source("epochs", epochs, sources)
    return {source.name: stated.get(source.name, 1.0) for source in sources}


def mixed(
    sizes: Mapping[str, int], epochs: Mapping[str, float], temperature: float, caps: Mapping[str, float]
) -> dict[str, float]:
    """Epochs of each source after temperature and caps, all by source; `sizes` are bytes, above zero."""
    given = {name: size * epochs[name] for name, size in sizes.items()}
    total = sum(given.values())
    weights = {name: (amount / total) ** (1 / temperature) for name, amount in given.items()}
    weight = sum(weights.values())
    # At T = 1 the stated epochs themselves, not what rounding makes of them.
    tempered = epochs if temperature == 1 else {n: weights[n] / weight * total / size for n, size in sizes.items()}
    return {name: min(tempered[name], caps.get(name, math.inf) / size) for name, size in sizes.items()}


def mixture(counts: Mapping[str, tuple[int, int]], cfg: MixtureConfig, sources: list[Source]) -> dict[str, Any]:
    """What mixture.json holds: documents, bytes and epochs of each source with text left, and its share of the bytes
    before and after epochs, temperature and caps.

    `counts` are the training documents of a source and the bytes of their text. Raises ConfigError as `by_source`.
    """
    stated, caps = epochs_by_source(cfg.epochs, sources), by_source("caps", cfg.caps, sources)
    kinds = {source.name: source.kind.value for source in sources}
    sizes = {name: counts[name][1] for name in sorted(counts) if counts[name][1]}
    epochs = mixed(sizes, stated, cfg.temperature, caps)
    before, after = sum(sizes.values()), sum(size * epochs[name] for name, size in sizes.items())
    rows = [
        {
            "name": name,
            "kind": kinds[name],
            "documents": counts[name][0],
            "bytes": size,
            "epochs_stated": stated[name],
            "epochs": epochs[name],
            "share_before": size / before,
            "share_after": size * epochs[name] / after,
        }
        for name, size in sizes.items()
    ]
    return {"sources": rows, "bytes": before, "bytes_per_pass": after}

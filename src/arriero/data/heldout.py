"""Which modules of a crawl are held out of training."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arriero.data.sources import seeded_fraction


@dataclass(frozen=True)
class Heldout:
    """Which modules are held out: those of the given names, and of all others a seeded share."""

    names: frozenset[str] = frozenset()
    share: float = 0.0
    seed: int = 0

    def __contains__(self, module: str) -> bool:
        return module in self.names or (self.share > 0 and seeded_fraction(self.seed, module) < self.share)

    def mask(self, modules: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """True where the module is held out."""
        encoded = modules.combine_chunks().dictionary_encode()
        held = np.array([module in self for module in encoded.dictionary.to_pylist()], dtype=bool)
        return held[np.asarray(encoded.indices)] if len(modules) else np.zeros(0, dtype=bool)

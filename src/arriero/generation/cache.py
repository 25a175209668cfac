"""A KV cache for many rows, each as far along as it is.

Slot s of a row holds its token at position s, so rows need no padding at the left: a new token attends to the slots
up to its own position. What lies beyond is unused and masked.
Shapes: R rows of the cache, B rows in use, K key/value heads, S slots, P tokens of a prefix, T new tokens, D width of
a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from arriero.model import ModelConfig

Layers = Sequence[tuple[Tensor, Tensor]]


class KVCache:
    """Keys and values of every layer, (R, K, S, D) each.

    Attention reads all slots of the first rows, so those are one block of memory: products over a slice of the slots
    take four times as long. `resize` keeps the number of slots near what is in use.
    """

    def __init__(self, config: ModelConfig, rows: int, slots: int, *, dtype: torch.dtype, device: torch.device) -> None:
        # Zero, since a masked slot still enters a product (with weight zero) and must be finite.
        shape = (rows, config.n_kv_heads, slots, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]

    @property
    def slots(self) -> int:
        return self.keys[0].shape[2]

    def resize(self, slots: int, used: int) -> None:
        """Changes the number of slots, keeping what the first `used` rows hold in those that remain."""
        kept = min(slots, self.slots)
        for stored in (self.keys, self.values):
            for layer, old in enumerate(stored):
                R, K, _, D = old.shape
                stored[layer] = old.new_zeros(R, K, slots, D)
                stored[layer][:used, :, :kept] = old[:used, :, :kept]

    def move(self, source: int, target: int) -> None:
        """Copies one row over another."""
        for stored in (*self.keys, *self.values):
            stored[target] = stored[source]

    def fill(self, first: int, sources: Tensor, start: int, read: Layers) -> None:
        """Writes prompts that were read: `sources[i]` of the batch into row `first + i`, from slot `start` on."""
        for layer, (keys_BKTD, values_BKTD) in enumerate(read):
            rows, slots = slice(first, first + len(sources)), slice(start, start + keys_BKTD.shape[2])
            self.keys[layer][rows, :, slots] = keys_BKTD[sources]
            self.values[layer][rows, :, slots] = values_BKTD[sources]

    def decode(self, positions_B: Tensor) -> "Decode":
        """For one pass over one token each of rows 0 to B - 1, at the positions given."""
        return Decode(self, positions_B)


class Decode:
    """Writes one token a row, and gives back the row so far; `attention_mask` belongs to it."""

    def __init__(self, cache: KVCache, positions_B: Tensor) -> None:
        self._cache, self._positions_B = cache, positions_B
        self._rows_B = torch.arange(len(positions_B), device=positions_B.device)
        self.positions = positions_B[:, None]
        in_use_BS = torch.arange(cache.slots, device=positions_B.device) <= self.positions
        self.attention_mask = in_use_BS[:, None, None]

    def append(self, layer: int, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._rows_B, :, self._positions_B] = keys_BKTD[:, :, 0]
        values[self._rows_B, :, self._positions_B] = values_BKTD[:, :, 0]
        used = len(self._rows_B)
        return keys[:used], values[:used]


class Recorder:
    """Keeps the keys and values of texts read from their start, in `read`. No `attention_mask` is needed: causal."""

    attention_mask: Tensor | None = None

    def __init__(self, tokens_BT: Tensor) -> None:
        self.positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        self.read: list[tuple[Tensor, Tensor]] = []

    def append(self, layer: int, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        assert layer == len(self.read)
        self.read.append((keys_BKTD, values_BKTD))
        return keys_BKTD, values_BKTD


class Continuation(Recorder):
    """Texts read on from prefixes that were read before; `attention_mask` belongs to it.

    Text b goes on after the first `lengths_B[b]` tokens of prefix `sources_B[b]`. `read` holds the new tokens only.
    """

    def __init__(self, prefixes: Layers, sources_B: Tensor, lengths_B: Tensor, tokens_BT: Tensor) -> None:
        super().__init__(tokens_BT)
        self._prefixes, self._sources_B = prefixes, sources_B
        B, T = tokens_BT.shape
        P = prefixes[0][0].shape[2]
        prefix_BTP = (torch.arange(P, device=tokens_BT.device) < lengths_B[:, None])[:, None].expand(B, T, P)
        causal_BTT = torch.ones(T, T, dtype=torch.bool, device=tokens_BT.device).tril().expand(B, T, T)
        self.attention_mask = torch.cat((prefix_BTP, causal_BTT), dim=2)[:, None]
        self.positions = self.positions + lengths_B[:, None]

    def append(self, layer: int, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        super().append(layer, keys_BKTD, values_BKTD)
        keys, values = (prefix[self._sources_B] for prefix in self._prefixes[layer])
        return torch.cat((keys, keys_BKTD), dim=2), torch.cat((values, values_BKTD), dim=2)

"""A decoding step as a CUDA graph: a small model's step is a thousand kernels that take longer to launch than to run.

Shapes: R rows of the cache, V vocabulary.
"""

import torch
from torch import Tensor

from arriero.generation.cache import KVCache
from arriero.model import Transformer


class DecodeGraph:
    """One token a row, for all rows of a cache, recorded once and then replayed on the same memory.

    A row that holds nothing is computed, too; give it position 0.
    """

    def __init__(self, model: Transformer, cache: KVCache, tokens_R: Tensor, positions_R: Tensor) -> None:
        self._model, self._cache = model, cache
        self._memory = cache.keys[0]
        self._tokens_R, self._positions_R = tokens_R.to(model.device), positions_R.to(model.device)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._decode()  # what is set up at a first call must not be recorded
            self._graph.capture_begin()
            self._logits_RV = self._decode()
            self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def _decode(self) -> Tensor:
        view = self._cache.decode(self._positions_R)
        hidden_R1D = self._model.hidden(self._tokens_R[:, None], cache=view, attention_mask=view.attention_mask)
        return self._model.logits(hidden_R1D[:, 0])

    def fits(self, cache: KVCache) -> bool:
        """Whether the cache still is the memory that was recorded: resizing replaces it."""
        return cache.keys[0] is self._memory

    def __call__(self, tokens_R: Tensor, positions_R: Tensor) -> Tensor:
        """(R, V) logits, valid until the next call."""
        self._tokens_R.copy_(tokens_R)
        self._positions_R.copy_(positions_R)
        self._graph.replay()
        return self._logits_RV

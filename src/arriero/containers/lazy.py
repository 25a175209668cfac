"""A tensor that is described now and read when it is needed, so that models larger than memory pass through."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LazyTensor:
    """`read()` gives, at each call, a tensor of this shape and dtype on the CPU: a view of a mapped file or a copy."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> "LazyTensor":
        """A tensor that is in memory already."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor.detach().cpu())

    @property
    def n_bytes(self) -> int:
        count = self.dtype.itemsize
        for length in self.shape:
            count *= length
        return count

    def then(
        self,
        change: Callable[[Tensor], Tensor],
        *,
        shape: tuple[int, ...] | None = None,
        dtype: torch.dtype | None = None,
    ) -> "LazyTensor":
        """What `change` makes of it when it is read; `shape` and `dtype` are the result's where they differ."""
        return LazyTensor(
            self.shape if shape is None else shape,
            self.dtype if dtype is None else dtype,
            lambda: change(self.read()),
        )

    def to(self, dtype: torch.dtype) -> "LazyTensor":
        return self if dtype == self.dtype else self.then(lambda tensor: tensor.to(dtype), dtype=dtype)

    def watched(self, on_read: Callable[[], None]) -> "LazyTensor":
        """The same; `on_read` is called each time that it has been read: to move a progress bar, or to stop."""

        def seen(tensor: Tensor) -> Tensor:
            on_read()
            return tensor

        return self.then(seen)

    def buffer(self, name: str) -> memoryview:
        """Its bytes in row-major order, read now. `name`: what to call it where `read` gave another shape or dtype."""
        tensor = self.read()
        assert tuple(tensor.shape) == self.shape, f"{name}: {tuple(tensor.shape)} read, {self.shape} announced"
        assert tensor.dtype == self.dtype, f"{name}: {tensor.dtype} read, {self.dtype} announced"
        return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data

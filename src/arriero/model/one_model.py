"""Several models, one in memory at a time."""

from collections.abc import Callable
from typing import TypeVar

import torch

from arriero.artifacts import Artifact, Machine
from arriero.model.checkpoint import LoadedModel, load_model

T = TypeVar("T")


class OneModel:
    """Holds the one model that was asked for last, so that no two lie in memory."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._id = ""
        self._held: object = None

    def model(self, artifact: Artifact) -> LoadedModel:
        """The model in the machine's dtype."""
        dtype = getattr(torch, self._machine.dtype)
        return self._only(artifact, lambda: load_model(artifact, self._machine, dtype=dtype))

    def _only(self, artifact: Artifact, load: Callable[[], T]) -> T:
        if self._id != artifact.id:
            self._id, self._held = "", None  # before the next one is read
            self._held, self._id = load(), artifact.id
        return self._held  # type: ignore[return-value]

"""A model as another project released it, opened but not read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arriero.containers.lazy import LazyTensor
from arriero.model.config import ModelConfig
from arriero.tokenizer import JinjaTemplate, Tokenizer


@dataclass(frozen=True)
class Release:
    """What every format's reader gives.

    weights: by our names and in our order of rows, in the dtype that the file has them in (quantised ones as float32)
    chat_template: the model's own Jinja template; None if it brings none
    stop_ids: tokens that it ends an answer with, besides those of its template and tokenizer
    """

    path: Path
    config: ModelConfig
    weights: Mapping[str, LazyTensor]
    tokenizer: Tokenizer
    chat_template: JinjaTemplate | None = None
    stop_ids: frozenset[int] = frozenset()

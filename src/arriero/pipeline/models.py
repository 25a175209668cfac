"""Finds a model by whatever name a user has for it: a preset, a file or folder, an artifact."""

from dataclasses import dataclass
from pathlib import Path

from arriero.artifacts import Artifact
from arriero.config import nearest
from arriero.errors import ArtifactError, InputError
from arriero.model import PRESETS, ModelConfig
from arriero.model.checkpoint import ADAPTER, DESCRIPTION, TOKENIZER, WEIGHTS, stored_model
from arriero.model.importing import format_of, open_release
from arriero.pipeline.runs import Runs
from arriero.tokenizer import Tokenizer, load_chat_format, load_tokenizer

FORMATS = {"gguf": "GGUF file", "hf": "Hugging Face folder", "meta": "Meta's folder", "llama2c": "llama2.c file"}


@dataclass(frozen=True)
class FoundModel:
    """`source` says what it is. `stored_bytes`: its weights as they lie on disk; a preset has none.

    `tokenizer` and `chat_format` are in words; None where it has none.
    """

    source: str
    config: ModelConfig
    stored_bytes: int | None = None
    tokenizer: str | None = None
    chat_format: str | None = None


def find_model(name: str, runs: Runs) -> FoundModel:
    """The model of that name, its weights unread.

    Raises InputError naming the nearest preset if there is none, or if it is no model that is read here.
    """
    if name in PRESETS:
        return FoundModel("preset", PRESETS[name])
    if Path(name).exists():
        return _released(Path(name))
    try:
        artifact = runs.artifact(name)
    except ArtifactError:
        if ":" in name:
            raise
        raise InputError(
            f"There is no model {name!r}: it is no preset ({nearest(name, PRESETS).rstrip('.')}), no file or folder, "
            f"and no artifact in {runs.root} (RUN:STAGE or an id)."
        ) from None
    return _stored(artifact, name)


def _released(path: Path) -> FoundModel:
    release = open_release(path)
    # A file may hold its weights quantised; a folder's tensors keep their dtype when they are opened.
    size = path.stat().st_size if path.is_file() else sum(tensor.n_bytes for tensor in release.weights.values())
    return FoundModel(
        f"{FORMATS[format_of(path)]} {path}",
        release.config,
        size,
        _in_words(release.tokenizer),
        None if release.chat_template is None else "its own Jinja template",
    )


def _stored(artifact: Artifact, name: str) -> FoundModel:
    """Of a model or a reward model, whose folder is a model's and a head."""
    files = artifact.manifest.files
    if DESCRIPTION not in files:
        raise InputError(f"{name} is of kind {artifact.manifest.kind}, not a model; see `arriero runs show`.")
    config, _ = stored_model(artifact)
    tokenizer = load_tokenizer(artifact.path / TOKENIZER)
    adapters = ", adapters on another" if ADAPTER in files else ""
    return FoundModel(
        f"artifact {artifact.id} of {artifact.manifest.stage}{adapters}",
        config,
        sum(files[file]["bytes"] for file in (WEIGHTS, ADAPTER) if file in files),
        _in_words(tokenizer),
        load_chat_format(artifact.path / TOKENIZER, tokenizer).name,
    )


def _in_words(tokenizer: Tokenizer) -> str:
    return f"{type(tokenizer).__name__}, {tokenizer.vocab_size:,} tokens"

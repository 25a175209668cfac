"""A Llama in llama2.c's `.bin`, with the tokenizer's `.bin` beside it. Its queries and keys are ordered as ours."""

from pathlib import Path

from arriero.config import parse
from arriero.containers.llama2c import open_llama2c as open_file
from arriero.errors import InputError
from arriero.model.config import ModelConfig
from arriero.model.formats.release import Release
from arriero.tokenizer import tokenizer_from_file

TOKENIZER = "tokenizer.bin"


def open_llama2c(path: Path, tokenizer: Path | None = None) -> Release:
    """`tokenizer`: its file, where none lies beside. Raises InputError if a file is missing, damaged, or another's."""
    file = open_file(path)
    values = {
        "dim": file.dim,
        "n_layers": file.n_layers,
        "n_heads": file.n_heads,
        "n_kv_heads": file.n_kv_heads,
        "vocab_size": file.vocab_size,
        "ffn_dim": file.ffn_dim,
        "max_seq_len": file.max_seq_len,
        "tied_embeddings": file.tied,
    }
    config = parse(ModelConfig, values, str(path))  # norm_eps and rope_theta are constants of llama2.c: our defaults
    return Release(path, config, file.tensors, tokenizer_from_file(tokenizer or beside(path)))


def beside(path: Path) -> Path:
    """The tokenizer's file in the model's folder: `tokenizer.bin`, or the only `tok*.bin`."""
    own = path.with_name(TOKENIZER)
    found = [own] if own.is_file() else sorted(set(path.parent.glob("tok*.bin")) - {path})
    if len(found) == 1:
        return found[0]
    names = f" ({', '.join(file.name for file in found)})" if found else ""
    raise InputError(f"Beside {path} lies no {TOKENIZER}, nor one tok*.bin{names}. Set tokenizer to its file's path.")

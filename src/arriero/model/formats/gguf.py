"""A Llama in a GGUF file (llama.cpp), both ways. Its queries and keys are in interleaved-pair order, as ours."""

from collections.abc import Mapping
from pathlib import Path

from arriero.config import parse
from arriero.containers.gguf import GgufFile, read_gguf, write_gguf
from arriero.containers.lazy import LazyTensor
from arriero.containers.quantization import F16, F32, Q4_0, Q8_0, TensorType
from arriero.errors import InputError
from arriero.model.config import ModelConfig
from arriero.model.formats.gguf_rope import ROPE_DIVISORS, gguf_rope_scaling, rope_divisors, rope_entries, short
from arriero.model.formats.names import NameTable
from arriero.model.formats.release import Release
from arriero.tokenizer import ChatFormat, gguf_vocabulary, template_from_gguf, tokenizer_from_gguf

_NAMES = NameTable(
    "blk.",
    {
        "tok_embeddings.weight": "token_embd.weight",
        "norm.weight": "output_norm.weight",
        "output.weight": "output.weight",
    },
    {
        "attention.wq": "attn_q",
        "attention.wk": "attn_k",
        "attention.wv": "attn_v",
        "attention.wo": "attn_output",
        "feed_forward.w1": "ffn_gate",
        "feed_forward.w2": "ffn_down",
        "feed_forward.w3": "ffn_up",
        "attention_norm": "attn_norm",
        "ffn_norm": "ffn_norm",
    },
)
# Weight type -> the type of the matrices, and llama.cpp's number for such a file.
WEIGHT_TYPES: dict[str, tuple[TensorType, int]] = {
    "f32": (F32, 0),
    "f16": (F16, 1),
    "q8_0": (Q8_0, 7),
    "q4_0": (Q4_0, 2),
}
# Of the layout of quantised blocks; all files since 2023 have this one.
_QUANTIZATION_VERSION = 2


def gguf_config(file: GgufFile) -> ModelConfig:
    """The config in the file's metadata. Raises InputError if it is no Llama or has a feature that ours lacks."""
    architecture = file.value("general.architecture", str)
    if architecture != "llama":
        raise InputError(f"{file.path} holds a model of architecture {architecture!r}; only 'llama' is read.")
    if file.metadata.get("llama.expert_count", 0):
        raise InputError(f"{file.path} is a mixture of experts, which is not supported. Choose a dense Llama.")
    heads = file.value("llama.attention.head_count", int)
    if "token_embd.weight" not in file.tensors:
        raise InputError(f"{file.path} has no tensor 'token_embd.weight': it holds a vocabulary but no model.")
    values = {
        "dim": file.value("llama.embedding_length", int),
        "n_layers": file.value("llama.block_count", int),
        "n_heads": heads,
        "n_kv_heads": file.metadata.get("llama.attention.head_count_kv", heads),
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "ffn_dim": file.value("llama.feed_forward_length", int),
        "norm_eps": short(file.value("llama.attention.layer_norm_rms_epsilon", float)),
        "rope_theta": short(file.metadata.get("llama.rope.freq_base", 10000.0)),
        "max_seq_len": file.value("llama.context_length", int),
        "tied_embeddings": "output.weight" not in file.tensors,
    }
    if "llama.attention.key_length" in file.metadata:
        values["head_dim"] = file.value("llama.attention.key_length", int)
    config = parse(ModelConfig, values, str(file.path))
    for key, what in (("rope.dimension_count", "rotates"), ("attention.value_length", "has values of")):
        width = file.metadata.get(f"llama.{key}", config.head_dim)
        if width != config.head_dim:
            raise InputError(f"{file.path} {what} only {width} of {config.head_dim} entries of a head: not supported.")
    return gguf_rope_scaling(file, config)


def open_gguf(path: Path) -> Release:
    """Raises InputError if the file is damaged, or no Llama that is read here."""
    file = read_gguf(path)
    config, weights, tokenizer = gguf_config(file), gguf_weights(file), tokenizer_from_gguf(file)
    named = [file.metadata.get(f"tokenizer.ggml.{token}_token_id") for token in ("eos", "eot", "eom")]
    # llama.cpp stops on each of them, and passes over ids that are none.
    stop_ids = frozenset(id for id in named if type(id) is int and 0 <= id < tokenizer.vocab_size)
    return Release(path, config, weights, tokenizer, template_from_gguf(file), stop_ids)


def gguf_weights(file: GgufFile) -> dict[str, LazyTensor]:
    """All weights by our names, quantised ones in float32. Raises InputError on a tensor without a counterpart."""
    return {_our_name(file, name): file.tensor(name) for name in sorted(file.tensors) if name != ROPE_DIVISORS}


def _our_name(file: GgufFile, name: str) -> str:
    ours = _NAMES.ours(name)
    if ours is None:
        raise InputError(f"{file.path} has a tensor {name!r}, which a plain Llama has no place for.")
    return ours


def write_gguf_model(
    path: Path,
    config: ModelConfig,
    weights: Mapping[str, LazyTensor],
    chat_format: ChatFormat,
    *,
    weight_type: str,
    name: str,
) -> None:
    """Writes a model that llama.cpp runs: whole or not at all, one weight in memory at a time.

    weight_type: of the matrices, one of WEIGHT_TYPES; one whose rows are no whole number of blocks is written in f16
    name: of the model, as llama.cpp shows it
    Raises InputError if llama.cpp has no counterpart to the rotary scaling or the tokenizer, or on a weight that the
    type has no room for.
    """
    matrix, file_type = WEIGHT_TYPES[weight_type]
    metadata = {
        "general.architecture": "llama",
        "general.name": name,
        "general.file_type": file_type,
        "general.quantization_version": _QUANTIZATION_VERSION,
        "llama.context_length": config.max_seq_len,
        "llama.embedding_length": config.dim,
        "llama.block_count": config.n_layers,
        "llama.feed_forward_length": config.ffn_dim,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.attention.layer_norm_rms_epsilon": config.norm_eps,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": config.rope_theta,
        "llama.vocab_size": config.vocab_size,
        **rope_entries(config),
        **gguf_vocabulary(chat_format, config.vocab_size),
    }
    tensors = {_NAMES.theirs(ours): (tensor, _type_of(tensor, matrix)) for ours, tensor in sorted(weights.items())}
    divisors = rope_divisors(config)
    if divisors is not None:
        tensors[ROPE_DIVISORS] = (LazyTensor.of(divisors), F32)
    write_gguf(path, metadata, tensors)


def _type_of(tensor: LazyTensor, matrix: TensorType) -> TensorType:
    """llama.cpp wants norms in float32."""
    if len(tensor.shape) < 2:
        return F32
    return matrix if tensor.shape[-1] % matrix.block_size == 0 else F16

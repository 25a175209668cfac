"""A Llama in Meta's own folder: params.json, tokenizer.model and consolidated.00.pth, 01 ..., one for each GPU.

Each part holds its share of every matrix, as Meta's tensor-parallel layers cut them: by rows what fans out (wq, wk, wv,
w1, w3, output), by columns what comes together (wo, w2); norms are whole in each. The embedding is cut by columns in
Llama 1 and 2, by rows in Llama 3. Names and order of rows are ours.
Source: `llama/model.py` of https://github.com/meta-llama/llama and of /llama3, fairscale's model-parallel layers.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arriero.artifacts.files import read_json, write_atomic, write_json
from arriero.config import parse, resolved
from arriero.containers import torch_zip
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model.config import ModelConfig, RopeScaling, llama_ffn_dim
from arriero.model.formats.release import Release
from arriero.tokenizer import Tokenizer, tiktoken_file, tokenizer_from_file

PARAMS, TOKENIZER = "params.json", "tokenizer.model"
MOST_PARTS = 8  # that are written, as of Llama 2 70B; more are read
_EMBEDDING, _OUTPUT = "tok_embeddings.weight", "output.weight"
_BY_COLUMNS = ("wo.weight", "w2.weight")
_IGNORED = "rope.freqs"  # the table of rotary frequencies, which the config says
_FEATURES = ("moe_args", "vision_model", "quantization_args", "lora_args")
# (dim, layers) of Llama 3.2's 1B and 3B. Their params.json is of Llama 3.1's form, but positions are scaled by 32: the
# config.json that Meta released beside it says so, and transformers' converter decides by the version, too.
_LLAMA32 = ((2048, 16), (3072, 28))


def _scaling(dim: int, n_layers: int) -> RopeScaling:
    """What `use_scaled_rope` stands for in a model of these sizes."""
    factor = 32.0 if (dim, n_layers) in _LLAMA32 else 8.0
    return RopeScaling(kind="llama3", factor=factor, original_max_seq_len=8192)


def open_meta(folder: Path, tokenizer: Path | None = None) -> Release:
    """`tokenizer`: its file, where neither the folder nor its parent has one.

    Raises InputError if a file is missing or damaged, or it is no Llama that is read here.
    """
    parts = [torch_zip.open_lazy(path) for path in _part_files(folder)]
    config = meta_config(folder / PARAMS, parts)
    return Release(folder, config, _merged(folder, config, parts), tokenizer_from_file(tokenizer or beside(folder)))


def beside(folder: Path) -> Path:
    """The tokenizer's file: in the folder, or above, where Meta's download of Llama 1 and 2 puts it."""
    for place in (folder, folder.resolve().parent):
        if (place / TOKENIZER).is_file():
            return place / TOKENIZER
    raise InputError(f"There is no {TOKENIZER} in {folder} or above. Copy it there, or set tokenizer to its path.")


def meta_config(path: Path, parts: list[dict[str, LazyTensor]]) -> ModelConfig:
    """The config that `params.json` and the parts' shapes give. Raises InputError if they do not fit each other.

    The file names no context: it is Llama 3.1's where positions are scaled, else Llama 3's, Code Llama's or Llama 2's,
    by the base of the positions. A Llama 1 gets Llama 2's 4096 and was trained on 2048: its file can be that of a
    Llama 2 (the first of which had its norm_eps of 1e-6, too).
    """
    found = read_json(path)
    for feature in _FEATURES:
        if found.get(feature):
            raise InputError(f"{path}: {feature} is set; only plain Llamas are read. Choose another model.")
    try:
        values = {key: found[key] for key in ("dim", "n_layers", "n_heads")}
    except KeyError as error:
        raise InputError(f"{path} has no field {error}, which a Llama's params need.") from None
    given = {key: found.get(key) for key in ("multiple_of", "ffn_dim_multiplier", "norm_eps", "rope_theta")}
    values |= {key: value for key, value in given.items() if value is not None}
    scaling = found.get("use_scaled_rope", False)
    base = values.get("rope_theta", 10_000.0)
    contexts = {500_000.0: 131_072 if scaling else 8192, 1_000_000.0: 16_384}
    output = _first(path, parts, _OUTPUT).shape
    values |= {
        "n_kv_heads": values["n_heads"] if found.get("n_kv_heads") is None else found["n_kv_heads"],
        "vocab_size": found["vocab_size"] if found.get("vocab_size", -1) > 0 else output[0] * len(parts),
        "max_seq_len": found.get("max_seq_len") or contexts.get(base, 4096),
    }
    if scaling:
        usual = resolved(_scaling(values["dim"], values["n_layers"]))
        values["rope_scaling"] = usual | {"factor": found.get("rope_scaling_factor") or usual["factor"]}
    config = parse(ModelConfig, values, str(path))
    _check_count(path.parent, config, parts)
    width = _first(path, parts, "layers.0.feed_forward.w1.weight").shape[0] * len(parts)
    if width != config.ffn_dim:
        raise InputError(
            f"{path}: multiple_of and ffn_dim_multiplier make a feed-forward of width {config.ffn_dim}, the weights "
            f"have {width}. They do not belong together: fetch both again."
        )
    return config


def _check_count(folder: Path, config: ModelConfig, parts: list[dict[str, LazyTensor]]) -> None:
    """Raises InputError unless there are as many parts as the matrices are cut in."""
    rows = _first(folder / PARAMS, parts, "layers.0.attention.wq.weight").shape[0]
    if rows * len(parts) == config.dim:
        return
    if rows > 0 and config.dim % rows == 0 and config.dim // rows > len(parts):
        raise InputError(
            f"{folder} has no {_part_name(len(parts))}: its weights are cut in {config.dim // rows} parts, of which "
            f"{len(parts)} are there. Fetch the others."
        )
    raise InputError(
        f"{folder}: {len(parts)} parts with {rows} rows of wq do not make the dim of {config.dim} that {PARAMS} says. "
        "They do not belong together: fetch them again."
    )


def _first(path: Path, parts: list[dict[str, LazyTensor]], name: str) -> LazyTensor:
    if name not in parts[0] or len(parts[0][name].shape) != 2:
        raise InputError(f"{path.parent / _part_name(0)} has no matrix {name!r}, which every Llama has.")
    return parts[0][name]


def _part_name(part: int) -> str:
    return f"consolidated.{part:02}.pth"


def _part_files(folder: Path) -> list[Path]:
    """All parts in order. Raises InputError naming the first that is missing."""
    found = {path.name for path in folder.glob("consolidated.*") if re.fullmatch(r"consolidated\.\d\d\.pth", path.name)}
    names = [_part_name(part) for part in range(max(len(found), 1))]
    for name in names:
        if name not in found:
            raise InputError(f"{folder} has no {name}, a part of the weights. Fetch it.")
    return [folder / name for name in names]


def _merged(folder: Path, config: ModelConfig, parts: list[dict[str, LazyTensor]]) -> dict[str, LazyTensor]:
    """Every tensor whole, put together when it is read."""
    weights: dict[str, LazyTensor] = {}
    for number, part in enumerate(parts):
        if part.keys() != parts[0].keys():
            odd = sorted(part.keys() ^ parts[0].keys())[0]
            raise InputError(f"{folder}: only one of {_part_name(0)} and {_part_name(number)} has the tensor {odd!r}.")
    for name in sorted(parts[0].keys() - {_IGNORED}):
        pieces = [part[name] for part in parts]
        shape = list(pieces[0].shape)
        for number, piece in enumerate(pieces):
            if piece.shape != pieces[0].shape or piece.dtype != pieces[0].dtype:
                raise InputError(
                    f"{folder / _part_name(number)}: {name!r} is not of the shape and dtype of the first part's."
                )
        if len(shape) == 2:
            cut = _cut(name, by_columns=shape[1] != config.dim)
            shape[cut] *= len(pieces)
            join = partial(torch.cat, dim=cut)
        else:
            join = partial(_one_of_equal, f"{folder}: {name!r}")
        weights[name] = LazyTensor(tuple(shape), pieces[0].dtype, partial(_read, pieces, join))
    return weights


def _cut(name: str, *, by_columns: bool) -> int:
    """The dimension in which a matrix is cut. `by_columns`: whether the embedding's is the second."""
    return int(by_columns if name == _EMBEDDING else name.endswith(_BY_COLUMNS))


def _read(pieces: list[LazyTensor], join: Any) -> Tensor:
    tensors = [piece.read() for piece in pieces]
    whole: Tensor = tensors[0] if len(tensors) == 1 else join(tensors)
    return whole


def _one_of_equal(where: str, tensors: list[Tensor]) -> Tensor:
    if any(not torch.equal(tensor, tensors[0]) for tensor in tensors):
        raise InputError(f"{where} differs between the parts, which all hold the whole of it. Fetch the folder again.")
    return tensors[0]


def write_meta(
    folder: Path, config: ModelConfig, weights: Mapping[str, LazyTensor], tokenizer: Tokenizer, parts: int
) -> None:
    """Writes a folder that Meta's code loads on `parts` GPUs, each tensor in the dtype that it comes in.

    The output layer is written even where it is the embedding, since Meta's code ties nothing; the context has no place
    in the file. Raises InputError if the model cannot be cut so, or has what Meta's code lacks.
    """
    params = _params(config)
    _check_parts(config, parts)
    vocabulary = tokenizer.files().get(TOKENIZER)
    by_columns = vocabulary is not None  # as in Llama 2; with tiktoken's vocabulary, as in Llama 3
    vocabulary = vocabulary or tiktoken_file(tokenizer)
    if vocabulary is None:
        raise InputError(
            "Meta's code reads only SentencePiece and Llama 3's tokenizer, not this model's. Export to hf."
        )
    whole = dict(weights)
    whole.setdefault(_OUTPUT, whole[_EMBEDDING])
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        shares = {name: _share(name, whole[name], part, parts, by_columns) for name in sorted(whole)}
        torch_zip.save(folder / _part_name(part), shares)
    write_atomic(folder / TOKENIZER, vocabulary)
    write_json(folder / PARAMS, params)


def _params(config: ModelConfig) -> dict[str, Any]:
    """`params.json`. Only what Llama 2's loader knows, where that says all: it refuses other fields."""
    if config.head_dim * config.n_heads != config.dim:
        raise InputError(f"Meta's format has no place for a head_dim ({config.head_dim}) other than dim / n_heads.")
    usual = _scaling(config.dim, config.n_layers)
    if config.rope_scaling not in (None, usual):
        raise InputError(
            "Meta's format has no place for scaled positions other than Llama 3.1's, by a factor of "
            f"{usual.factor:g} in a model of this size. Export to hf."
        )
    multiple, multiplier = config.multiple_of, config.ffn_dim_multiplier
    if llama_ffn_dim(config.dim, multiple, multiplier) != config.ffn_dim:
        # The rule rounds up to a multiple of ffn_dim; it must start from no more.
        multiple, multiplier = config.ffn_dim, min(1.0, config.ffn_dim / int(8 * config.dim / 3))
        assert llama_ffn_dim(config.dim, multiple, multiplier) == config.ffn_dim
    params: dict[str, Any] = {
        "dim": config.dim,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "vocab_size": config.vocab_size,
        "multiple_of": multiple,
        "norm_eps": config.norm_eps,
    }
    if multiplier != 1.0:
        params["ffn_dim_multiplier"] = multiplier
    if config.rope_theta != 10_000.0:
        params["rope_theta"] = config.rope_theta
    if config.rope_scaling is not None:
        params["use_scaled_rope"] = True
    return params


def _check_parts(config: ModelConfig, parts: int) -> None:
    if not 1 <= parts <= MOST_PARTS:
        raise InputError(f"parts is {parts}; it must be from 1 to {MOST_PARTS}.")
    for field in ("n_heads", "n_kv_heads", "ffn_dim", "vocab_size"):
        if getattr(config, field) % parts:
            raise InputError(f"{parts} parts do not divide {field}, which is {getattr(config, field)}. Choose fewer.")


def _share(name: str, tensor: LazyTensor, part: int, parts: int, by_columns: bool) -> LazyTensor:
    if len(tensor.shape) == 1:
        return tensor
    cut = _cut(name, by_columns=by_columns)
    length = tensor.shape[cut] // parts
    shape = tuple(length if d == cut else full for d, full in enumerate(tensor.shape))
    return tensor.then(lambda read: read.narrow(cut, part * length, length), shape=shape)

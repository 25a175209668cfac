"""Meta's folders: what we write runs in Meta's own arithmetic, split over parts as on as many GPUs, and reads back."""

import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arriero.containers import torch_zip
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from arriero.model import ModelConfig, Transformer
from arriero.model.checkpoint import fill, load_model, skeleton, stated
from arriero.model.config import RopeScaling
from arriero.model.exporting import export_huggingface, export_meta
from arriero.model.formats.meta import meta_config, open_meta, write_meta
from arriero.model.importing import STAGE, ImportConfig, open_release, outside_digests
from arriero.tokenizer import Tokenizer
from arriero.tokenizer.tiktoken import tokenizer_from_tiktoken
from contained import fuzz
from stages import context, inputs, model_artifact
from tiny_chat import tiny_tokenizer

SCALED = RopeScaling(kind="llama3", factor=8.0, original_max_seq_len=8192)
BYTES = b"".join(b"%s %d\n" % (base64.b64encode(bytes([n])), n) for n in range(256))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[ModelConfig, int]:
    """A config and a number of parts that divides it."""
    parts = draw(st.sampled_from([1, 2, 8]))
    n_kv_heads = parts * draw(st.integers(1, 2 if parts < 8 else 1))
    n_heads = n_kv_heads * draw(st.integers(1, 2))
    config = ModelConfig(
        dim=n_heads * draw(st.sampled_from([2, 4, 6])),
        n_layers=draw(st.integers(1, 2)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=512,
        ffn_dim=parts * draw(st.integers(1, 40)),
        norm_eps=draw(st.sampled_from([1e-5, 1e-6])),
        rope_theta=draw(st.sampled_from([10_000.0, 500_000.0])),
        rope_scaling=draw(st.sampled_from([None, SCALED])),
        tied_embeddings=draw(st.booleans()),
    )
    return config, parts


def random_model(config: ModelConfig, seed: int = 5) -> Transformer:
    model, generator = Transformer(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3, generator=generator)
    return model


def meta_angles(params: dict[str, Any], length: int) -> Tensor:
    """`precompute_freqs_cis` and `apply_scaling` of Meta's llama-models, models/llama3/model.py."""
    head = params["dim"] // params["n_heads"]
    freqs = 1.0 / (params.get("rope_theta", 10_000.0) ** (torch.arange(0, head, 2)[: head // 2].float() / head))
    if params.get("use_scaled_rope"):
        scaled = []
        for freq in freqs.tolist():
            wavelen = 2 * torch.pi / freq
            smooth = (8192 / wavelen - 1) / (4 - 1)
            middle = (1 - smooth) * freq / 8 + smooth * freq
            scaled.append(freq if wavelen < 8192 / 4 else freq / 8 if wavelen > 8192 else middle)
        freqs = torch.tensor(scaled)
    angles = torch.outer(torch.arange(length).float(), freqs)
    return torch.polar(torch.ones_like(angles), angles)


def meta_logits(folder: Path, tokens_T: Tensor) -> Tensor:
    """Meta's forward pass (llama/model.py), each part on its own with what it holds; sums where Meta's all-reduce."""
    params = json.loads((folder / "params.json").read_text())
    parts = [torch.load(path, weights_only=True) for path in sorted(folder.glob("consolidated.*.pth"))]
    n, head = len(parts), params["dim"] // params["n_heads"]
    heads, kv_heads = params["n_heads"] // n, params["n_kv_heads"] // n
    length = len(tokens_T)
    turns = meta_angles(params, length)[:, None]
    mask = torch.full((length, length), float("-inf")).triu(1)

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + params["norm_eps"]) * weight

    def turned(x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * turns).flatten(2)

    def attend(part: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
        q = turned(F.linear(x, part[at + "wq.weight"]).view(length, heads, head))
        k = turned(F.linear(x, part[at + "wk.weight"]).view(length, kv_heads, head))
        v = F.linear(x, part[at + "wv.weight"]).view(length, kv_heads, head)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) / head**0.5 + mask
        return F.linear(torch.einsum("hts,shd->thd", scores.softmax(-1), v).flatten(1), part[at + "wo.weight"])

    if parts[0]["tok_embeddings.weight"].shape[1] == params["dim"]:  # Llama 3's VocabParallelEmbedding
        share = params["vocab_size"] // n
        x = torch.zeros(length, params["dim"])
        for rank, part in enumerate(parts):
            inside = (tokens_T >= rank * share) & (tokens_T < (rank + 1) * share)
            x[inside] += part["tok_embeddings.weight"][tokens_T[inside] - rank * share]
    else:  # Llama 2's ParallelEmbedding
        x = torch.cat([F.embedding(tokens_T, part["tok_embeddings.weight"]) for part in parts], -1)
    for layer in range(params["n_layers"]):
        at = f"layers.{layer}."
        y = norm(x, parts[-1][at + "attention_norm.weight"])
        x = x + sum(attend(part, at + "attention.", y) for part in parts)
        y = norm(x, parts[-1][at + "ffn_norm.weight"])
        for part in parts:
            w1, w2, w3 = (part[f"{at}feed_forward.w{i}.weight"] for i in (1, 2, 3))
            x = x + F.linear(F.silu(F.linear(y, w1)) * F.linear(y, w3), w2)
    x = norm(x, parts[-1]["norm.weight"])
    return torch.cat([F.linear(x, part["output.weight"]) for part in parts], -1)


def meta_ffn_dim(params: dict[str, Any]) -> int:
    """FeedForward.__init__ of llama/model.py."""
    hidden = int(2 * (4 * params["dim"]) / 3)
    if params.get("ffn_dim_multiplier") is not None:
        hidden = int(params["ffn_dim_multiplier"] * hidden)
    return int(params["multiple_of"] * ((hidden + params["multiple_of"] - 1) // params["multiple_of"]))


@settings(max_examples=30)
@given(shapes(), st.sampled_from(["llama2", "llama3"]))
def test_an_export_runs_in_metas_arithmetic_and_reads_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[ModelConfig, int], family: str
) -> None:
    config, parts = shape
    model, folder = random_model(config), tmp_path_factory.mktemp("meta")
    tokenizer: Tokenizer = tiny_tokenizer() if family == "llama2" else tokenizer_from_tiktoken(BYTES)
    write_meta(folder, config, stated(model), tokenizer, parts)
    params = json.loads((folder / "params.json").read_text())
    assert len(list(folder.glob("*.pth"))) == parts
    assert meta_ffn_dim(params) == config.ffn_dim
    llama2_knows = {"dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier"}
    llama3_knows = {"rope_theta", "use_scaled_rope"} if config.rope_theta > 10_000 or config.rope_scaling else set()
    assert params.keys() <= llama2_knows | {"norm_eps"} | llama3_knows, "Meta's loaders refuse other fields"
    tokens = torch.randint(0, 512, (19,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(meta_logits(folder, tokens), model(tokens[None])[0], atol=1e-4, rtol=1e-4)

    release = open_meta(folder)
    known = {"multiple_of", "ffn_dim_multiplier", "max_seq_len", "tied_embeddings"}  # what Meta has no place for
    assert {k: v for k, v in release.config.to_json().items() if k not in known} == {
        k: v for k, v in config.to_json().items() if k not in known
    }
    assert release.tokenizer.digest() == tokenizer.digest()
    expected = model.state_dict()
    expected.setdefault("output.weight", expected["tok_embeddings.weight"])
    assert release.weights.keys() == expected.keys()
    assert all(torch.equal(tensor.read(), expected[name]) for name, tensor in release.weights.items())


def write_by_hand(folder: Path, parts: int) -> Transformer:
    """A folder as Meta's training wrote Llama 1: bfloat16, without n_kv_heads, the tokenizer above, rope.freqs within.

    Cut as transformers' convert_llama_weights_to_hf.py joins it.
    """
    config = ModelConfig(dim=32, n_layers=2, n_heads=8, n_kv_heads=8, vocab_size=320, multiple_of=32)
    model = random_model(config).to(torch.bfloat16)
    folder.mkdir(parents=True)
    cut = {"wq": 0, "wk": 0, "wv": 0, "w1": 0, "w3": 0, "output": 0, "wo": 1, "w2": 1, "tok_embeddings": 1}
    for part in range(parts):
        share = {"rope.freqs": torch.ones(2)}
        for name, tensor in model.state_dict().items():
            kind = name.removesuffix(".weight").rpartition(".")[2]
            share[name] = tensor.chunk(parts, cut[kind])[part].clone() if kind in cut else tensor
        torch.save(share, folder / f"consolidated.{part:02}.pth")
    params = {"dim": 32, "multiple_of": 32, "n_heads": 8, "n_layers": 2, "norm_eps": 1e-05, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps(params))
    (folder.parent / "tokenizer.model").write_bytes(tiny_tokenizer().files()["tokenizer.model"])
    return model


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_a_folder_as_meta_writes_it_is_read(tmp_path: Path, parts: int) -> None:
    model = write_by_hand(tmp_path / "7B", parts)
    release = open_release(tmp_path / "7B")
    assert release.config == model.config
    assert release.tokenizer.digest() == tiny_tokenizer().digest()
    expected = model.state_dict()
    assert release.weights.keys() == expected.keys()
    for name, tensor in release.weights.items():
        assert tensor.dtype == torch.bfloat16
        assert tuple(tensor.shape) == tuple(expected[name].shape)
        assert torch.equal(tensor.read(), expected[name])


@pytest.mark.parametrize(
    ("given", "context"),
    [
        ({}, 4096),
        ({"rope_theta": 1_000_000}, 16_384),
        ({"rope_theta": 500_000.0}, 8192),
        ({"rope_theta": 500_000.0, "use_scaled_rope": True}, 131_072),
        ({"rope_theta": 500_000.0, "use_scaled_rope": True, "rope_scaling_factor": 32.0}, 131_072),
        ({"max_seq_len": 512}, 512),
    ],
)
def test_the_context_is_that_of_the_family(tmp_path: Path, given: dict[str, Any], context: int) -> None:
    write_by_hand(tmp_path / "m", 1)
    change_params(tmp_path / "m", given)
    config = open_release(tmp_path / "m").config
    assert config.max_seq_len == context
    factor = given.get("rope_scaling_factor", 8.0)
    assert config.rope_scaling == (replace(SCALED, factor=factor) if "use_scaled_rope" in given else None)


@pytest.mark.parametrize(("dim", "n_layers", "factor"), [(2048, 16, 32.0), (3072, 28, 32.0), (4096, 32, 8.0)])
def test_llama_32_is_scaled_by_32(tmp_path: Path, dim: int, n_layers: int, factor: float) -> None:
    """Its params.json has the form of 3.1's; what is written of it reads back to the same, and nothing else is."""
    given: dict[str, Any] = {
        "dim": dim, "n_layers": n_layers, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 512, "multiple_of": 256,
        "ffn_dim_multiplier": 1.5, "norm_eps": 1e-5, "rope_theta": 500_000.0, "use_scaled_rope": True,
    }  # fmt: skip
    path = tmp_path / "params.json"
    path.write_text(json.dumps(given))
    width = -(-int(1.5 * int(8 * dim / 3)) // 256) * 256
    shapes = {"output": (512, dim), "layers.0.attention.wq": (dim, dim), "layers.0.feed_forward.w1": (width, dim)}
    part = {f"{name}.weight": LazyTensor(shape, torch.bfloat16, unread) for name, shape in shapes.items()}
    config = meta_config(path, [part])
    assert config.rope_scaling == replace(SCALED, factor=factor)
    assert config.max_seq_len == 131_072
    few = {"tok_embeddings.weight": LazyTensor.of(torch.ones(2, 2))}
    write_meta(tmp_path / "out", config, few, tokenizer_from_tiktoken(BYTES), 1)
    assert json.loads((tmp_path / "out" / "params.json").read_text()) == given
    other = replace(config, rope_scaling=replace(SCALED, factor=16.0))
    with pytest.raises(InputError, match=f"by a factor of {factor:g} in a model of this size"):
        write_meta(tmp_path / "other", other, few, tokenizer_from_tiktoken(BYTES), 1)


def unread() -> Tensor:
    raise AssertionError("read for its config")


def test_the_context_can_be_given(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "m", 1)
    work = context(tmp_path / "import")
    config = ImportConfig(source=tmp_path / "m", max_seq_len=2048)
    STAGE.run(config, inputs(), work)
    assert json.loads((work.out / "model.json").read_text())["config"]["max_seq_len"] == 2048
    export_huggingface(model_artifact(tmp_path, "model"), tmp_path / "hf")
    with pytest.raises(InputError, match=r"says its own context, 256: leave max_seq_len unset"):
        STAGE.run(replace(config, source=tmp_path / "hf"), inputs(), context(tmp_path / "other"))


def change_params(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "params.json"
    path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | change).items() if v is not None}))


def change_part(folder: Path, part: int, change: dict[str, Tensor | None]) -> None:
    path = folder / f"consolidated.{part:02}.pth"
    whole = {name: lazy.read().clone() for name, lazy in torch_zip.open_lazy(path).items()}
    torch_zip.save(path, {n: LazyTensor.of(t) for n, t in (whole | change).items() if t is not None})


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"dim": None}, "no field 'dim'"),
        ({"dim": 64}, "2 parts with 16 rows of wq do not make the dim of 64|has no consolidated.02.pth"),
        ({"n_heads": 5}, r"dim \(32\) must be a multiple of n_heads \(5\)"),
        ({"multiple_of": 256}, "make a feed-forward of width 256, the weights have 96"),
        ({"moe_args": {"num_experts": 8}}, "moe_args is set"),
        ({"n_layers": 3}, "announces 3 blocks but holds only 21 weights"),
        ({"n_layers": 10**9}, "announces 1000000000 blocks but holds only 21 weights"),
        ({"vocab_size": 400}, "calls for .400, 32"),
        ({"dim": "many"}, "dim is wrong"),
        ({"ffn_dim_multiplier": 1e308}, "does not have the form"),
        ({"vocab_size": 1 << 61}, "calls for .2305843009213693952, 32"),
        ({"n_kv_heads": 2}, r"'layers.0.attention.wk.weight' has shape \(32, 32\)"),
    ],
)
def test_params_that_do_not_fit_are_named(tmp_path: Path, params: dict[str, Any], said: str) -> None:
    write_by_hand(tmp_path / "m", 2)
    change_params(tmp_path / "m", params)
    with pytest.raises(InputError, match=said) as caught:
        open_release(tmp_path / "m")
    assert str(tmp_path / "m") in str(caught.value)


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_missing_part_is_named(tmp_path: Path, missing: int) -> None:
    write_by_hand(tmp_path / "m", 4)
    (tmp_path / "m" / f"consolidated.0{missing}.pth").unlink()
    with pytest.raises(InputError, match=f"has no consolidated.0{missing}.pth"):
        open_release(tmp_path / "m")


def test_parts_that_do_not_fit_each_other_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    write_by_hand(folder, 2)
    shutil.copy(folder / "consolidated.01.pth", folder / "consolidated.02.pth")
    with pytest.raises(InputError, match="3 parts with 16 rows of wq do not make the dim of 32"):
        open_release(folder)
    (folder / "consolidated.02.pth").unlink()
    change_part(folder, 1, {"norm.weight": torch.ones(32, dtype=torch.bfloat16)})
    with pytest.raises(InputError, match=r"'norm\.weight' differs between the parts"):
        open_release(folder).weights["norm.weight"].read()
    change_part(folder, 1, {"norm.weight": torch.ones(32)})
    with pytest.raises(InputError, match=r"consolidated.01.pth: 'norm.weight' is not of the shape and dtype"):
        open_release(folder)
    change_part(folder, 1, {"norm.weight": None})
    with pytest.raises(InputError, match=r"only one of .*has the tensor 'norm.weight'"):
        open_release(folder)
    change_part(folder, 0, {"output.weight": None})
    with pytest.raises(InputError, match=r"consolidated.00.pth has no matrix 'output.weight'"):
        open_release(folder)
    (tmp_path / "tokenizer.model").unlink()
    write_by_hand(tmp_path / "other" / "m", 1)
    (tmp_path / "other" / "tokenizer.model").unlink()
    with pytest.raises(InputError, match=r"no tokenizer.model .* or set tokenizer"):
        open_release(tmp_path / "other" / "m")


def test_a_tokenizer_outside_the_folder_is_part_of_what_is_imported(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "7B", 1)
    config = ImportConfig(source=tmp_path / "7B", chat_format="llama2")
    before = outside_digests(config)
    (tmp_path / "tokenizer.model").rename(tmp_path / "other.model")
    assert open_release(tmp_path / "7B", tmp_path / "other.model").tokenizer.vocab_size == 320
    (tmp_path / "tokenizer.model").write_bytes(BYTES)
    assert outside_digests(config) != before


CONFIG = ModelConfig(dim=16, n_layers=1, n_heads=4, n_kv_heads=2, vocab_size=320, ffn_dim=24)


@pytest.mark.parametrize(
    ("change", "parts", "said"),
    [
        ({}, 3, "3 parts do not divide n_heads, which is 4"),
        ({}, 4, "do not divide n_kv_heads"),
        ({"ffn_dim": 25}, 2, "do not divide ffn_dim"),
        ({}, 0, "parts is 0"),
        ({}, 9, "from 1 to 8"),
        ({"head_dim": 8}, 1, "no place for a head_dim"),
        ({"rope_scaling": RopeScaling(kind="linear", factor=2.0)}, 1, "no place for scaled positions"),
    ],
)
def test_what_metas_code_lacks_is_not_exported(tmp_path: Path, change: dict[str, Any], parts: int, said: str) -> None:
    config = ModelConfig(**{k: v for k, v in CONFIG.to_json().items() if k != "head_dim"} | change)
    with pytest.raises(InputError, match=said):
        write_meta(tmp_path / "out", config, stated(skeleton(config)), tiny_tokenizer(), parts)
    assert not (tmp_path / "out").exists()


def test_an_artifact_is_exported_whole_or_not_at_all(tmp_path: Path) -> None:
    made = model_artifact(tmp_path, "model")
    with pytest.raises(InputError, match="do not divide n_heads"):
        export_meta(made, tmp_path / "out", 8)
    assert not (tmp_path / "out").exists()
    export_meta(made, tmp_path / "out", 2)
    export_meta(made, tmp_path / "again", 2)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "consolidated.00.pth",
        "consolidated.01.pth",
        "params.json",
        "tokenizer.model",
    ]
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    loaded = load_model(made, context(tmp_path).machine)
    release = open_release(tmp_path / "out")
    model = skeleton(release.config)
    fill(model, {name: tensor.read() for name, tensor in release.weights.items()}, "out")
    assert torch.equal(model(torch.arange(12)[None]), loaded.model(torch.arange(12)[None]))
    with pytest.raises(InputError, match="not an empty folder"):
        export_meta(made, tmp_path / "out", 2)


def test_what_is_no_model_is_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("GGU")
    for name in ("empty", "notes.txt"):
        with pytest.raises(
            InputError, match=f"{name} is no model that is read here: a GGUF file, a llama2.c .bin file, a"
        ):
            open_release(tmp_path / name)
    with pytest.raises(InputError, match="There is no file or folder"):
        open_release(tmp_path / "absent")
    export_huggingface(model_artifact(tmp_path, "model"), tmp_path / "hf")
    (tmp_path / "hf" / "params.json").write_text("{}")
    assert open_release(tmp_path / "hf").config.vocab_size == 400
    with pytest.raises(InputError, match="brings its own tokenizer"):
        open_release(tmp_path / "hf", tmp_path / "notes.txt")


MEMORY = """
import sys, torch
from pathlib import Path
from arriero.containers import safetensors
from arriero.containers.lazy import LazyTensor
from arriero.model.checkpoint import shapes_of, skeleton
from arriero.model.config import ModelConfig
from arriero.model.formats.meta import open_meta, write_meta
from tiny_chat import tiny_tokenizer
def private():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1024
folder, tokenizer = Path(sys.argv[1]), tiny_tokenizer()
config = ModelConfig(dim=1024, n_layers=16, n_heads=8, n_kv_heads=8, vocab_size=320)
most = before = private()
def made(shape):
    global most
    most = max(most, private())
    return torch.ones(shape)
def watched(tensor):
    global most
    most = max(most, private())
    return tensor
shapes = shapes_of(skeleton(config))
weights = {n: LazyTensor(s, torch.float32, lambda s=s: made(s)) for n, s in shapes.items()}
write_meta(folder, config, weights, tokenizer, 4)
safetensors.save(folder / "w.safetensors", {n: t.then(watched) for n, t in open_meta(folder).weights.items()})
print(sum(t.n_bytes for t in weights.values()) >> 20, max(t.n_bytes for t in weights.values()) >> 20, most - before)
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_passes_through_without_being_held(tmp_path: Path) -> None:
    """780 MB in tensors of up to 11 MB, written in four parts, read and written anew."""
    # A fixed threshold: what is freed goes back to the system at once, where glibc would keep blocks below 32 MB.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path], check=True, capture_output=True, text=True, env=environment
    )
    size, largest, most = map(float, done.stdout.split())
    assert size > 700
    assert most <= 2 * largest, f"{most} MB beyond the start, the largest tensor has {largest} MB"


WORDS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)


@fuzz()
@given(
    st.dictionaries(st.sampled_from([*CONFIG.to_json(), "use_scaled_rope", "rope_scaling_factor"]), WORDS, max_size=4)
)
def test_wild_params_end_in_an_error_or_a_model(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("wild")
    write_by_hand(folder / "m", 1)
    change_params(folder / "m", change)
    with suppress(InputError):
        assert open_release(folder / "m").config.dim == 32

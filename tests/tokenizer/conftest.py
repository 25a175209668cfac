"""Two small tokenizers, one of each family, learnt from a package of the standard library."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as JsonTokenizer
from tokenizers import models, pre_tokenizers, trainers

from arriero.tokenizer import Tokenizer
from arriero.tokenizer.bpe import ByteLevelTokenizer, build_json
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece

CHATML_CONTROL = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
LINES = [line for path in sorted(Path(json.__file__).parent.glob("*.py")) for line in path.read_text().split("\n")]


@pytest.fixture(scope="session")
def sentencepiece_model() -> bytes:
    return train_sentencepiece([line for line in LINES if line.strip()], 600)


@pytest.fixture(scope="session")
def sentencepiece_tokenizer(sentencepiece_model: bytes) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(sentencepiece_model)


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> ByteLevelTokenizer:
    learner = JsonTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(CHATML_CONTROL), initial_alphabet=sorted(alphabet), show_progress=False
    )
    learner.train_from_iterator(LINES, trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    merges = [" ".join(pair) for pair in learnt["merges"]]
    return ByteLevelTokenizer(build_json(tokens, merges, CHATML_CONTROL), bos_id=None, eos_id=0)


@pytest.fixture(scope="session", params=["sentencepiece", "byte_level"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(f"{request.param}_tokenizer")
    return found

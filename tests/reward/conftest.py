"""A tiny random chat model to start from."""

from pathlib import Path

import pytest

from arriero.artifacts import Artifact
from stages import model_artifact


@pytest.fixture
def chat_model(tmp_path: Path) -> Artifact:
    return model_artifact(tmp_path, "chat-model")

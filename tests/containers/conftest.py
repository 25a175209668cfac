"""What the tests of several formats share."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a GGUF file's bytes and says where."""

    def write_bytes(data: bytes) -> Path:
        (tmp_path / "file.gguf").write_bytes(data)
        return tmp_path / "file.gguf"

    return write_bytes

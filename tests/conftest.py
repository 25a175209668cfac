"""Fixtures that all tests share."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# Tests run beside others on few cores: one thread, and no deadline that a busy machine would miss.
torch.set_num_threads(1)
hypothesis.settings.register_profile("arriero", deadline=None, max_examples=40, derandomize=True)
# Of `make test-full`: other examples each time, and many of hostile files (`contained.fuzz`).
hypothesis.settings.register_profile("full", deadline=None, max_examples=40, derandomize=False)
hypothesis.settings.load_profile("arriero")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and weights beside the checkout; tests that need them are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the test data folder {folder}, which is not here")
    return folder

"""The device of these tests: they compare it with the CPU.

Where there is no GPU they skip; `ARRIERO_TEST_DEVICE=cpu` rehearses them there, the CPU standing in for the device.
"""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    chosen = os.environ.get("ARRIERO_TEST_DEVICE", "cuda")
    if chosen == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch finds none here")
    return chosen

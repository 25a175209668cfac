"""What the machine is: device, threads, and the compute dtype that a short measurement finds faster."""

import os
import platform
import time
from pathlib import Path
from typing import Literal

import psutil
import torch

from arriero.artifacts import Machine
from arriero.artifacts.files import read_json, write_json
from arriero.config import config, setting
from arriero.errors import ConfigError

# bf16 must win by this factor: below it, rounding is not worth it.
WORTH = 1.2
# Rows of the products that are measured: of a small step on a CPU; enough to fill a GPU, where with 256 rows the launch
# of a kernel takes longer than the product.
ROWS = {"cpu": 256, "cuda": 8192}


@config
class MachineConfig:
    """How to compute. "auto" is resolved once per machine and kept beside the store."""

    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to compute: cuda if there is one, else cpu")
    dtype: Literal["auto", "float32", "bfloat16"] = setting("auto", "compute dtype; auto measures both")
    compile: bool = setting(False, "torch.compile the transformer blocks in training (needs a C++ compiler)")
    threads: int | None = setting(
        None, "CPU threads; default: the cores that this process may use", ge=1, operational=True
    )


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The machine's cores, or fewer where this process may use fewer: by its affinity, or a container's `quota`."""
    cores = [psutil.cpu_count(logical=False) or os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        cores.append(len(os.sched_getaffinity(0)))
    if quota.is_file():  # cgroup v2: "max 100000", or microseconds of CPU time in each period
        time_given, period = quota.read_text().split()
        if time_given != "max":
            cores.append(max(1, int(time_given) // int(period)))
    return min(cores)


def _matmul_seconds(dtype: torch.dtype, device: str) -> float:
    """Best of several rounds of the products that fill a small Llama's step: 576 -> 1536."""
    x = torch.ones(ROWS[device], 576, dtype=dtype, device=device)
    w = torch.ones(1536, 576, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        for _ in range(16):
            torch.nn.functional.linear(x, w)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def measured_dtype(device: str) -> tuple[str, float]:
    """(dtype, speed of bfloat16 as a multiple of float32's)."""
    ratio = _matmul_seconds(torch.float32, device) / _matmul_seconds(torch.bfloat16, device)
    return ("bfloat16" if ratio > WORTH else "float32"), ratio


def resolve_machine(wanted: MachineConfig, memory: Path) -> Machine:
    """The Machine to run on. A measurement is kept in `memory` (JSON), so that a rerun finds the same dtype.

    Raises ConfigError if the device is not there.
    """
    cores = usable_cores()
    threads = wanted.threads or cores
    torch.set_num_threads(threads)
    device = wanted.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('machine.device is "cuda", but torch finds no CUDA device here. Set it to "auto" or "cpu".')
    dtype: str = wanted.dtype
    if dtype == "auto":
        key = f"{platform.machine()}, {cores} cores, torch {torch.__version__}, {_name(device)}"
        known = read_json(memory) if memory.is_file() else {}
        if key not in known:
            known[key], ratio = measured_dtype(device)
            known[f"{key}: bfloat16 speed / float32 speed"] = round(ratio, 2)
            write_json(memory, known)
        dtype = known[key]
    return Machine(device=device, dtype=dtype, compile=wanted.compile, threads=threads)


def _name(device: str) -> str:
    """ "cpu", or the GPU's name."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def environment(device: str) -> dict[str, str]:
    """What a manifest keeps of the machine."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "device": _name(device),
    }

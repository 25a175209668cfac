"""Safetensors files that are whole or absent: written under a temporary name, synced, renamed; read memory-mapped."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arriero.artifacts.files import sync_folder
from arriero.errors import ArtifactError


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes the tensors (contiguous copies, on the CPU). Tensors that share memory must be given once.

    Equal tensors and metadata give equal bytes. Raises OSError or ArtifactError when the disk is full or refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, temporary, metadata=None if metadata is None else dict(metadata))
        with temporary.open("r+b") as file:
            _sort_metadata(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:  # the library's own form of an OSError
        raise ArtifactError(f"Could not write {path}: {error}. Free disk space or choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def load(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors by name; on the CPU they are views of the mapped file, which is read as it is used.

    Raises ArtifactError if the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _sort_metadata(file: BinaryIO) -> None:
    """Orders the header's metadata by key: the library writes it in an order that changes from run to run."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        assert len(written) == length
        file.seek(8)
        file.write(written)


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    if not path.exists():
        return ArtifactError(f"There is no file {path}; the folder is not a whole artifact. Make it again.")
    return ArtifactError(f"{path} is damaged or no safetensors file ({error}). Delete the folder and make it again.")

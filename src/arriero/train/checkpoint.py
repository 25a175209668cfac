"""Checkpoints of an unfinished stage: what is trained and the optimizer's moments, in safetensors and JSON.

The tensors are written first, under a name of their own; `state.json`, renamed into place, then names them and their
SHA-256. A crash at any moment leaves the old checkpoint or the new one. Nothing here is a pickle.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arriero.artifacts.files import file_digest, read_json, write_json
from arriero.containers import safetensors
from arriero.errors import ArtifactError, InputError

STATE = "state.json"


CHECKPOINT_FOLDER = "checkpoint"  # of a stage's scratch


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint in `folder`, atomically. `state` holds JSON values and must have a "step"."""
    path = folder / f"step-{state['step']:08d}.safetensors"
    safetensors.save(path, tensors)
    write_json(folder / STATE, {"tensors": path.name, "sha256": file_digest(path), "state": dict(state)})
    for old in sorted(p for p in folder.iterdir() if p not in (path, folder / STATE)):
        old.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """(tensors, state) of the checkpoint in `folder`; None if there is none. Raises ArtifactError if it is damaged."""
    if not (folder / STATE).exists():
        return None
    try:
        index = read_json(folder / STATE)
        path = folder / index["tensors"]
        if file_digest(path) != index["sha256"]:
            raise ArtifactError(f"its digest is not the one in {STATE}")
        return safetensors.load(path), dict(index["state"])
    except (ArtifactError, InputError, KeyError, TypeError, OSError) as error:
        raise ArtifactError(
            f"The checkpoint in {folder} is damaged ({error}). Delete that folder and run again: "
            f"the stage then starts over."
        ) from error


def training_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The trained parameters of `module` as `parameter/<name>` and the optimizer's tensors as `<key>/<name>`."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            tensors[f"parameter/{name}"] = parameter
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
    return tensors


def restore_training_state(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts what `training_state` returned back, in place."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    by_name: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    for full, tensor in tensors.items():
        key, name = full.split("/", 1)
        by_name[name][key] = tensor
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(by_name[name].pop("parameter"))
            moments = {key: tensor.to(parameter.device, copy=True) for key, tensor in by_name[name].items()}
            if moments:
                optimizer.state[parameter] = moments

"""Any version of a model in another project's format: chooses the writer, shows the way, can be stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from arriero.artifacts import Artifact, Progress
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError, Stopped
from arriero.model.exporting import export_gguf, export_huggingface, export_meta, export_peft
from arriero.model.formats import gguf, huggingface
from arriero.reward.export import export_reward

Target = Literal["hf", "gguf", "meta", "peft"]
TARGETS: tuple[Target, ...] = get_args(Target)
# The types of the weights that each format is written in, its default first; empty where weights keep their own.
WEIGHT_TYPES: dict[Target, tuple[str, ...]] = {
    "hf": tuple(huggingface.WEIGHT_TYPES),
    "gguf": tuple(gguf.WEIGHT_TYPES),
    "meta": (),
    "peft": (),
}


def export_model(
    artifact: Artifact,
    destination: Path,
    *,
    to: Target,
    weight_type: str | None = None,
    parts: int | None = None,
    base: str | None = None,
    show_progress: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
) -> None:
    """Writes a model or a reward model to `destination`, whole or not at all.

    weight_type: of the matrices, one of WEIGHT_TYPES[to]; parts: files of a Meta folder; base: where the exported base
    of PEFT's adapters lies. Raises InputError where these do not fit the format or the artifact, and as the writers do;
    Stopped if asked to stop.
    """
    _check(artifact, to, weight_type, parts, base)

    def watch(weights: Mapping[str, LazyTensor]) -> Mapping[str, LazyTensor]:
        bar = Progress(f"export to {to}", len(weights) * (1 if parts is None else parts), "tensors", 0, show_progress)

        def on_read() -> None:
            if stop_requested():
                raise Stopped
            bar.advance()

        return {name: tensor.watched(on_read) for name, tensor in weights.items()}

    if artifact.manifest.kind == "reward_model":
        export_reward(artifact, destination, watch=watch)
    elif to == "hf":
        export_huggingface(artifact, destination, weight_type=weight_type or "f32", watch=watch)
    elif to == "gguf":
        export_gguf(artifact, destination, weight_type or "f32", watch=watch)
    elif to == "meta":
        export_meta(artifact, destination, 1 if parts is None else parts, watch=watch)
    else:
        export_peft(artifact, destination, base=base, watch=watch)


def _check(artifact: Artifact, to: Target, weight_type: str | None, parts: int | None, base: str | None) -> None:
    kind = artifact.manifest.kind
    if kind not in ("model", "reward_model"):
        raise InputError(f"{artifact.id} is of kind {kind}. Name a model or a reward_model; see `arriero runs show`.")
    if kind == "reward_model" and (to != "hf" or weight_type not in (None, "f32")):
        raise InputError("A reward model is written as a Hugging Face folder in f32: use --to hf without --type.")
    types = WEIGHT_TYPES[to]
    if weight_type is not None and weight_type not in types:
        known = f"choose one of {', '.join(types)}" if types else "leave --type out: weights keep their type"
        raise InputError(f"--to {to} cannot write the type {weight_type}; {known}.")
    if parts is not None and to != "meta":
        raise InputError("--parts is the number of files of a folder in Meta's format: use it with --to meta.")
    if base is not None and to != "peft":
        raise InputError("--base says where the base of adapters lies: use it with --to peft.")

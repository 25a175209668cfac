"""A reward model: a chat model whose language-model head gives way to a scalar head.

Source: Llama 2 (arXiv:2307.09288) section 3.2.2. The score is read at the end-of-turn token of the rendered dialogue's
last answer, the one place from which all of it has been seen. A folder is a model folder (see `arriero.model`) with

reward.json                the kind and the longest dialogue, in tokens
reward_head.safetensors    the scalar head, float32

Shapes: R rows (dialogues), T tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from arriero.artifacts import Artifact, Machine
from arriero.artifacts.files import read_json, write_json
from arriero.containers import safetensors
from arriero.dialogue import Dialogue
from arriero.errors import ArtifactError, InputError
from arriero.generation import inference_copy, last_hidden
from arriero.model import ScalarHead, Transformer, load_model, save_model
from arriero.model.checkpoint import fill
from arriero.tokenizer import ChatFormat

DESCRIPTION, HEAD = "reward.json", "reward_head.safetensors"


class RewardModel(nn.Module):
    """`transformer` and `head` are what is trained; `max_length` is in tokens: longer dialogues lose their start."""

    transformer: Transformer
    head: ScalarHead

    def __init__(self, transformer: Transformer, head: ScalarHead, chat_format: ChatFormat, kind: str, max_length: int):
        super().__init__()
        self.transformer = transformer
        self.head = head
        self.chat_format = chat_format
        self.kind = kind
        self.max_length = min(max_length, transformer.config.max_seq_len)

    def ids(self, dialogue: Dialogue) -> list[int]:
        """What the model reads of a dialogue that ends with an answer: up to the answer's end-of-turn token."""
        rendered = self.chat_format.render(dialogue)
        end = len(rendered.ids)
        while rendered.ids[end - 1] != self.chat_format.end_of_turn_id:
            end -= 1
        return rendered.ids[max(0, end - self.max_length) : end]

    def forward(self, tokens_RT: Tensor, last_R: Tensor) -> Tensor:
        """(R,) scores in float32 at the positions `last_R` of right-padded rows, with a graph."""
        hidden_RTD = self.transformer.hidden(tokens_RT)
        rows_R = torch.arange(len(last_R), device=last_R.device)
        return self.head(hidden_RTD[rows_R, last_R])  # type: ignore[no-any-return]

    @torch.no_grad()
    def score(self, dialogues: Sequence[Dialogue]) -> Tensor:
        """(n,) logits in float32 on the CPU. Raises InputError if a dialogue does not end with an answer.

        An answer that a length limit cut off is read as if it ended there.
        """
        if not dialogues:
            return torch.empty(0)
        scores: Tensor = self.head(last_hidden(self.transformer, [self.ids(dialogue) for dialogue in dialogues]))
        return scores.cpu()

    def for_inference(self, dtype: torch.dtype) -> "RewardModel":
        """A frozen copy with adapters merged, in `dtype` (the head stays float32): what `load_reward_model` returns."""
        head = ScalarHead(self.transformer.config.dim, bias=False)
        head.load_state_dict(self.head.state_dict())
        frozen = inference_copy(self.transformer, dtype)
        copied = RewardModel(frozen, head.to(frozen.device), self.chat_format, self.kind, self.max_length)
        return copied.requires_grad_(False).eval()


def save_reward_model(folder: Path, reward_model: RewardModel, base: Artifact) -> None:
    """Writes the folder. `base` is the chat model that training started from."""
    save_model(folder, reward_model.transformer, source=base.path, base=base)
    safetensors.save(folder / HEAD, reward_model.head.state_dict())
    write_json(folder / DESCRIPTION, {"kind": reward_model.kind, "max_length": reward_model.max_length})


def description(artifact: Artifact) -> tuple[str, int]:
    """(kind, longest dialogue in tokens). Raises ArtifactError if the artifact is no reward model."""
    try:
        found = read_json(artifact.path / DESCRIPTION)
        return str(found["kind"]), int(found["max_length"])
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{artifact.path} is no reward model ({error}). Name an artifact of reward.train."
        ) from None


def load_reward_model(artifact: Artifact, machine: Machine) -> RewardModel:
    """The frozen reward model in the machine's dtype. Raises ArtifactError if a file is missing or damaged."""
    kind, max_length = description(artifact)
    loaded = load_model(artifact, machine, dtype=getattr(torch, machine.dtype))
    head = ScalarHead(loaded.config.dim, bias=False)
    fill(head, safetensors.load(artifact.path / HEAD), str(artifact.path / HEAD))
    reward_model = RewardModel(loaded.model, head.to(machine.device), loaded.chat_format, kind, max_length)
    return reward_model.requires_grad_(False).eval()

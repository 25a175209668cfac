"""The policy that PPO trains, its reference, and its value head.

The reference policy is the policy with its adapters off; without adapters it is a frozen copy. The value head reads the
policy's last hidden state behind a stop-gradient: what it learns cannot bend the policy's trunk, and it costs a dot
product a token. Llama 2 (section 3.2.3) does not state its value network.
Shapes: legend in rollout.py; V vocabulary.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from arriero.artifacts import Machine
from arriero.dialogue import Prompt
from arriero.generation import SamplingConfig, inference_copy
from arriero.model import LoadedModel, LoraConfig, ScalarHead, Transformer, adapters_off, add_lora
from arriero.rlhf.rollout import MicroBatch, Sampled, collate, sample_answers
from arriero.train.step import autocast


class Policy:
    """A model in training. Its log-probabilities, before and after an update, are all taken in the same numerics.

    `loaded` is a float32 model, which is changed in place: it is given fresh adapters, or trained whole for lora None.
    """

    def __init__(
        self, loaded: LoadedModel, lora: LoraConfig | None, sampling: SamplingConfig, machine: Machine, seed: int
    ) -> None:
        self.loaded = loaded
        self.model = loaded.model
        self.sampling = sampling
        self.machine = machine
        self.value_head = ScalarHead(loaded.config.dim, bias=True).to(self.model.device)
        self._frozen: Transformer | None = None
        if lora is None:
            self._frozen = copy.deepcopy(self.model).requires_grad_(False)
        else:
            add_lora(self.model, lora, seed)

    def for_sampling(self) -> LoadedModel:
        """The policy as it is now, adapters merged in float32, cast to the machine's dtype."""
        return replace(self.loaded, model=inference_copy(self.model, getattr(torch, self.machine.dtype)))

    def sample(self, prompts: Sequence[Prompt], seed: int) -> Sampled:
        """One answer to each prompt."""
        dialogues = [p.dialogue for p in prompts]
        samples = sample_answers(self.for_sampling(), dialogues, self.sampling, seed=seed)
        prompt_ids = [self.loaded.chat_format.render_prompt(d) for d in dialogues]
        return collate(prompts, prompt_ids, samples)

    def estimate(self, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """Teacher-forced (log-probabilities, values) of the counted tokens, each (N,), with a graph."""
        hidden_ND, logits_NV = self._states(self.model, micro)
        return _chosen(logits_NV, micro), self.value_head(hidden_ND.detach()[None])[0]

    @torch.no_grad()
    def ref_logprobs(self, micro: MicroBatch) -> Tensor:
        """(N,) log-probabilities under the reference policy."""
        if self._frozen is not None:
            return _chosen(self._states(self._frozen, micro)[1], micro)
        with adapters_off(self.model):
            return _chosen(self._states(self.model, micro)[1], micro)

    def _states(self, model: Transformer, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """Hidden (N, D), and logits (N, V) in float32 over the temperature, where the answers' tokens were chosen."""
        device = model.device
        with autocast(self.machine):
            hidden_BTD = model.hidden(micro.tokens_BT.to(device))
            row_N, position_N = micro.counted_positions()
            hidden_ND = hidden_BTD[row_N.to(device), position_N.to(device)]
            logits_NV = model.logits(hidden_ND)
        return hidden_ND, logits_NV.float() / self.sampling.temperature


def _chosen(logits_NV: Tensor, micro: MicroBatch) -> Tensor:
    row_N, position_N = micro.counted_positions()
    targets_N = micro.tokens_BT[row_N, position_N + 1].to(logits_NV.device)
    return -F.cross_entropy(logits_NV, targets_N, reduction="none")

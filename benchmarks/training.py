"""Trained tokens per second of our step against transformers' LlamaForCausalLM, in one run, as ratios.

python benchmarks/training.py [case ...]     cases: see CASES; each prints one line, best of its rounds
Both sides have one shape, random weights, AdamW (fused) and clipping. Rounds alternate between the sides, so that a
busy machine slows both; with `--threads 1` the clock is the process's CPU time, which a busy machine hardly changes.
Compiled variants also show what compiling cost and after how many tokens it has paid.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from arriero.artifacts import Machine
from arriero.model import PRESETS, LoraConfig, ModelConfig, Transformer, add_lora, new_model
from arriero.train.loop import compile_blocks
from arriero.train.loss import language_model_loss
from arriero.train.optimizer import OptimizerConfig, build_optimizer
from arriero.train.packing import TokenBatch
from arriero.train.step import autocast, train_step


@dataclass(frozen=True)
class Case:
    """A model's shape, the batch, and the share of positions whose targets count."""

    shape: ModelConfig
    batch: int
    time: int
    counted: float = 1.0
    lora: LoraConfig | None = None
    masked: bool = False  # documents of 64 tokens that do not see each other


SMOLLM2 = PRESETS["smollm2-135m"]
SCRATCH = ModelConfig(
    dim=128, n_layers=5, n_heads=4, n_kv_heads=2, vocab_size=2048, ffn_dim=352, max_seq_len=256, tied_embeddings=True
)
CASES = {
    "smollm2": Case(SMOLLM2, 8, 256),
    "smollm2-lora": Case(SMOLLM2, 8, 256, lora=LoraConfig(rank=16)),
    "smollm2-sft": Case(SMOLLM2, 8, 256, counted=0.25, lora=LoraConfig(rank=16), masked=True),
    "scratch": Case(SCRATCH, 32, 256),
}


def batch_of(case: Case) -> TokenBatch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, case.shape.vocab_size, (case.batch, case.time + 1), generator=generator)
    counted = torch.rand(case.batch, case.time, generator=generator) < case.counted
    mask = None
    if case.masked:
        document = torch.arange(case.time) // 64
        mask = ((document[:, None] == document) & torch.ones(case.time, case.time, dtype=torch.bool).tril())[None, None]
        mask = mask.expand(case.batch, -1, -1, -1)
    return TokenBatch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), counted, mask)


def our_step(case: Case, machine: Machine) -> Callable[[], None]:
    model: Transformer = new_model(case.shape, 0)
    if case.lora is not None:
        add_lora(model, case.lora, 0)
    if machine.compile:
        compile_blocks(model)
    optimizer = build_optimizer(model.parameters(), OptimizerConfig(lr=1e-5))
    batch, loss = batch_of(case), partial(language_model_loss, model)
    return lambda: void(train_step(optimizer, [batch], loss, lr=1e-5, clip=1.0, machine=machine))


def their_step(case: Case, machine: Machine) -> Callable[[], None]:
    """transformers trains all weights on all positions (labels -100 where a target does not count), as its users do."""
    shape = case.shape
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape.dim,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_kv_heads,
            vocab_size=shape.vocab_size,
            intermediate_size=shape.ffn_dim,
            tie_word_embeddings=shape.tied_embeddings,
            use_cache=False,
        )
    )
    optimizer = build_optimizer(model.parameters(), OptimizerConfig(lr=1e-5))
    batch = batch_of(case)
    labels = batch.targets.masked_fill(~batch.loss_mask, -100)

    def step() -> None:
        with autocast(machine):
            loss = model(batch.tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def void(_: object) -> None:
    return None


def seconds(step: Callable[[], None]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    step()
    return clock() - began


def measure(name: str, case: Case, rounds: int, variants: list[str]) -> None:
    tokens = case.batch * case.time
    machines = {
        "fp32": Machine(),
        "bf16": Machine(dtype="bfloat16"),
        "fp32+compile": Machine(compile=True),
        "bf16+compile": Machine(dtype="bfloat16", compile=True),
    }
    sides: dict[str, Callable[[], None]] = {}
    for variant in variants:
        sides[f"ours {variant}"] = our_step(case, machines[variant])
        if "compile" not in variant:
            sides[f"transformers {variant}"] = their_step(case, machines[variant])
    first = {side: seconds(step) for side, step in sides.items()}
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for side, step in sides.items():
            best[side] = min(best[side], seconds(step))
    for side, took in best.items():
        line = f"{name:14s} {side:22s} {tokens / took:7.0f} tokens/s"
        rival = side.replace("ours", "transformers").removesuffix("+compile")
        if side.startswith("ours"):
            line += f"  {best[rival] / took:5.2f} x transformers"
        if "compile" in side:
            plain = best[side.removesuffix("+compile")]
            cost = first[side] - took
            line += f"  compiling {cost:.0f} s, {plain / took:.2f} x plain, "
            line += f"pays after {cost / (plain - took) * tokens / 1e3:.0f}k tokens" if took < plain else "never pays"
        print(line, flush=True)
    print(f"{name:14s} peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=["fp32", "bf16", "bf16+compile"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.cases:
        measure(name, CASES[name], arguments.rounds, arguments.variants)


if __name__ == "__main__":
    main()

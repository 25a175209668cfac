"""Trained tokens per second of our step against transformers' LlamaForCausalLM, in one run, as ratios.

python benchmarks/training.py [case ...] [--device cuda]     cases: see CASES; a line for each side, best of its rounds
Both sides have one shape, random weights, AdamW (fused) and clipping. Rounds alternate between the sides, so that a
busy machine slows both; with `--threads 1` the clock is the process's CPU time, which a busy machine hardly changes.
Compiled variants also show what compiling cost and after how many tokens it has paid. On a GPU the peer is compiled,
too, and lines show the memory that a step takes at its peak, and the share of `--peak` that the products need: three
forward passes a token, attention causal.
"""

import argparse
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from arriero.artifacts import Machine
from arriero.model import PRESETS, LoraConfig, ModelConfig, Transformer, add_lora, new_model
from arriero.model.statistics import statistics
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
TINYLLAMA = PRESETS["tinyllama-1.1b"]
SCRATCH = ModelConfig(
    dim=128, n_layers=5, n_heads=4, n_kv_heads=2, vocab_size=2048, ffn_dim=352, max_seq_len=256, tied_embeddings=True
)
CASES = {
    "smollm2": Case(SMOLLM2, 8, 256),
    "smollm2-lora": Case(SMOLLM2, 8, 256, lora=LoraConfig(rank=16)),
    "smollm2-sft": Case(SMOLLM2, 8, 256, counted=0.25, lora=LoraConfig(rank=16), masked=True),
    "scratch": Case(SCRATCH, 32, 256),
    "tinyllama": Case(TINYLLAMA, 4, 2048),
    "tinyllama-sft": Case(TINYLLAMA, 4, 2048, counted=0.25, lora=LoraConfig(rank=16), masked=True),
}
DEFAULT = {"cpu": ["smollm2", "smollm2-lora", "smollm2-sft", "scratch"], "cuda": ["tinyllama", "tinyllama-sft"]}


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
    model: Transformer = new_model(case.shape, 0).to(machine.device)
    if case.lora is not None:
        add_lora(model, case.lora, 0)
    if machine.compile:
        compile_blocks(model)
    optimizer = build_optimizer(model.parameters(), OptimizerConfig(lr=1e-5))
    batch, loss = batch_of(case).to(machine.device), partial(language_model_loss, model)
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
    ).to(machine.device)
    if machine.compile:
        model.compile()
    optimizer = build_optimizer(model.parameters(), OptimizerConfig(lr=1e-5))
    batch = batch_of(case).to(machine.device)
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


def seconds(step: Callable[[], None], device: str) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 and device == "cpu" else time.perf_counter
    began = clock()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


@dataclass
class Side:
    """One way to take the step; `memory` is what it and its model need on a GPU at the peak, in bytes."""

    name: str
    step: Callable[[], None]
    first: float
    memory: int
    best: float = float("inf")


def made(name: str, build: Callable[[Case, Machine], Callable[[], None]], case: Case, machine: Machine) -> Side:
    if machine.device == "cpu":
        step = build(case, machine)
        return Side(name, step, seconds(step, "cpu"), 0)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step = build(case, machine)
    first = seconds(step, machine.device)
    return Side(name, step, first, torch.cuda.max_memory_allocated() - before)


def variants_of(device: str) -> dict[str, Machine]:
    return {
        "fp32": Machine(device),
        "bf16": Machine(device, "bfloat16"),
        "fp32+compile": Machine(device, compile=True),
        "bf16+compile": Machine(device, "bfloat16", compile=True),
    }


def measure(name: str, case: Case, rounds: int, variants: list[str], device: str, peak: float) -> None:
    best: dict[str, float] = {}
    for variant in variants:
        machine = variants_of(device)[variant]
        sides = [made(f"ours {variant}", our_step, case, machine)]
        if device == "cuda" or not machine.compile:  # compiling the peer for a CPU takes many minutes
            sides.append(made(f"transformers {variant}", their_step, case, machine))
        for _ in range(rounds):
            for side in sides:
                side.best = min(side.best, seconds(side.step, device))
        best |= {side.name: side.best for side in sides}
        for side in sides:
            print(described(name, case, side, best, peak), flush=True)
        del sides, side
        gc.collect()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:14s} peak memory of the process {memory:.1f} GiB", flush=True)


def described(name: str, case: Case, side: Side, best: dict[str, float], peak: float) -> str:
    """`best`: seconds of this side and of those measured before."""
    tokens = case.batch * case.time
    line = f"{name:14s} {side.name:26s} {tokens / side.best:7.0f} tokens/s"
    if side.memory:
        line += f" {side.memory / 2**30:5.1f} GiB"
    if peak and case.lora is None:
        counts = statistics(replace(case.shape, max_seq_len=case.time))
        arithmetic = 3 * (counts.flops_matmul + counts.flops_attention / 2) * tokens
        line += f" {arithmetic / side.best / peak / 1e12:6.1%} of {peak:.0f} TFLOP/s"
    rival = side.name.replace("ours", "transformers")
    rival = rival if rival in best else rival.removesuffix("+compile")
    if side.name.startswith("ours") and rival in best:
        line += f"  {best[rival] / side.best:5.2f} x transformers"
    plain = best.get(side.name.removesuffix("+compile"))
    if "compile" in side.name and plain is not None:
        cost = side.first - side.best
        line += f"  compiling {cost:.0f} s, {plain / side.best:.2f} x plain, "
        gain = plain - side.best
        line += f"pays after {cost / gain * tokens / 1e3:.0f}k tokens" if gain > 0 else "never pays"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=["fp32", "bf16", "bf16+compile"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--peak", type=float, default=0.0, help="TFLOP/s of the card's data sheet in the dtype measured"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.cases or DEFAULT[arguments.device]:
        measure(name, CASES[name], arguments.rounds, arguments.variants, arguments.device, arguments.peak)


if __name__ == "__main__":
    main()

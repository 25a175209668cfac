"""New tokens per second of our engine against transformers' `generate`, and scored tokens per second, in one run.

python benchmarks/generation.py [--streams 64] [--prompt 80] [--new 48] [--dtype bfloat16] [--threads 2] [--rounds 2]
    [--device cuda]
Random weights in SmolLM2-135M's shape; no stop id, so both sides make the same number of tokens. Prompts share a
beginning of 24 tokens (a system prompt), as a chat format's do. Rounds alternate between the sides, so that a busy
machine slows both; with `--threads 1` the clock is the process's CPU time, which a busy machine hardly changes.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from arriero.generation import SamplingConfig, generate, inference_copy, last_hidden
from arriero.model import PRESETS, new_model

SMOLLM2 = PRESETS["smollm2-135m"]
SYSTEM = 24


def seconds(work: Callable[[], object], cpu: bool, device: str) -> float:
    clock = time.process_time if cpu else time.perf_counter
    started = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def transformers_model(dtype: torch.dtype) -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=SMOLLM2.dim,
        num_hidden_layers=SMOLLM2.n_layers,
        num_attention_heads=SMOLLM2.n_heads,
        num_key_value_heads=SMOLLM2.n_kv_heads,
        intermediate_size=SMOLLM2.ffn_dim,
        vocab_size=SMOLLM2.vocab_size,
        max_position_embeddings=SMOLLM2.max_seq_len,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=80)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, dtype = options.device, getattr(torch, options.dtype)
    cpu = options.threads == 1 and device == "cpu"
    rng = random.Random(0)
    system = [rng.randrange(SMOLLM2.vocab_size) for _ in range(SYSTEM)]
    prompts = [
        system + [rng.randrange(SMOLLM2.vocab_size) for _ in range(options.prompt - SYSTEM)]
        for _ in range(options.streams)
    ]
    answers = [prompt + prompt[-options.new :] for prompt in prompts]
    families = [prompt + answer[-options.new + k :] for prompt in prompts[::4] for k, answer in enumerate(answers[:4])]
    ours, theirs = inference_copy(new_model(SMOLLM2, 0), dtype).to(device), transformers_model(dtype).to(device)
    tokens, mask = torch.tensor(prompts, device=device), torch.ones(len(prompts), options.prompt, dtype=torch.long)
    mask = mask.to(device)
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=options.new)

    def their_generate() -> None:
        with torch.inference_mode():
            theirs.generate(
                tokens,
                attention_mask=mask,
                max_new_tokens=options.new,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                use_cache=True,
            )

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "generate, arriero": (
            lambda: generate(ours, prompts, sampling, stop_ids=(), seed=0, streams=options.streams),
            options.streams * options.new,
        ),
        "generate, transformers": (their_generate, options.streams * options.new),
        "score, every prompt its own": (lambda: last_hidden(ours, answers), sum(map(len, answers))),
        "score, four answers a prompt": (lambda: last_hidden(ours, families), sum(map(len, families))),
    }
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(options.rounds):
        for name, (work, _count) in cases.items():
            best[name] = min(best[name], seconds(work, cpu, device))
    clock = "CPU second" if cpu else "second"
    for name, (_, count) in cases.items():
        print(f"{name:30} {count / best[name]:8.0f} tokens per {clock}")
    print(f"generate: {best['generate, transformers'] / best['generate, arriero']:.2f} times transformers' speed")


if __name__ == "__main__":
    main()

"""Why grouped-query attention: multi-head, grouped-query and multi-query Llamas of one size, in small.

python benchmarks/studies/attention_variants.py [--runs runs] [--run quickstart] [--out docs]
Loss: models of 8, 2 and 1 key/value heads on the run's text, the feed-forward widened so that all have the same number
of parameters (arXiv:2307.09288, appendix A.2.1), same tokens. Throughput: random weights in SmolLM2's width (9 query
heads of 64; 9, 3 and 1 key/value heads; 10 of its 30 layers, a vocabulary of 2,048), one new token a step for every
row of a batch, each row at the end of its context, by our KV cache. Rounds alternate between the variants; with one
thread the clock is the process's CPU time, which a busy machine changes little.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from matplotlib.figure import Figure
from workshop import CONTEXT, MULTI_HEAD, Workshop, mean_and_spread, options, save

from arriero.config import resolved
from arriero.generation import inference_copy
from arriero.generation.cache import KVCache
from arriero.model import ModelConfig, ModelShape, new_model
from arriero.model.statistics import statistics
from arriero.report.style import COLOURS, DASHES, HATCHES, MARKERS, axes, drawing

STEM = "model-attention"
NAMES = ("multi-head", "grouped-query", "multi-query")
LOSS_HEADS, SPEED_HEADS = (8, 2, 1), (9, 3, 1)
SPEED = ModelShape(dim=576, n_layers=10, n_heads=9, n_kv_heads=9, ffn_dim=1536)
VOCABULARY = 2048


def with_heads(shape: ModelShape, n_kv_heads: int) -> ModelShape:
    """Fewer key and value heads, and a feed-forward wider by the same number of weights, to half a column."""
    saved = 2 * shape.head_dim * (shape.n_kv_heads - n_kv_heads)
    return replace(shape, n_kv_heads=n_kv_heads, ffn_dim=shape.ffn_dim + round(saved / 3))


def configured(shape: ModelShape, context: int) -> ModelConfig:
    return ModelConfig(**resolved(shape), vocab_size=VOCABULARY, max_seq_len=context)


def losses(shop: Workshop, given: Any) -> list[dict[str, Any]]:
    rows = []
    for name, heads in zip(NAMES, LOSS_HEADS, strict=True):
        shape = with_heads(MULTI_HEAD, heads)
        models = [shop.new(shape, given.tokens, given.lr, seed) for seed in range(1, given.seeds + 1)]
        found = mean_and_spread([shop.bits_per_byte(model) for model in models])
        counts = statistics(configured(shape, CONTEXT))
        row = {"variant": name, "kv_heads": heads, "ffn_dim": shape.ffn_dim, "parameters": counts.parameters}
        rows.append(row | {"kv_bytes_per_token": counts.kv_bytes_per_token} | found)
        print(f"{name}: {counts.parameters:,} parameters, {found['mean']:.4f} bits per byte", flush=True)
    return rows


def decoder(config: ModelConfig, batch: int, context: int) -> Callable[[], None]:
    """One new token for each of `batch` rows, each with `context` tokens."""
    model = inference_copy(new_model(config, 0), torch.bfloat16)
    cache = KVCache(config, batch, context, dtype=torch.bfloat16, device=torch.device("cpu"))
    for stored in (*cache.keys, *cache.values):
        stored.fill_(0.1)  # untouched zeros would all be one page of memory, and so in the processor's cache
    last, positions = torch.zeros(batch, 1, dtype=torch.long), torch.full((batch,), context - 1)

    @torch.inference_mode()
    def step() -> None:
        view = cache.decode(positions)
        model.logits(model.hidden(last, cache=view, attention_mask=view.attention_mask)[:, 0])

    return step


def throughputs(given: Any) -> list[dict[str, Any]]:
    clock = time.process_time if given.threads == 1 else time.perf_counter
    rows = []
    for context in given.contexts:
        for batch in given.batches:
            shapes = [configured(with_heads(SPEED, heads), context) for heads in SPEED_HEADS]
            steps = [decoder(shape, batch, context) for shape in shapes]
            best = [float("inf")] * len(steps)
            for _ in range(given.rounds):
                for index, step in enumerate(steps):
                    began = clock()
                    step()
                    best[index] = min(best[index], clock() - began)
            for name, shape, seconds in zip(NAMES, shapes, best, strict=True):
                row = {"variant": name, "batch": batch, "context": context, "tokens_per_second": batch / seconds}
                rows.append(row | {"cache_bytes": batch * statistics(shape).kv_bytes_full_context})
                print(f"{context} x {batch}, {name}: {batch / seconds:.0f} tokens/s", flush=True)
    return rows


def drawn(results: dict[str, Any]) -> Figure:
    """Loss and cache beside each other, below them throughput over the batch for each context."""
    with drawing():
        contexts = sorted({row["context"] for row in results["throughput"]})
        figure, panels = axes(5.6, 2, 2)
        _losses(panels[0][0], results["loss"])
        _caches(panels[0][1], results["loss"])
        for ax, context in zip(panels[1], contexts, strict=True):
            for number, name in enumerate(NAMES):
                rows = [r for r in results["throughput"] if (r["variant"], r["context"]) == (name, context)]
                style = {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": DASHES[number]}
                ax.plot([r["batch"] for r in rows], [r["tokens_per_second"] for r in rows], label=name, **style)
            ax.set_xscale("log", base=2)
            ax.set_xticks(sorted({r["batch"] for r in results["throughput"]}))
            ax.xaxis.set_major_formatter("{x:.0f}")
            ax.set_ylim(bottom=0)
            ax.set_title(f"decoding at {context:,} tokens of context")
            ax.set_xlabel("sequences in the batch")
            ax.set_ylabel("new tokens per second")
        panels[1][0].legend()
    return figure


def _losses(ax: Any, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        ax.plot([place] * len(row["values"]), row["values"], linestyle="", marker=MARKERS[place], color=COLOURS[place])
        ax.plot([place - 0.2, place + 0.2], [row["mean"]] * 2, color=COLOURS[place])
    ax.set_xticks(range(len(rows)), [row["variant"] for row in rows])
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_title(f"loss at equal size, {len(rows[0]['values'])} seeds")
    ax.set_ylabel("held-out bits per byte")
    ax.grid(axis="x", visible=False)


def _caches(ax: Any, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        hatch = {"hatch": HATCHES[place], "edgecolor": "white"}
        ax.bar(place, row["kv_bytes_per_token"], 0.6, color=COLOURS[place], **hatch)
        ax.annotate(f"{row['kv_bytes_per_token']:,}", (place, row["kv_bytes_per_token"]), ha="center", va="bottom")
    ax.set_xticks(range(len(rows)), [row["variant"] for row in rows])
    ax.set_ylim(top=1.08 * max(row["kv_bytes_per_token"] for row in rows))
    ax.set_title("memory of the cache")
    ax.set_ylabel("bytes per token, bf16")
    ax.grid(axis="x", visible=False)


def main() -> None:
    parser = options(__doc__, STEM)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--contexts", type=int, nargs=2, default=[256, 1024])
    parser.add_argument("--rounds", type=int, default=5, help="of which each variant's best step counts")
    given = parser.parse_args()
    shop = Workshop(given)
    results = {
        "tokens": given.tokens,
        "seeds": given.seeds,
        "threads": given.threads,
        "dtype": shop.machine.dtype,
        "loss": losses(shop, given),
        "throughput": throughputs(given),
    }
    save(results, drawn(results), given.out, STEM)


if __name__ == "__main__":
    main()

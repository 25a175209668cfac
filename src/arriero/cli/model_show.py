"""`arriero model show`: what a model is and costs."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from arriero.cli.common import add_runs_option

if TYPE_CHECKING:
    from arriero.model.config import ModelConfig, RopeScaling
    from arriero.model.statistics import ModelStatistics
    from arriero.pipeline.models import FoundModel


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME|PATH", help="a preset such as llama2-7b, a model's file or folder, RUN:STAGE or an id"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: config and counts")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> int:
    from arriero.model.statistics import statistics
    from arriero.pipeline.models import find_model
    from arriero.pipeline.runs import Runs

    found = find_model(args.name, Runs(args.runs))
    counts = statistics(found.config)
    if args.json:
        row = asdict(found) | {"config": found.config.to_json(), "statistics": asdict(counts)}
        print(json.dumps(row, indent=1, sort_keys=True))
        return 0
    rows = [(title, text) for title, text in _rows(found, counts) if text]
    width = max(len(title) for title, _ in rows)
    for title, text in rows:
        print(f"{title:{width}}  {text}")
    return 0


def _rows(found: "FoundModel", counts: "ModelStatistics") -> list[tuple[str, str]]:
    config = found.config
    ratio = counts.kv_bytes_per_token_mha / counts.kv_bytes_per_token
    mha = f" ({_bytes(counts.kv_bytes_per_token_mha)} without grouping, {ratio:g} x)" if ratio > 1 else ""
    stored = "" if found.stored_bytes is None else _bytes(found.stored_bytes)
    return [
        ("source", found.source),
        ("layers", f"{config.n_layers} of width {config.dim:,}, feed-forward {config.ffn_dim:,}"),
        ("heads", f"{config.n_heads} query, {config.n_kv_heads} key/value, of {config.head_dim}: {_grouping(config)}"),
        ("vocabulary", f"{config.vocab_size:,} tokens, {'tied' if config.tied_embeddings else 'untied'} embeddings"),
        ("context", f"{config.max_seq_len:,} tokens"),
        ("rope", f"theta {config.rope_theta:,.0f}, {_scaling(config.rope_scaling)}"),
        ("norm eps", f"{config.norm_eps:g}"),
        ("tokenizer", found.tokenizer or ""),
        ("chat format", found.chat_format or ""),
        ("parameters", f"{counts.parameters:,}; {counts.block_parameters:,} without embeddings and output"),
        ("weights on disk", stored),
        ("weights in bf16", f"{_bytes(counts.bytes_bf16)}; float32 {_bytes(counts.bytes_float32)}"),
        ("KV cache, bf16", f"{_bytes(counts.kv_bytes_per_token)} a token{mha}"),
        ("  full context", f"{_bytes(counts.kv_bytes_full_context)} a sequence"),
        ("FLOPs a token", f"{counts.flops_forward:.3g} forward, {counts.flops_training:.3g} in training (3 x forward)"),
        ("  matrices", f"{counts.flops_matmul:.3g} = 2 x their weights"),
        ("  attention", f"{counts.flops_attention:.3g} = 4 x layers x context x heads x head width, at full context"),
    ]


def _grouping(config: "ModelConfig") -> str:
    if config.n_kv_heads == config.n_heads:
        return "multi-head attention"
    return "multi-query attention" if config.n_kv_heads == 1 else "grouped-query attention"


def _scaling(scaling: "RopeScaling | None") -> str:
    if scaling is None:
        return "not scaled"
    origin = "" if scaling.kind == "linear" else f" from {scaling.original_max_seq_len:,} tokens"
    return f"scaled by {scaling.kind} x {scaling.factor:g}{origin}"


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.4g} {units[0]}"

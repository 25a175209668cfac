"""People's comparisons from a JSONL file: the place of the paper's annotators (section 3.2.1).

A line: {"prompt": text or {"messages": [...]}, "chosen": text, "rejected": text, "rating": "significantly" | "better" |
"slightly" | "negligibly"}; for safety also "domain": "safety", "chosen_safe" and "rejected_safe", which others may
have. `split` is kept where a row states it and drawn by prompt elsewhere. Rows that ask the same in other words may
share a `group`.
"""

from dataclasses import replace
from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import read_jsonl
from arriero.config import InputPath, config, setting
from arriero.errors import InputError
from arriero.preference.record import Comparison, summary, write_comparisons
from arriero.preference.splits import split_of


@config
class ImportConfig:
    file: InputPath = setting(..., "JSONL file of people's comparisons")
    test_fraction: float = setting(0.2, "share of the prompts held out, where a row states no split", ge=0, lt=1)
    split_seed: int = setting(0, "decides which prompts are held out; keep it the same in every round")


def run(cfg: ImportConfig, inputs: Inputs, context: StageContext) -> dict[str, Any]:  # noqa: ARG001 - a stage's signature
    kept: list[Comparison] = []
    seen: dict[str, int] = {}
    dropped = 0
    for line, row in read_jsonl(cfg.file):
        where = f"{cfg.file}:{line}"
        comparison = Comparison.from_json(row, where)
        if comparison.id in seen:
            raise InputError(
                f"{where}: the id {comparison.id!r} was used on line {seen[comparison.id]} already. "
                f"Give every row its own."
            )
        seen[comparison.id] = line
        if comparison.unsafe_preferred:
            dropped += 1
        elif "split" in row:
            kept.append(comparison)
        else:
            kept.append(replace(comparison, split=split_of(comparison.asks, cfg.test_fraction, cfg.split_seed)))
    if not kept:
        raise InputError(f"{cfg.file} holds no comparison to learn from. Each line must be one JSON object.")
    write_comparisons(context.out / "comparisons.jsonl", kept)
    return summary(kept, dropped)


STAGE = Stage("preference.import", ImportConfig, (), "comparisons", run)

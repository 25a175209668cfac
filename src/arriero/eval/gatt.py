"""Recall of an instruction given in the first turn only, by turn (paper, section 3.3: turns 2, 4, 6 and 20)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, StageContext, run_units
from arriero.artifacts.files import read_jsonl
from arriero.dialogue import read_dialogues
from arriero.errors import InputError
from arriero.eval.collect import Shelf, Unit, unit_seed
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import wilson
from arriero.rlhf.gatt import measure_recall

CHUNK = 32  # dialogues in a unit


def gatt_recall(
    context: StageContext,
    shelf: Shelf,
    versions: Mapping[str, Artifact],
    path: Path,
    count: int,
    sampling: SamplingConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """A row per version and turn: count of answers that keep to the instruction, and the share's interval.

    All versions are probed with the same instructions on the same user turns, the first `count` dialogues of `path`.
    Raises InputError if there are versions to probe and no dialogue.
    """
    if not versions:
        return []
    dialogues = read_dialogues(path)[:count]
    if not dialogues:
        raise InputError(f"{path} holds no dialogue to measure Ghost Attention on. Add some, or empty gatt_versions.")
    starts = range(0, len(dialogues), CHUNK)
    units = [Unit(label, start, min(start + CHUNK, len(dialogues))) for label in versions for start in starts]

    def work(_: int, unit: Unit) -> list[dict[str, Any]]:
        # The seed follows the dialogues, not the version: every version meets the same instructions.
        loaded = shelf.model(versions[unit.label])
        rows = measure_recall(loaded, dialogues[unit.start : unit.stop], sampling, unit_seed(seed, unit.start))
        return [row | {"version": unit.label} for row in rows]

    joined = run_units(context, "gatt", units, work, unit="dialogues", size=lambda unit: unit.stop - unit.start)
    counted: dict[str, dict[int, tuple[int, int]]] = {label: {} for label in versions}
    for _, row in read_jsonl(joined):
        kept, n = counted[row["version"]].get(row["turn"], (0, 0))
        counted[row["version"]][row["turn"]] = (kept + row["kept"], n + row["n"])
    joined.unlink()
    return [
        {"version": label, "turn": turn, "count": kept} | wilson(kept, n).to_json()
        for label, by_turn in counted.items()
        for turn, (kept, n) in sorted(by_turn.items())
    ]

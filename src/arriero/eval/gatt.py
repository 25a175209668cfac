"""Recall of an instruction given in the first turn only, by turn (paper, section 3.3: turns 2, 4, 6 and 20).

The turns of one dialogue are no independent evidence, so what is said of several turns resamples whole dialogues.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, StageContext, run_units
from arriero.artifacts.files import read_jsonl
from arriero.dialogue import read_dialogues
from arriero.errors import InputError
from arriero.eval.collect import Shelf, Unit, unit_seed
from arriero.generation import SamplingConfig
from arriero.metrics.intervals import paired_bootstrap, wilson
from arriero.rlhf.gatt import measure_recall

CHUNK = 32  # dialogues in a unit
LATE_TURN = 4  # from here on Table 30 of the paper has almost nothing left without Ghost Attention


def gatt_recall(
    context: StageContext,
    shelf: Shelf,
    versions: Mapping[str, Artifact],
    path: Path,
    count: int,
    sampling: SamplingConfig,
    seed: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row per version and turn: count of answers that keep to the instruction, and the share's interval. And a row
    per later version against the first: the change of that share over the turns from LATE_TURN on.

    All versions are probed with the same instructions on the same user turns, the first `count` dialogues of `path`.
    Raises InputError if there are versions to probe and no dialogue.
    """
    if not versions:
        return [], []
    dialogues = read_dialogues(path)[:count]
    if not dialogues:
        raise InputError(f"{path} holds no dialogue to measure Ghost Attention on. Add some, or empty gatt_versions.")
    starts = range(0, len(dialogues), CHUNK)
    units = [Unit(label, start, min(start + CHUNK, len(dialogues))) for label in versions for start in starts]

    def work(_: int, unit: Unit) -> list[dict[str, Any]]:
        # The seed follows the dialogues, not the version: every version meets the same instructions.
        loaded = shelf.model(versions[unit.label])
        rows = measure_recall(loaded, dialogues[unit.start : unit.stop], sampling, unit_seed(seed, unit.start))
        return [row | {"version": unit.label, "dialogue": unit.start + row["dialogue"]} for row in rows]

    joined = run_units(context, "gatt", units, work, unit="dialogues", size=lambda unit: unit.stop - unit.start)
    kept: dict[str, dict[tuple[int, int], int]] = {label: {} for label in versions}
    for _, row in read_jsonl(joined):
        kept[row["version"]][row["turn"], row["dialogue"]] = row["kept"]
    joined.unlink()
    return _by_turn(kept), _late_changes(kept, seed)


def _by_turn(kept: Mapping[str, Mapping[tuple[int, int], int]]) -> list[dict[str, Any]]:
    rows = []
    for label, hits in kept.items():
        for turn in sorted({turn for turn, _ in hits}):
            at = [hit for (own, _), hit in hits.items() if own == turn]
            rows.append({"version": label, "turn": turn, "count": sum(at)} | wilson(sum(at), len(at)).to_json())
    return rows


def _late_changes(kept: Mapping[str, Mapping[tuple[int, int], int]], seed: int) -> list[dict[str, Any]]:
    first, *later = kept
    late = [key for key in kept[first] if key[0] >= LATE_TURN]
    if not late:
        return []

    def hits(label: str) -> Sequence[float]:
        return [float(kept[label][key]) for key in late]

    dialogues = [dialogue for _, dialogue in late]
    return [
        {"newer": label, "older": first, "from_turn": LATE_TURN}
        | paired_bootstrap(hits(label), hits(first), seed, groups=dialogues).to_json()
        for label in later
    ]

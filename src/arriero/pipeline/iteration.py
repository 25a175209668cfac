"""`[[iteration]]`: one round of human feedback, unfolded into stages (Llama 2, section 3.2.3).

An iteration named v1 makes, in this order and each only if its table is there:

    v1-pairs        [iteration.pairs]        two models answer the preference prompts
    v1-comparisons  [iteration.annotator]    the simulated annotator compares them; or, instead of these two,
                    [iteration.comparisons]  people's comparisons, read from a file
    v1-helpfulness  [iteration.helpfulness]  the reward models, trained on the comparisons of all rounds so far
    v1-safety       [iteration.safety]
    v1-picks        [iteration.picks]        rejection sampling from the newest model
    v1              [iteration.tune]         fine-tuning of the base on the picks of all rounds and, unless the round
                                             says `replay = false`, on the chat data
              or    [iteration.ppo]          PPO from the newest model

A round without reward models uses those of the round before. A table takes what it does not name from the same
table of the round before, so that a further version is one short table more.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arriero.config import nearest
from arriero.errors import ConfigError

TABLES = ("pairs", "annotator", "comparisons", "helpfulness", "safety", "picks", "tune", "ppo")
KEYS = ("name", "chat", "base", "policy", "previous", "replay", *TABLES)


@dataclass
class _Rounds:
    """What earlier rounds have made so far."""

    newest: str | None = None
    before: str | None = None
    comparisons: list[str] = field(default_factory=list)
    picks: list[str] = field(default_factory=list)
    reward_models: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    replay: bool = True
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def settle(self, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The table's values on top of what earlier rounds set in the same table."""
        self.settings[table] = over(self.settings.get(table, {}), values)
        return copy.deepcopy(self.settings[table])  # no two rounds share a table within


def unfold(iterations: Sequence[Mapping[str, Any]], taken: set[str], where: str) -> dict[str, dict[str, Any]]:
    """The stages' tables, label -> table, of all iterations in order. Raises ConfigError naming the iteration."""
    rounds = _Rounds()
    tables: dict[str, dict[str, Any]] = {}
    for number, iteration in enumerate(iterations, 1):
        place = f"{where}: iteration {number}"
        for key in iteration:
            if key not in KEYS:
                raise ConfigError(f"{place}: unknown key {key}. {nearest(key, KEYS)}")
            if key in TABLES and not isinstance(iteration[key], dict):
                raise ConfigError(f"{place}: {key} must be a table, under [iteration.{key}].")
        name = iteration.get("name")
        if not isinstance(name, str):
            raise ConfigError(f'{place} has no name. Give it one, such as name = "v{number}".')
        made = _unfold_one(name, iteration, rounds, place)
        clash = (taken | set(tables)) & set(made)
        if clash:
            raise ConfigError(f"{place}: the recipe has another stage called {sorted(clash)[0]!r}. Rename one.")
        tables |= made
    return tables


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` set, table by table."""
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def _unfold_one(name: str, iteration: Mapping[str, Any], rounds: _Rounds, place: str) -> dict[str, dict[str, Any]]:
    for key in ("chat", "base"):
        rounds.start[key] = iteration.get(key, rounds.start.get(key, ""))
        if not rounds.start[key]:
            raise ConfigError(
                f'{place}: set {key} = "<label>" ({"the prompts" if key == "chat" else "what is tuned"}).'
            )
    policy = iteration.get("policy", rounds.newest)
    previous = iteration.get("previous", rounds.before)
    rounds.replay = iteration.get("replay", rounds.replay)
    if not isinstance(rounds.replay, bool):
        raise ConfigError(f"{place}: replay must be true or false, not {rounds.replay!r}.")
    if policy is None:
        raise ConfigError(f'{place}: the first iteration needs policy = "<label>", the model it starts from.')
    chat, tables = rounds.start["chat"], {}

    def add(part: str, stage: str, inputs: dict[str, Any], table: str | None = None) -> str:
        label = f"{name}-{part}" if part else name
        tables[label] = {"stage": stage, "inputs": inputs, **rounds.settle(table or part, iteration[table or part])}
        return label

    if "pairs" in iteration and "comparisons" in iteration:
        raise ConfigError(
            f"{place}: comparisons come from [iteration.pairs] or from a file, [iteration.comparisons]: give one."
        )
    if "annotator" in iteration and "pairs" not in iteration:
        raise ConfigError(f"{place}: the annotator has nothing to compare. Add [iteration.pairs], or take it out.")
    if "pairs" in iteration:
        if previous is None:
            raise ConfigError(f'{place}: pairs need two models. Set previous = "<label>", the version before.')
        others = previous if isinstance(previous, list) else [previous]
        pairs = add("pairs", "preference.sample", {"models": [*others, policy], "chat": chat})
        judged = rounds.settle("annotator", iteration.get("annotator", {}))
        tables[f"{name}-comparisons"] = {"stage": "preference.simulate", "inputs": {"pairs": pairs}, **judged}
        rounds.comparisons.append(f"{name}-comparisons")
    if "comparisons" in iteration:
        rounds.comparisons.append(add("comparisons", "preference.import", {}))
    for kind in ("helpfulness", "safety"):
        if kind in iteration:
            judge = {"base": policy, "comparisons": list(rounds.comparisons)}
            rounds.reward_models[kind] = add(kind, "reward.train", judge)
            tables[rounds.reward_models[kind]]["kind"] = kind
    judges = rounds.reward_models
    if ("picks" in iteration or "ppo" in iteration) and set(judges) != {"helpfulness", "safety"}:
        raise ConfigError(f"{place}: no reward models yet. Add [iteration.helpfulness] and [iteration.safety].")
    if "picks" in iteration:
        rounds.picks.append(add("picks", "rlhf.rejection_sampling", {"policy": policy, "chat": chat, **judges}))
    if ("tune" in iteration) == ("ppo" in iteration):
        raise ConfigError(f"{place}: an iteration makes its model by [iteration.tune] or by [iteration.ppo]: give one.")
    if "tune" in iteration:
        dialogues = [*([chat] if rounds.replay else []), *rounds.picks]
        if not dialogues:
            raise ConfigError(f"{place}: replay = false leaves nothing to tune on. Add [iteration.picks].")
        add("", "train.sft", {"base": rounds.start["base"], "dialogues": dialogues}, "tune")
    else:
        add("", "rlhf.ppo", {"policy": policy, "chat": chat, **judges}, "ppo")
    rounds.newest, rounds.before = name, policy
    return tables

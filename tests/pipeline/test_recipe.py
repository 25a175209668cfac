"""Recipes: iterations unfold, edges are checked, order follows need."""

from pathlib import Path
from typing import Any

import pytest

from arriero.errors import ConfigError
from arriero.pipeline.recipe import Recipe, build_recipe

START: dict[str, Any] = {
    "name": "r",
    "base": {"stage": "model.import"},
    "chat": {"stage": "data.python_chat"},
    "sft": {"stage": "train.sft", "inputs": {"base": "base", "dialogues": "chat"}},
}
V1: dict[str, Any] = {
    "name": "v1",
    "chat": "chat",
    "base": "base",
    "policy": "sft",
    "previous": "base",
    "pairs": {"pairs": 10},
    "annotator": {"noise_scale": 0.1},
    "helpfulness": {},
    "safety": {},
    "picks": {"samples": 4},
    "tune": {"epochs": 1},
}


def build(tables: dict[str, Any], *overrides: str) -> Recipe:
    return build_recipe(tables, overrides, Path(), "test.toml")


def test_an_iteration_unfolds_into_its_stages() -> None:
    recipe = build(START | {"iteration": [V1]})
    assert list(recipe.steps)[3:] == ["v1-pairs", "v1-comparisons", "v1-helpfulness", "v1-safety", "v1-picks", "v1"]
    assert recipe.steps["v1-pairs"].inputs == {"models": ["base", "sft"], "chat": ["chat"]}
    assert recipe.steps["v1-helpfulness"].values == {"kind": "helpfulness"}
    assert recipe.steps["v1"].inputs == {"base": ["base"], "dialogues": ["chat", "v1-picks"]}


def test_a_round_may_compare_several_models() -> None:
    other = {"other": {"stage": "model.import"}, "iteration": [V1 | {"previous": ["base", "other"]}]}
    assert build(START | other).steps["v1-pairs"].inputs["models"] == ["base", "other", "sft"]


def test_later_rounds_keep_all_picks_and_comparisons_and_start_from_the_newest() -> None:
    v2 = {key: V1[key] for key in ("pairs", "helpfulness", "safety", "picks", "tune")} | {"name": "v2"}
    v3 = {"name": "v3", "ppo": {}}
    recipe = build(START | {"iteration": [V1, v2, v3]})
    assert recipe.steps["v2-pairs"].inputs["models"] == ["sft", "v1"]
    assert recipe.steps["v2-safety"].inputs["comparisons"] == ["v1-comparisons", "v2-comparisons"]
    assert recipe.steps["v2"].inputs["dialogues"] == ["chat", "v1-picks", "v2-picks"]
    assert recipe.steps["v2"].inputs["base"] == ["base"]
    assert recipe.steps["v3"].inputs == {
        "policy": ["v2"],
        "chat": ["chat"],
        "helpfulness": ["v2-helpfulness"],
        "safety": ["v2-safety"],
    }


def test_without_replay_versions_are_tuned_on_picks_alone() -> None:
    v2 = {"name": "v2", "picks": {}, "tune": {}}
    steps = build(START | {"iteration": [V1 | {"replay": False}, v2]}).steps
    assert steps["v1"].inputs["dialogues"] == ["v1-picks"]
    assert steps["v2"].inputs["dialogues"] == ["v1-picks", "v2-picks"]


def test_a_table_takes_what_it_does_not_name_from_the_round_before() -> None:
    v1 = V1 | {"tune": {"epochs": 2, "lora": {"rank": 4, "alpha": 8.0}}}
    v2 = {"name": "v2", "pairs": {"seed": 2}, "picks": {}, "tune": {"lora": {"rank": 2}}}
    v3 = {"name": "v3", "ppo": {}}
    v4 = {"name": "v4", "tune": {"epochs": 1}}
    steps = build(START | {"iteration": [v1, v2, v3, v4]}).steps
    assert steps["v2-pairs"].values == {"pairs": 10, "seed": 2}
    assert steps["v2-comparisons"].values == {"noise_scale": 0.1}
    assert steps["v2-picks"].values == {"samples": 4}
    assert steps["v2"].values == {"epochs": 2, "lora": {"rank": 2, "alpha": 8.0}}
    assert steps["v4"].values == {"epochs": 1, "lora": {"rank": 2, "alpha": 8.0}}
    assert steps["v1"].values == v1["tune"]
    assert "v2-helpfulness" not in steps
    assert "v3-picks" not in steps


def test_people_may_replace_the_simulated_annotator() -> None:
    v1 = {k: v for k, v in V1.items() if k not in ("pairs", "annotator")} | {"comparisons": {"file": "human.jsonl"}}
    steps = build(START | {"iteration": [v1]}).steps
    assert steps["v1-comparisons"].stage == "preference.import"
    assert "v1-pairs" not in steps


def test_overrides_reach_unfolded_stages_and_the_top() -> None:
    recipe = build(START | {"iteration": [V1]}, "v1-picks.samples=16", "seed=9", "sft.epochs=3")
    assert recipe.steps["v1-picks"].values["samples"] == 16
    assert recipe.run.seed == 9
    assert recipe.steps["sft"].values["epochs"] == 3


def test_a_setting_of_one_round_leaves_the_others_alone() -> None:
    v1 = V1 | {"tune": {"optimizer": {"lr": 0.1}}}
    recipe = build(START | {"iteration": [v1, {"name": "v2", "tune": {}}]}, "v2.optimizer.lr=0.2")
    assert recipe.steps["v1"].values == {"optimizer": {"lr": 0.1}}
    assert recipe.steps["v2"].values == {"optimizer": {"lr": 0.2}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sft": {"stage": "train.sft", "inputs": {"base": "bse"}}}, r"names 'bse'.*Did you mean 'base'"),
        ({"model": "sfft"}, r"names 'sfft'.*Did you mean 'sft'"),
        ({"sead": 3}, r"unknown key sead.*Did you mean 'seed'"),
        ({"extra": {}}, r"\[extra\] has no `stage"),
        (
            {"a": {"stage": "x", "inputs": {"i": "b"}}, "b": {"stage": "x", "inputs": {"i": "a"}}},
            r"circle: a -> b -> a",
        ),
        ({"iteration": [{**V1, "picsk": {}}]}, r"unknown key picsk.*Did you mean 'picks'"),
        ({"iteration": [{k: v for k, v in V1.items() if k != "safety"}]}, r"no reward models yet"),
        ({"iteration": [{**V1, "ppo": {}}]}, r"give one"),
        ({"iteration": [{**V1, "comparisons": {"file": "x"}}]}, r"comparisons come from .* give one"),
        ({"iteration": [{k: v for k, v in V1.items() if k != "pairs"}]}, r"annotator has nothing to compare"),
        ({"iteration": [{**V1, "replay": "no"}]}, r"replay must be true or false, not 'no'"),
        ({"iteration": [{k: v for k, v in V1.items() if k != "picks"} | {"replay": False}]}, r"nothing to tune on"),
        ({"iteration": [{**V1, "name": "sft"}]}, r"another stage called 'sft'"),
        ({"iteration": [{k: v for k, v in V1.items() if k != "policy"}]}, r"first iteration needs policy"),
    ],
)
def test_a_wrong_recipe_names_the_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(START | change)


def test_an_override_of_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no 'stf'.*Did you mean 'sft'"):
        build(START, "stf.epochs=3")

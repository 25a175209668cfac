"""Strict loading: unknown keys, overrides, identity."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.config import (
    InputPath,
    apply_overrides,
    config,
    describe,
    digest,
    identity,
    input_paths,
    load_toml,
    parse,
    resolved,
    setting,
    with_resolved_paths,
)
from arriero.errors import ConfigError, InputError


@config
class Adapter:
    rank: int = setting(8, "rank", ge=1)


@config
class Tune:
    lr: float = setting(..., "peak learning rate", unit="1/step", gt=0)
    adapter: Adapter | None = setting(None, "adapters")
    prompts: InputPath | None = setting(None, "a file")
    names: list[str] = setting(["en"], "languages")
    every: float = setting(60.0, "between checkpoints", unit="s", operational=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 1, "adapter": {"rnk": 3}}, r"Unknown key sft\.adapter\.rnk\. Did you mean 'rank'\?"),
        ({"lr": 1, "nmaes": []}, r"Unknown key sft\.nmaes\. Did you mean 'names'\?"),
        ({}, r"sft\.lr is required"),
        ({"lr": 0}, r"sft\.lr is wrong"),
        ({"lr": 1, "adapter": {"rank": 0}}, r"sft\.adapter\.rank is wrong"),
    ],
)
def test_a_wrong_config_names_key_and_remedy(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Tune, values, "sft")


def test_operational_fields_and_paths_stay_out_of_the_identity(tmp_path: Path) -> None:
    one = parse(Tune, {"lr": 1, "every": 5, "prompts": str(tmp_path / "a")}, "sft")
    two = parse(Tune, {"lr": 1, "every": 9, "prompts": str(tmp_path / "b")}, "sft")
    assert identity(one) == identity(two)
    assert resolved(one) != resolved(two)
    assert input_paths(one) == {"prompts": tmp_path / "a"}
    assert identity(one) != identity(parse(Tune, {"lr": 1, "adapter": {}}, "sft"))


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    assert with_resolved_paths(Tune, {"lr": 1, "prompts": "x.jsonl"}, tmp_path)["prompts"] == str(tmp_path / "x.jsonl")
    assert with_resolved_paths(Tune, {"lr": 1, "prompts": "/x"}, tmp_path)["prompts"] == "/x"


def test_describe_shows_default_unit_and_doc_of_every_field() -> None:
    rows = {row.name: row for row in describe(Tune)}
    assert set(rows) == {"lr", "adapter", "adapter.rank", "prompts", "names", "every"}
    assert (rows["lr"].default, rows["lr"].unit) == ("required", "1/step")
    assert rows["every"].operational
    assert rows["prompts"].type == "Path | null"


@config
class Recipe:
    tune: Tune = setting(Tune(lr=0.5, adapter=Adapter(rank=2), every=5.0), "tuning")
    strict: Tune = setting(Tune(lr=1.0), "tuning, too")


def test_a_table_within_takes_what_it_does_not_name_from_its_field() -> None:
    assert parse(Recipe, {}, "r") == Recipe()
    assert parse(Recipe, {"tune": {"every": 9}}, "r").tune == Tune(lr=0.5, adapter=Adapter(rank=2), every=9.0)
    assert parse(Recipe, {"tune": {"adapter": {}}}, "r").tune.adapter == Adapter(rank=2)
    assert parse(Recipe, {"strict": {"adapter": {}}}, "r").strict == Tune(lr=1.0, adapter=Adapter(rank=8))
    shown = {row.name: row.default for row in describe(Recipe)}
    assert (shown["tune.lr"], shown["tune.adapter.rank"], shown["tune.every"]) == ("0.5", "2", "5.0")
    assert (shown["strict.lr"], shown["strict.adapter"], shown["strict.adapter.rank"]) == ("1.0", "off", "8")
    with pytest.raises(ConfigError, match=r"Unknown key r\.tune\.adapter\.rnk\. Did you mean 'rank'"):
        parse(Recipe, {"tune": {"adapter": {"rnk": 1}}}, "r")


@config
class Mixture:
    epochs: dict[str, float] = setting({"reference": 3.0}, "passes")
    whole: int = setting(1, "at most the passes")

    def __post_init__(self) -> None:
        if self.whole > self.epochs["reference"]:
            raise ConfigError("whole is more than the passes.")


def test_a_plain_table_keeps_what_it_does_not_name() -> None:
    assert parse(Mixture, {"epochs": {"web": 2}}, "corpus").epochs == {"reference": 3.0, "web": 2.0}
    assert parse(Mixture, {"epochs": {"reference": 1}}, "corpus").epochs == {"reference": 1.0}
    assert parse(Mixture, {}, "corpus").epochs == {"reference": 3.0}


def test_what_a_config_itself_refuses_names_the_place() -> None:
    with pytest.raises(ConfigError, match=r"^corpus: whole is more"):
        parse(Mixture, {"whole": 4}, "corpus")


def test_mutable_defaults_are_not_shared() -> None:
    parse(Tune, {"lr": 1}, "a").names.append("de")
    assert parse(Tune, {"lr": 1}, "b").names == ["en"]


KEYS = st.text("abc", min_size=1, max_size=3)
PLAIN = st.one_of(st.integers(-99, 99), st.booleans(), st.text("xyz ", max_size=5))


@given(st.lists(KEYS, min_size=1, max_size=3), PLAIN)
def test_an_override_sets_one_value_and_leaves_its_source_alone(path: list[str], value: object) -> None:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else value
    shown = f'"{text}"' if isinstance(value, str) else str(text)
    before: dict[str, object] = {"zz": {"q": 1}}
    after = apply_overrides(before, [f"{'.'.join(path)}={shown}"])
    place: object = after
    for part in path:
        assert isinstance(place, dict)
        place = place[part]
    assert place == value
    assert before == {"zz": {"q": 1}}
    assert after["zz"] == {"q": 1}


@pytest.mark.parametrize("text", ["novalue", "=3", "a.b.c=1"])
def test_a_wrong_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        apply_overrides({"a": {"b": 1}}, [text])


def test_digest_ignores_key_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_a_recipe_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        load_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [1,\nb")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_toml(tmp_path / "latin.toml")

"""The mixture: epochs, temperature and caps against closed forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.data.mixture import MixtureConfig, by_source, epochs_by_source, mixture
from arriero.data.sources import Source, SourceKind
from arriero.errors import ConfigError

SOURCES = [
    Source("pages", SourceKind.WEB, "a", {}, 1, 1),
    Source("docs", SourceKind.REFERENCE, "b", {}, 1, 1),
    Source("topics", SourceKind.REFERENCE, "b", {}, 1, 1),
]
NAMES = [source.name for source in SOURCES]
SIZES = st.fixed_dictionaries({}, optional={name: st.integers(1, 10**13) for name in NAMES}).filter(bool)
EPOCHS = st.fixed_dictionaries({name: st.floats(0.01, 20) for name in NAMES})


def mix(sizes: dict[str, int], **settings: object) -> dict[str, dict[str, float]]:
    found = mixture({name: (7, size) for name, size in sizes.items()}, MixtureConfig(**settings), SOURCES)
    rows = {row["name"]: row for row in found["sources"]}
    assert list(rows) == sorted(sizes)
    for side in ("share_before", "share_after"):
        assert sum(row[side] for row in rows.values()) == pytest.approx(1)
    amounts = {name: row["bytes"] * row["epochs"] for name, row in rows.items()}
    assert found["bytes"] == sum(sizes.values())
    assert found["bytes_per_pass"] == pytest.approx(sum(amounts.values()))
    for name, row in rows.items():
        assert row["share_after"] == pytest.approx(amounts[name] / found["bytes_per_pass"])
    return rows


def test_a_source_has_the_value_of_its_name_else_of_its_kind() -> None:
    stated = {"reference": 3.0, "topics": 0.5, "code": 9.0}
    assert epochs_by_source(stated, SOURCES) == {"pages": 1.0, "docs": 3.0, "topics": 0.5}
    assert by_source("caps", stated, SOURCES) == {"docs": 3.0, "topics": 0.5}


@pytest.mark.parametrize("field", ["epochs", "caps"])
def test_what_is_no_source_or_no_number_is_named(field: str) -> None:
    counts = {"docs": (1, 1)}
    with pytest.raises(ConfigError, match=rf"`{field}` names 'wiki'.*pages, docs, topics"):
        mixture(counts, MixtureConfig(**{field: {"wiki": 2.0}}), SOURCES)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=rf"`{field}` of 'docs'.*above zero"):
            mixture(counts, MixtureConfig(**{field: {"docs": value}}), SOURCES)


@given(SIZES, EPOCHS)
def test_epochs_alone_are_those_stated(sizes: dict[str, int], epochs: dict[str, float]) -> None:
    """Exactly: a temperature of 1 adds no rounding."""
    for name, row in mix(sizes, epochs=epochs).items():
        assert row["epochs"] == row["epochs_stated"] == epochs[name]
        assert row["share_before"] == sizes[name] / sum(sizes.values())


@given(SIZES, EPOCHS, st.floats(1.01, 50))
def test_temperature_is_a_power_of_the_shares_in_an_equal_pass(
    sizes: dict[str, int], epochs: dict[str, float], temperature: float
) -> None:
    plain, tempered = mix(sizes, epochs=epochs), mix(sizes, epochs=epochs, temperature=temperature)
    first = next(iter(sizes))
    for name in sizes:
        ratio = plain[name]["share_after"] / plain[first]["share_after"]
        assert tempered[name]["share_after"] / tempered[first]["share_after"] == pytest.approx(
            ratio ** (1 / temperature)
        )
    passes = [sum(row["bytes"] * row["epochs"] for row in rows.values()) for rows in (plain, tempered)]
    assert passes[0] == pytest.approx(passes[1])


def test_two_sources_at_temperature_two_by_hand() -> None:
    """Shares 0.9 and 0.1 become 3 : 1 (roots 0.9487 and 0.3162), so 0.75 and 0.25, of the same thousand bytes."""
    rows = mix({"pages": 900, "docs": 100}, epochs={}, temperature=2.0)
    assert [rows[name]["share_after"] for name in ("pages", "docs")] == pytest.approx([0.75, 0.25])
    assert [rows[name]["epochs"] for name in ("pages", "docs")] == pytest.approx([750 / 900, 2.5])
    capped = mix({"pages": 900, "docs": 100}, epochs={}, temperature=2.0, caps={"docs": 150.0})
    assert [capped[name]["epochs"] for name in ("pages", "docs")] == pytest.approx([750 / 900, 1.5])
    assert capped["docs"]["share_after"] == pytest.approx(150 / 900)


@given(SIZES, EPOCHS, st.sampled_from([1.0, 3.0]), st.integers(1, 10**13))
def test_a_cap_holds_and_leaves_the_other_sources_alone(
    sizes: dict[str, int], epochs: dict[str, float], temperature: float, cap: int
) -> None:
    free = mix(sizes, epochs=epochs, temperature=temperature)
    capped = mix(sizes, epochs=epochs, temperature=temperature, caps={"reference": float(cap)})
    for name in sizes:
        before, after = (rows[name]["epochs"] * sizes[name] for rows in (free, capped))
        assert after == pytest.approx(before if name == "pages" else min(before, cap))

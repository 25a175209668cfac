"""The mixture by epochs."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.data.mixture import epochs_by_source, mixture
from arriero.data.sources import Source, SourceKind
from arriero.errors import ConfigError

SOURCES = [
    Source("pages", SourceKind.WEB, "a", {}, 1, 1),
    Source("docs", SourceKind.REFERENCE, "b", {}, 1, 1),
    Source("topics", SourceKind.REFERENCE, "b", {}, 1, 1),
]


def test_a_source_has_the_epochs_of_its_name_else_of_its_kind_else_one() -> None:
    epochs = epochs_by_source({"reference": 3.0, "topics": 0.5, "code": 9.0}, SOURCES)
    assert epochs == {"pages": 1.0, "docs": 3.0, "topics": 0.5}


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'wiki'.*pages, docs, topics"):
        epochs_by_source({"wiki": 2.0}, SOURCES)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"'docs'.*above zero"):
            epochs_by_source({"docs": value}, SOURCES)


@given(st.lists(st.sampled_from(["pages", "docs", "topics"]), min_size=1, max_size=20), st.floats(0.1, 10))
def test_shares_follow_bytes_times_epochs(names: list[str], factual: float) -> None:
    texts = ["é" * (place + 1) for place in range(len(names))]  # two bytes each
    result = mixture(
        pa.table({"source": names, "text": texts}), {"pages": 1.0, "docs": factual, "topics": 1.0}, SOURCES
    )
    rows = {row["name"]: row for row in result["sources"]}
    assert set(rows) == set(names)
    assert result["bytes"] == sum(row["bytes"] for row in rows.values()) == sum(len(text.encode()) for text in texts)
    for side in ("share_before", "share_after"):
        assert sum(row[side] for row in rows.values()) == pytest.approx(1)
    for a in rows.values():
        for b in rows.values():
            ratio = a["bytes"] * a["epochs"] / (b["bytes"] * b["epochs"])
            assert a["share_after"] / b["share_after"] == pytest.approx(ratio)
            assert a["share_before"] / b["share_before"] == pytest.approx(a["bytes"] / b["bytes"])

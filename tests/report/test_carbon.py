"""The paper's table 2 from its own formula, and text that people read."""

import pytest

from arriero.report.carbon import footprint
from arriero.report.text import duration, interval, share, size

# Table 2: model, GPU-hours, watts, tCO2eq.
TABLE_2 = [
    ("7B", 184320, 400, 31.22),
    ("13B", 368640, 400, 62.44),
    ("34B", 1038336, 350, 153.90),
    ("70B", 1720320, 400, 291.42),
]


@pytest.mark.parametrize(("model", "hours", "watts", "tonnes"), TABLE_2)
def test_the_papers_table(model: str, hours: float, watts: float, tonnes: float) -> None:
    assert footprint(hours * 3600, watts).kg_co2eq / 1000 == pytest.approx(tonnes, abs=0.01)


def test_the_papers_total_is_the_sum_of_its_rows() -> None:
    total = sum(footprint(hours * 3600, watts).kg_co2eq / 1000 for _, hours, watts, _ in TABLE_2)
    assert total == pytest.approx(539.00, abs=0.03)


def test_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        footprint(-1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s"), (3599.6, "1 h 00 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_and_intervals() -> None:
    assert [size(n) for n in (999, 12_340, 5.6e9)] == ["999 bytes", "12.3 kB", "5.6 GB"]
    row = {"mean": -0.126, "low": -0.2, "high": 0.01, "n": 50}
    assert interval(row, signed=True) == "−0.13 [−0.20, +0.01]"
    assert share({"mean": 0.12, "low": 0.06, "high": 0.24, "n": 50}, 6) == "12% (6 of 50) [6%, 24%]"

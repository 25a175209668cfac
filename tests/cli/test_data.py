"""`arriero data inspect|stats|why` as they are typed."""

import json
from pathlib import Path

import pytest
from kept_and_dropped import ID, corpus_artifact

from arriero.cli.main import main

PERSON = "jane.roe@acme.org"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    corpus_artifact(root)
    return root


def call(runs: Path, verb: str, *arguments: object) -> int:
    return main(["data", verb, ID[:6], *map(str, arguments), "--runs", str(runs)])


def test_stats(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(runs, "stats") == 0
    assert "quality           100       10  10.00%   90" in capsys.readouterr().out
    assert call(runs, "stats", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["funnel"]["documents_in"] == 120
    assert set(found) >= {"funnel", "mixture", "sources", "parts", "quarantine"}


def test_inspect(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(runs, "inspect", "--sample", 3, "--step", "quality") == 0
    first = capsys.readouterr().out
    assert first.count("dropped by quality: top_2gram") == 3
    assert "Write to [EMAIL] or call [PHONE] now." in first
    assert "\x1b" not in first, "no colours but on a terminal"
    assert call(runs, "inspect", "--sample", 3, "--step", "quality", "--show-pii") == 0
    assert PERSON in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert call(runs, "inspect", "--html", page) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text().count("<article") == 20


def test_colours_are_for_terminals_that_want_them(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for setting, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", setting)
        assert call(runs, "inspect") == 0
        assert ("\x1b[30;43m[EMAIL]" in capsys.readouterr().out) == coloured


def test_why(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(runs, "why", "k00") == 2
    assert "10 documents have an id that starts with 'k00'" in capsys.readouterr().err
    assert call(runs, "why", "k002") == 0
    assert "  why           another document has nearly the same text" in capsys.readouterr().out
    assert call(runs, "inspect", "--reason", "top_3gram") == 2
    assert "Did you mean 'top_2gram'?" in capsys.readouterr().err

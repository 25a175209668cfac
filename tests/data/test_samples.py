"""Documents drawn from a corpus: by the seed alone, from where they are asked for, without reading the other texts."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kept_and_dropped import HOSTILE, PEOPLE, dropped_rows, kept_rows, write_corpus

from arriero.artifacts.files import read_json
from arriero.data.samples import Wanted, check_wanted, draw
from arriero.data.shown import Mark, Shown, visible
from arriero.errors import InputError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_seed_decides_and_row_groups_do_not(corpus: Path, tmp_path: Path) -> None:
    first = draw(corpus, Wanted(), 10, 0)
    assert [sample.split == "dropped" for sample in first] == [False] * 10 + [True] * 10
    assert first == draw(corpus, Wanted(), 10, 0) == draw(write_corpus(tmp_path, row_group=1000), Wanted(), 10, 0)
    assert first != draw(corpus, Wanted(), 10, 1)
    assert len({sample.id for sample in first}) == 20


def test_every_document_is_drawn_alike(corpus: Path) -> None:
    counts = Counter(sample.id for seed in range(150) for sample in draw(corpus, Wanted(split="train"), 6, seed))
    assert len(counts) == 48
    assert min(counts.values()) > 4  # 19 are expected of each, with a deviation of 4
    assert max(counts.values()) < 34


def test_all_documents_are_whole(corpus: Path) -> None:
    stored = {row["id"]: row for row in (*kept_rows(), *dropped_rows())}
    drawn = draw(corpus, Wanted(), 1000, 3)
    assert {sample.id for sample in drawn} == stored.keys()
    for sample in drawn:
        row = stored[sample.id]
        assert sample.text == row.get("text", row.get("excerpt"))
        assert (sample.url, sample.origin, sample.source) == (row["url"], row["origin"], row["source"])
        assert (sample.reason, sample.detail) == (row.get("reason", ""), row.get("detail") or "")


def test_filters_agree_with_a_plain_reading(corpus: Path) -> None:
    kept, dropped = kept_rows(), dropped_rows()

    def ids(wanted: Wanted) -> set[str]:
        return {sample.id for sample in draw(corpus, wanted, 1000, 0)}

    assert ids(Wanted(source="books")) == {row["id"] for row in kept if row["source"] == "books"}
    assert ids(Wanted(step="pii")) == {
        r["id"] for r in (*kept, *dropped) if "pii " in r.get("edits", "") or r.get("step") == "pii"
    }
    assert ids(Wanted(reason="near_duplicate")) == {dropped[-1]["id"]}
    assert ids(Wanted(split="heldout", source="docs")) == {
        row["id"] for number, row in enumerate(kept) if number % 5 == 0 and row["source"] == "docs"
    }
    assert ids(Wanted(split="dropped", step="quality")) == {row["id"] for row in dropped if row["step"] == "quality"}


def test_only_the_row_groups_of_the_drawn_are_read(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def spied(self: pq.ParquetFile, group: int) -> object:
        read.append(group)
        return original(self, group)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spied)
    draw(corpus, Wanted(), 2, 0)
    assert 0 < len(read) <= 4
    assert draw(corpus, Wanted(split="dropped", reason="language_de"), 1, 0)
    assert len(read) <= 5


@pytest.mark.parametrize(
    ("wanted", "count", "said"),
    [
        (Wanted(source="dogs"), 1, "no source 'dogs' in this corpus. Did you mean 'docs'?"),
        (Wanted(step="qualty"), 1, "Did you mean 'quality'?"),
        (Wanted(step="quality", reason="no_text"), 1, "no reason 'no_text' of the step 'quality'"),
        (Wanted(split="train", reason="no_text"), 1, "were kept"),
        (Wanted(), 0, "at least one document"),
    ],
)
def test_what_cannot_be_wanted(corpus: Path, wanted: Wanted, count: int, said: str) -> None:
    with pytest.raises(InputError, match="(?s).*" + said.replace("?", r"\?")):
        check_wanted(wanted, count, read_json(corpus / "funnel.json"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "train" / "00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"00001\.parquet"):
        draw(tmp_path, Wanted(), 5, 0)


def test_nothing_that_is_obeyed_is_left() -> None:
    every = "".join(map(chr, (*range(0x3000), *range(0xFE00, 0x10000), *range(0xE0000, 0xE0100))))
    shown = visible(every)
    assert not set(shown) & {chr(code) for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0))}
    assert not set(shown) & set(
        "\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )
    plain = "Grüße, 世界 👩‍💻!\n\tمی‌خواهم"
    assert visible(plain) == plain
    assert visible("\x1b[2J\x9b\x7f") == "␛[2J<U+009B>␡"
    assert Shown().line("two\nlines\r") == "two␊lines␍"


def test_people_are_hidden_unless_asked_for() -> None:
    text = f"[EMAIL] stays. {PEOPLE} {HOSTILE}"
    marked = [(piece.mark, piece.text) for piece in Shown().pieces(text) if piece.mark is not Mark.PLAIN]
    assert marked == [(Mark.REDACTED, "[EMAIL]"), (Mark.HIDDEN, "[EMAIL]"), (Mark.HIDDEN, "[PHONE]")]
    asked = Shown(personal=True).pieces(text)
    assert [piece.text for piece in asked if piece.mark is Mark.PERSONAL] == ["jane.roe@acme.org", "+1 212 555 0198"]
    assert "".join(piece.text for piece in asked) == visible(text)


@pytest.mark.parametrize("characters", range(70))
def test_a_beginning_cuts_no_person_in_two(characters: int) -> None:
    begun = "".join(piece.text for piece in Shown().beginning(PEOPLE, characters))
    assert "jane" not in begun
    assert "555" not in begun
    whole = "Write to [EMAIL] or call [PHONE] now."
    assert begun == whole or (begun.endswith(" …") and whole.startswith(begun.removesuffix(" …")))


def test_passages_show_marks_further_on() -> None:
    text = "word " * 300 + PEOPLE + " word" * 300 + " [CARD] end"
    found = ["".join(piece.text for piece in passage) for passage in Shown().passages(text, 100, 5)]
    assert len(found) == 3
    assert found[0].endswith("Write to [EMAIL] or call …")
    assert found[2].endswith("[CARD] end …")
    assert Shown().passages(text, 2000, 5) == Shown().passages(text, 100, 5)[2:]
    assert len(Shown().passages(text, 100, 1)) == 1

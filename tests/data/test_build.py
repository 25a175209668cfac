"""data.build on small crawls: what is planted is caught, the funnel adds up, the same crawl gives the same bytes."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_crawl import prose, write_crawl

from arriero.artifacts.files import write_jsonl
from arriero.corpus import read
from arriero.data.build import QUESTIONS_FILE, STAGE, BuildConfig
from arriero.errors import ConfigError, InputError
from stages import artifact, context, digests, inputs

QUESTION = "When the last train has left, who waters the flowers on the window sill?"
GERMAN = "Das ist ein ganz gewöhnlicher Satz über das Wetter, den niemand für englisch halten wird. " * 8


def build(
    root: Path, cfg: BuildConfig, questions: list[dict[str, str]] | None = None, **crawl: Any
) -> tuple[Path, dict[str, Any]]:
    source = artifact(root, "crawl")
    write_crawl(source.path, **crawl)
    given, edges = context(root / "work"), {"crawl": source}
    if questions:
        edges["evaluation"] = artifact(root, "evaluation")
        write_jsonl(edges["evaluation"].path / QUESTIONS_FILE, questions)
    return given.out, STAGE.run(cfg, inputs(**edges), given)


def dropped_of(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "dropped").iterdir()) for row in pq.read_table(path).to_pylist()]


def rows_of(corpus: Path, split: str) -> dict[str, dict[str, str]]:
    return {row["url"]: row for row in read(corpus, split).to_pylist()}


def planted() -> dict[str, Any]:
    contact = "Write to jane.doe@acme.org, call +1 (212) 555-0123, card 4111 1111 1111 1111, "
    contact += "DE89370400440532013000, 93.184.216.34."
    people = " ".join(f"person{n}@home{n}.net +1 212 555 {n:04d}" for n in range(20))
    pages = [
        {"url": "https://good.example/1", "text": prose(1)},
        {"url": "https://good.example/contact", "text": prose(2) + "\n\n" + contact},
        {"url": "https://good.example/copy", "text": prose(1).replace("The ", "the ")},
        {"url": "https://good.example/near", "text": prose(1).replace("the old", "that old", 1) + " So it was."},
        {"url": "https://www.people.example/1", "text": prose(3) + people},
        {"url": "https://people.example/2", "text": prose(4)},
        {"url": "https://good.example/de", "text": GERMAN},
        {"url": "https://good.example/short", "text": "Home of the page."},
        {"url": "https://good.example/quiz", "text": prose(5) + "\n\n" + QUESTION + "\n\n" + prose(6)},
        {"url": "https://good.example/held", "text": prose(7), "module": "held"},
        {"url": "https://good.example/leak", "text": prose(7) + " And more of it.", "module": "m"},
        {"url": "https://good.example/gone", "text": prose(8), "status": "410 Gone"},
    ]
    return {"pages": pages, "rows": [{"text": prose(9)}, {"text": prose(10)}], "heldout": ["held"]}


def test_planted_documents_are_caught_and_the_funnel_adds_up(tmp_path: Path) -> None:
    questions = [{"question": QUESTION, "answer": "The guard."}]
    out, metrics = build(tmp_path, BuildConfig(epochs={"ref": 2.5}), questions, **planted())
    train, dropped = rows_of(out, "train"), dropped_of(out)
    funnel = json.loads((out / "funnel.json").read_text())
    found = {
        "https://good.example/contact", "https://good.example/near", "https://r.example/0", "https://r.example/1"
    }  # fmt: skip
    assert set(train) == found
    contact = "Write to [EMAIL], call [PHONE], card [CARD], [IBAN], [IP]."
    assert train["https://good.example/contact"]["text"].endswith(contact)
    assert set(rows_of(out, "heldout")) == {"https://good.example/held"}
    assert sorted((row["step"], row["reason"]) for row in dropped) == [
        ("decontamination", "evaluation_ngram"),
        ("exact_duplicates", "exact_duplicate"),
        ("extract", "http_status"),
        ("language", "language_de"),
        ("near_duplicates", "near_duplicate"),
        ("near_duplicates", "near_duplicate_of_heldout"),
        ("pii", "pii_site"),
        ("pii", "pii_site"),
        ("quality", "too_short"),
    ]
    assert [step["step"] for step in funnel["steps"]] == [
        "extract", "repair", "language", "boilerplate", "quality", "decontamination", "pii", "exact_duplicates",
        "near_duplicates",
    ]  # fmt: skip
    assert (funnel["documents_in"], funnel["documents_out"], len(dropped)) == (14, 5, 9)
    assert funnel["by_source"]["ref"] == {"in": 2, "out": 2, "dropped": {}}
    assert metrics["train_bytes"] == sum(len(row["text"].encode()) for row in train.values())
    mixture = {row["name"]: row for row in json.loads((out / "mixture.json").read_text())["sources"]}
    assert (mixture["ref"]["epochs"], mixture["web"]["epochs"]) == (2.5, 1.0)


FILES = [
    "dropped/00000.parquet", "dropped/00001.parquet", "dropped/00002.parquet", "funnel.json", "heldout/00000.parquet",
    "mixture.json", "parts.json", "quarantine.jsonl", "sources.json", "statistics.json", "train/00000.parquet",
    "train/00001.parquet",
]  # fmt: skip


def test_the_same_crawl_gives_the_same_bytes(tmp_path: Path) -> None:
    crawl = planted()
    first, _ = build(tmp_path / "a", BuildConfig(), **crawl)
    again, _ = build(tmp_path / "b", BuildConfig(), **crawl)
    assert sorted(digests(first)) == FILES
    assert digests(first) == digests(again)


def test_an_empty_corpus_names_the_step_that_dropped_most(tmp_path: Path) -> None:
    short = [{"url": f"https://a.example/{n}", "text": f"Page {n} of the site."} for n in range(3)]
    german = [{"url": "https://a.example/de", "text": GERMAN}]
    with pytest.raises(InputError, match=r"of 4 documents none is left; the step `quality` dropped 3 \(too_short 3\)"):
        build(tmp_path / "a", BuildConfig(), pages=[*short, *german])
    assert not list((tmp_path / "a" / "work" / "out").iterdir()), "nothing half-written"
    with pytest.raises(InputError, match="holds no document"):
        build(tmp_path / "b", BuildConfig(), pages=[])
    with pytest.raises(InputError, match="1 are left, all held out"):
        build(tmp_path / "c", BuildConfig(), pages=[], rows=[{"text": prose(1), "module": "held"}], heldout=["held"])
    split: dict[str, Any] = {"rows": [{"text": prose(1)}, {"text": "Too short.", "module": "held"}]}
    with pytest.raises(InputError, match=r"No held-out text.*`quality` dropped 1.*heldout_share to 0"):
        build(tmp_path / "d", BuildConfig(), pages=[], heldout=["held"], **split)
    assert not list((tmp_path / "d" / "work" / "out").iterdir()), "nothing half-written"
    _, metrics = build(tmp_path / "e", BuildConfig(), pages=[], **split)
    assert (metrics["train_documents"], metrics["heldout_documents"]) == (1, 0)


def test_an_unknown_source_in_epochs_is_an_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'wiki'"):
        build(tmp_path, BuildConfig(epochs={"wiki": 2.0}), pages=[])


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    rows = [{"id": "x", "text": prose(1)}, {"id": "x", "text": prose(2)}]
    with pytest.raises(InputError, match="'x' names more than one document"):
        build(tmp_path, BuildConfig(), pages=[], rows=rows)

"""Boilerplate: against a plain count, over any split into batches, files and buckets; and what must stay."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.data import boilerplate
from arriero.data.boilerplate import BoilerplateConfig, boilerplate_step, line_counts, repeated_lines

SMALL = BoilerplateConfig(edge_lines=2, min_characters=3, min_documents=3, min_share=0.5)
NAVIGATION, COPYRIGHT = "Home > Guides > All about the sea", "Copyright 2023 The Sea Authors. All rights reserved."


def cleaned(table: pa.Table, cfg: BoilerplateConfig, folder: Path, batch: int = 7, buckets: int = 3) -> pa.Table:
    files = []
    for start in range(0, len(table), batch):
        files.append(folder / f"{start}.parquet")
        pq.write_table(line_counts(table.slice(start, batch), cfg), files[-1], row_group_size=5)
    repeated = pa.concat_tables(repeated_lines(files, bucket, buckets, cfg) for bucket in range(buckets))
    step = boilerplate_step(cfg, repeated)
    return pa.concat_tables(step.run(table.slice(start, batch)) for start in range(0, len(table), batch))


def outermost(text: str, count: int) -> list[int]:
    lines = text.split("\n")
    full = [place for place, line in enumerate(lines) if line.strip()]
    return sorted({*full[:count], *full[-count:]})


def plainly_cleaned(pages: list[tuple[str, str]], cfg: BoilerplateConfig) -> list[str]:
    """The same by counting every line of (site, text); texts must differ."""
    held: Counter[tuple[str, str]] = Counter()
    for site, text in pages:
        lines = text.split("\n")
        held.update({(site, lines[place].strip()) for place in outermost(text, cfg.edge_lines)})
    of_site, result = Counter(site for site, _ in pages), []
    for site, text in pages:
        lines, edge = text.split("\n"), outermost(text, cfg.edge_lines)
        gone = {
            place
            for place in edge
            if len(line := lines[place].strip()) >= cfg.min_characters
            and held[site, line] >= max(cfg.min_documents, cfg.min_share * of_site[site])
        }
        left = "\n".join(line for place, line in enumerate(lines) if place not in gone)
        result.append(left.strip("\n") if gone else text)
    return result


PAGE = st.lists(
    st.sampled_from(["", "  ", "}", "menu", " menu ", "ünïcode", "Prev | Next", "text one", "text two"]), max_size=7
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["a.com", "www.a.com", "b.org"]), PAGE), min_size=1, max_size=16),
    st.integers(1, 16),
)
def test_against_a_plain_count(tmp_path: Path, pages: list[tuple[str, list[str]]], batch: int) -> None:
    texts = [
        "\n".join([*lines[: len(lines) // 2], f"x{n}\n\ny\n", *lines[len(lines) // 2 :]])
        for n, (_, lines) in enumerate(pages)
    ]
    table = documents(texts, url=[f"https://{host}/{n}" for n, (host, _) in enumerate(pages)])
    expected = plainly_cleaned(
        [(host.removeprefix("www."), text) for (host, _), text in zip(pages, texts, strict=True)], SMALL
    )
    assert cleaned(table, SMALL, tmp_path, batch)["text"].to_pylist() == expected


def site(count: int, body: str = "{}") -> list[str]:
    return [f"{NAVIGATION}\n\n{body.format(prose(seed, 5))}\n\n{COPYRIGHT}" for seed in range(count)]


def test_lines_at_the_edges_go_and_the_rest_stays(tmp_path: Path) -> None:
    code = "{}\nExamples of how to do it\nimport os, sys, json\n    return value_of_it\n}}\n" + "\n".join(
        f"{n} and on" for n in range(12)
    )
    texts = [*site(20), *(f"A{n}\n" * 5 + code.format(prose(n)) for n in range(20)), prose(99)]
    table = documents(texts, url=["https://docs.sea.org/x"] * 20 + ["https://code.org/"] * 20 + ["https://other.org/"])
    result = cleaned(table, BoilerplateConfig(), tmp_path)
    assert result["text"].to_pylist() == [prose(seed, 5) for seed in range(20)] + texts[20:]
    assert result["edits"].to_pylist() == ["boilerplate 2 lines"] * 20 + [""] * 21
    assert result["id"].equals(table["id"])


@pytest.mark.parametrize("case", ["few pages", "small share", "one page under many addresses", "two sites", "not web"])
def test_what_is_no_boilerplate(case: str, tmp_path: Path) -> None:
    texts, urls, kind = site(20), ["https://sea.org/x"] * 20, "web"
    match case:
        case "few pages":
            texts, urls = site(9), urls[:9]
        case "small share":
            texts, urls = [*site(12), *(prose(n) for n in range(120))], ["https://sea.org/x"] * 132
        case "one page under many addresses":
            texts = site(1) * 20
        case "two sites":
            urls = ["https://sea.org/x", "https://lake.org/x"] * 10
            texts = [*site(18), prose(1), prose(2)]
        case "not web":
            kind = "reference"
    table = documents(texts, url=urls, kind=[kind] * len(texts))
    assert cleaned(table, BoilerplateConfig(), tmp_path)["text"].to_pylist() == texts


def test_a_page_of_nothing_else_is_dropped(tmp_path: Path) -> None:
    table = documents([*site(20), f"{NAVIGATION}\n{COPYRIGHT}\n"], url=["https://sea.org/x"] * 21)
    assert reasons(cleaned(table, BoilerplateConfig(), tmp_path)) == [None] * 20 + ["only_boilerplate"]


def test_memory_is_bounded_by_adding_up_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = documents(site(40), url=[f"https://sea{n % 3}.org/x" for n in range(40)])
    once = cleaned(table, SMALL, tmp_path)
    monkeypatch.setattr(boilerplate, "MERGE_ROWS", 4)
    assert cleaned(table, SMALL, tmp_path).equals(once)
    assert set(once["edits"].to_pylist()) == {"boilerplate 2 lines"}


def test_an_empty_batch(tmp_path: Path) -> None:
    empty = documents([])
    assert len(line_counts(empty, SMALL)) == 0
    assert len(repeated_lines([], 0, 1, SMALL)) == 0
    assert boilerplate_step(SMALL, repeated_lines([], 0, 1, SMALL)).run(documents(["a"]))["text"].to_pylist() == ["a"]

"""Mixture proxies: what they train on, what they recall of it, resumed to the same bytes, wrong mixes named."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arriero.artifacts import Artifact
from arriero.artifacts.files import read_json, read_jsonl, tree_digest, write_json
from arriero.config import parse
from arriero.data import shards as data_shards
from arriero.errors import ConfigError, InputError, Stopped
from arriero.eval.bits_per_byte import Document
from arriero.eval.facts import Fact
from arriero.pipeline import mixture_proxies
from arriero.pipeline.mixture_proxies import ProxiesConfig
from arriero.pipeline.proxy_results import summary
from arriero.tokenizer import ChatFormat, save_chat_format, save_tokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece
from corpora import Row, write_corpus
from stages import artifact, context, inputs

WORDS = ["copy", "move", "list", "file", "path", "open", "close", "read", "write", "name", "tree", "size"]
WORDS += ["link", "mode", "time", "user"]
UNREAD = ["fork", "kill", "nice", "wait", "exec", "spawn", "abort", "clone"]  # terms of held-out entries
MIXES = {"without": {"reference": 0.0}, "often": {"reference": 30.0}}


def entry(term: str) -> str:
    """A term and a definition that nothing of the term gives away."""
    words = np.random.default_rng(list(term.encode())).choice(WORDS, 6)
    return f"entries\n\n{term}\n    {' '.join(words)} here and now.\n"


def documents(source: str, texts: list[str]) -> list[Row]:
    return [
        {"id": f"{source}{n:03d}", "source": source, "module": f"{source}{n % 4}", "text": text}
        for n, text in enumerate(texts)
    ]


@dataclass(frozen=True)
class Made:
    tokenizer: Artifact
    corpus: Artifact
    shards: Artifact


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two sources: prose, and entries, of which the prose repeats the first."""
    root = tmp_path_factory.mktemp("store")
    prose = [f"Page {n} says that the {WORDS[n % 16]} comes before the {WORDS[n % 7]}, {n} times." for n in range(120)]
    entries = [entry(word) for word in WORDS]
    tokenizer = SentencePieceTokenizer(train_sentencepiece([*prose, *entries, *UNREAD], 440))
    found = {name: artifact(root, name) for name in ("tokenizer", "corpus")}
    save_tokenizer(tokenizer, found["tokenizer"].path)
    save_chat_format(ChatFormat("llama2", tokenizer), found["tokenizer"].path)
    train = documents("entries", entries) + documents("pages", [*prose, f"They say: {entries[0]}"])
    heldout = documents("entries", [entry(word) for word in UNREAD]) + documents("pages", prose[:3])
    write_corpus(found["corpus"].path, train, heldout)
    sources = [
        {"name": name, "kind": kind, "epochs": 1.0, "share_after": 0.5}
        for name, kind in (("entries", "reference"), ("pages", "web"))
    ]
    write_json(found["corpus"].path / "mixture.json", {"sources": sources})
    work = context(root / "shards")
    data_shards.STAGE.run(data_shards.ShardsConfig(), inputs(**found), work)
    return Made(**found, shards=replace(found["corpus"], id="shards", path=work.out))


def configured(**changes: Any) -> ProxiesConfig:
    values: dict[str, Any] = {
        "mixes": MIXES,
        "model": {"dim": 48, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "ffn_dim": 96},
        "tokens": 20_000,
        "micro_batch_size": 2,
        "global_batch_size": 2,
        "sequence_length": 48,
        "optimizer": {"lr": 1e-2},
        "overlap": 8,
    }
    return parse(ProxiesConfig, values | changes, "proxies")


def run(made: Made, root: Path, stop: Callable[[], bool] = lambda: False, **changes: Any) -> dict[str, Any]:
    given = inputs(shards=made.shards, tokenizer=made.tokenizer, corpus=made.corpus)
    return mixture_proxies.STAGE.run(configured(**changes), given, context(root, stop))


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("proxies")
    run(made, root)
    return root / "out"


def test_facts_that_are_read_are_recalled_and_others_are_not(folder: Path) -> None:
    without, often = read_json(folder / "results.json")["mixes"]
    assert often["recall"]["train"]["mean"] > without["recall"]["train"]["mean"] + 0.2
    assert often["recall"]["heldout"]["mean"] < 0.4, "chance is a quarter"
    cost = {mix["mix"]: mix["definition_bits_per_byte"] for mix in (without, often)}
    assert cost["often"]["train"]["high"] < 0.5 * cost["without"]["train"]["low"]
    assert cost["often"]["train"]["high"] < 0.75 * cost["often"]["heldout"]["low"]
    assert often["bits_per_byte"]["entries"]["change"]["high"] < 0, "what is left out is not learnt"


def test_every_model_reads_as_many_tokens_and_none_of_what_its_mix_omits(folder: Path) -> None:
    rows = [row for _, row in read_jsonl(folder / "measured.jsonl")]
    assert [(row["mix"], row["seed"]) for row in rows] == [("without", 1), ("without", 2), ("often", 1), ("often", 2)]
    assert {sum(row["tokens_read"].values()) for row in rows} == {209 * 2 * 48}
    assert [row["tokens_read"]["entries"] == 0 for row in rows] == [True, True, False, False]
    assert rows[2]["epochs"] == {"entries": 30.0, "pages": 1.0}
    assert rows[0]["bits"] != rows[1]["bits"]


def test_a_fact_is_asked_for_where_no_other_training_text_holds_it(folder: Path) -> None:
    asked = [row for _, row in read_jsonl(folder / "facts.jsonl")]
    terms = {side: {row["term"] for row in asked if row["side"] == side} for side in ("train", "heldout")}
    # The first is on a page, too; the last document of a file may have been cut.
    assert len(terms["train"]) == len(WORDS) - 2
    assert terms["train"] < set(WORDS[1:])
    assert terms["heldout"] == set(UNREAD)


def test_table_and_figure_tell_the_results(folder: Path) -> None:
    said = (folder / "table.md").read_text()
    assert said.count("| often |") == 2
    assert said.count("| without |") == 1
    assert ET.fromstring((folder / "figure.svg").read_text()).tag.endswith("svg")


def test_stopped_anywhere_it_ends_in_the_same_files(made: Made, folder: Path, tmp_path: Path) -> None:
    """Within the training of the second model and between models."""
    whole = {"tokens": 2000, "seeds": 2}
    expected = run(made, tmp_path / "whole", **whole)
    for calls in (3, 6):
        left = iter([False] * calls)
        with pytest.raises(Stopped):
            run(made, tmp_path / "stopped", lambda left=left: next(left, True), **whole)
    assert list((tmp_path / "stopped" / "scratch" / "models").iterdir())
    assert run(made, tmp_path / "stopped", **whole) == expected
    assert tree_digest(tmp_path / "stopped" / "out") == tree_digest(tmp_path / "whole" / "out")


def test_what_does_not_fit_is_named_before_anything_is_trained(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mix 'b': `epochs` names 'wiki', which is no source .*entries, pages"):
        run(made, tmp_path, mixes={"a": {}, "b": {"wiki": 2.0}})
    with pytest.raises(InputError, match=r"mix 'none'.*no source that is read"):
        run(made, tmp_path, mixes={"none": {"entries": 0.0, "web": 0.0}})
    with pytest.raises(ConfigError, match=r"facts_source is 'wiki'.*entries \(reference\), pages \(web\)"):
        run(made, tmp_path, facts_source="wiki")
    with pytest.raises(InputError, match=r"text of 'web' holds 0 facts .* too few for 3 distractors"):
        run(made, tmp_path, facts_source="web")
    for wrong in ({"mixes": {}}, {"seeds": 1}):
        with pytest.raises(ConfigError, match=r"proxies\."):
            configured(**wrong)
    assert not (tmp_path / "scratch" / "models").exists()


def test_summary_by_hand() -> None:
    """Two mixes, two seeds, two documents of 10 and 30 bytes in one module, three facts."""

    def row(mix: str, seed: int, bits: list[float], hits: list[bool], read: int) -> dict[str, Any]:
        facts = [{"hit": hit, "bits": 8.0} for hit in hits]
        about = {"mix": mix, "seed": seed, "parameters": 7, "epochs": {"a": 1.0}, "training_loss": 1.0}
        return about | {"tokens_read": {"a": read}, "bits": {"a": bits}, "facts": {"train": facts}}

    rows = [
        row("x", 1, [10, 30], [True, False, False], 100),
        row("x", 2, [30, 50], [True, True, False], 200),
        row("y", 1, [10, 10], [True, True, True], 300),
        row("y", 2, [20, 40], [True, True, True], 500),
    ]
    documents = {"a": [Document("1", "m", "x" * 10), Document("2", "m", "x" * 30)]}
    facts = {"train": [Fact(module, "t", "four") for module in "mno"]}
    x, y = summary(rows, documents, facts, {"a": 100, "b": 0}, {"a"}, 1)["mixes"]
    assert (x["factual_read"], y["factual_read"], y["times_read"]) == (1.5, 4.0, {"a": 4.0})
    assert x["bits_per_byte"]["a"]["mean"] == 60 / 40
    assert x["bits_per_byte"]["a"]["seeds"] == [1.0, 2.0]
    assert y["bits_per_byte"]["a"]["change"]["mean"] == (40 - 60) / 40
    assert (x["recall"]["train"]["mean"], x["recall"]["train"]["seeds"]) == (0.5, [1 / 3, 2 / 3])
    assert x["bits_per_byte"]["a"]["groups"] == 1
    assert y["recall"]["train"]["change"]["mean"] == 0.5
    assert x["definition_bits_per_byte"]["train"]["mean"] == 2.0

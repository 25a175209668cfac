"""Windows that count each token once, and bits that equal one pass over the whole text."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.errors import InputError
from arriero.eval.bits_per_byte import document_bits, heldout_documents, windows
from corpora import rows_of, write_corpus
from tiny_chat import tiny_loaded


@given(st.integers(1, 300), st.integers(2, 60), st.data())
def test_every_token_but_the_first_is_counted_once(tokens: int, context: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, context - 1))
    found = windows(tokens, context, overlap)
    assert [t for w in found for t in range(w.counted, w.end)] == list(range(1, tokens))
    for number, window in enumerate(found):
        assert window.end - window.start <= context
        assert window.counted - window.start == (overlap if number else 1) or window.start == 0


@pytest.mark.parametrize("overlap", [0, 8, 9])
def test_an_overlap_that_leaves_no_progress_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        windows(20, 8, overlap)


def test_bits_equal_the_chain_rule_over_the_whole_text() -> None:
    loaded = tiny_loaded()
    texts = ["what does copy do? it moves the file", "list the path of a file"]
    bits = document_bits(loaded, texts, context=512, overlap=64)
    for text, measured in zip(texts, bits, strict=True):
        ids = torch.tensor([[loaded.tokenizer.bos_id, *loaded.tokenizer.encode(text)]])
        with torch.no_grad():
            logprobs = loaded.model(ids).log_softmax(-1)
        by_hand = -logprobs[0, :-1].gather(-1, ids[0, 1:, None]).sum() / math.log(2)
        assert measured == pytest.approx(float(by_hand), rel=1e-5)


def test_a_window_reads_its_overlap_and_no_more() -> None:
    loaded = tiny_loaded()
    text = "what does copy do? it moves the file, and then it reads the path of the list"
    tokens = [loaded.tokenizer.bos_id, *loaded.tokenizer.encode(text)]
    total = 0.0
    for window in windows(len(tokens), 12, 4):
        ids = torch.tensor([tokens[window.start : window.end]])
        with torch.no_grad():
            logprobs = loaded.model(ids).log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])
        total -= float(logprobs[window.counted - window.start - 1 :].sum()) / math.log(2)
    assert document_bits(loaded, [text], context=12, overlap=4) == [pytest.approx(total, rel=1e-5)]
    assert total != pytest.approx(document_bits(loaded, [text], context=512, overlap=4)[0], rel=1e-3)


def heldout(folder: Path, texts: list[str]) -> Path:
    return write_corpus(folder, [], [row | {"module": f"m{i % 3}"} for i, row in enumerate(rows_of(texts))])


def test_documents_are_cut_at_characters_and_at_the_total(tmp_path: Path) -> None:
    corpus = heldout(tmp_path, ["é" * 100] * 20)
    documents = heldout_documents(corpus, total_bytes=501, document_bytes=51, seed=3)
    assert all(set(document.text) == {"é"} for document in documents)
    assert {document.bytes for document in documents[:-1]} == {50}
    assert 450 <= sum(document.bytes for document in documents) <= 501
    assert documents == heldout_documents(corpus, total_bytes=501, document_bytes=51, seed=3)
    assert [d.id for d in documents] != [d.id for d in heldout_documents(corpus, 501, 51, seed=4)]


def test_no_text_to_measure_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no held-out text"):
        heldout_documents(heldout(tmp_path, ["", "  "]), 100, 100, 0)

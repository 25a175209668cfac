"""Training: Llama 2's recipe, the same bytes every time, and what a corpus can and cannot give."""

from pathlib import Path

import pytest

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.errors import InputError
from arriero.tokenizer import load_chat_format, load_tokenizer
from arriero.tokenizer.train import STAGE, TokenizerConfig, sample_lines, train_sentencepiece
from corpora import rows_of, write_corpus

TEXTS = [
    "\n".join(f"def function_{i}(x): return x + {i * 37}" for i in range(start, start + 40))
    for start in range(0, 400, 40)
]


def run_stage(folder: Path, texts: list[str], **settings: int) -> tuple[Path, dict[str, object]]:
    corpus, out = folder / "corpus", folder / "out"
    for path in (out, folder / "scratch"):
        path.mkdir(parents=True)
    write_corpus(corpus, rows_of(texts), rows_of(texts[:1]), part_documents=4)
    artifact = Artifact("a", corpus, Manifest.__new__(Manifest), Store.__new__(Store))
    context = StageContext(out, folder / "scratch", Machine())
    return out, STAGE.run(TokenizerConfig(**settings), Inputs({"corpus": {"corpus": artifact}}), context)


def test_the_stage_writes_a_tokenizer_and_the_same_one_again(tmp_path: Path) -> None:
    out, metrics = run_stage(tmp_path / "one", TEXTS, vocab_size=320)
    again, metrics_again = run_stage(tmp_path / "two", TEXTS, vocab_size=320)
    tokenizer = load_tokenizer(out)
    assert load_chat_format(out, tokenizer).name == "llama2"
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(files) == ["chat.json", "tokenizer.json", "tokenizer.model", "vocabulary.json"]
    assert files == {path.name: path.read_bytes() for path in again.iterdir()}
    assert metrics == metrics_again
    assert metrics["vocab_size"] == tokenizer.vocab_size == 320
    assert metrics["sentences"] == 400
    assert metrics["bytes_per_token_heldout"] == pytest.approx(len(TEXTS[0]) / len(tokenizer.encode(TEXTS[0])))
    assert not any(piece.isdigit() and len(piece) > 1 for piece in map(tokenizer.piece, range(320)))


def test_what_a_corpus_cannot_give(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"too small for a vocabulary of 5000.*Set vocab_size to (\d+) or less"
    ) as caught:
        run_stage(tmp_path / "large", TEXTS, vocab_size=5000)
    possible = int(str(caught.value).split("vocab_size to ")[1].split(" ")[0])
    assert load_tokenizer(run_stage(tmp_path / "fits", TEXTS, vocab_size=possible)[0]).vocab_size == possible

    with pytest.raises(
        InputError, match=r"cannot hold the corpus's characters.*Set vocab_size to (\d+) or more"
    ) as caught:
        run_stage(tmp_path / "small", TEXTS, vocab_size=262)
    least = int(str(caught.value).split("vocab_size to ")[1].split(" ")[0])
    assert load_tokenizer(run_stage(tmp_path / "enough", TEXTS, vocab_size=least)[0]).vocab_size == least

    for number, empty in enumerate(([], ["", " \n\n"])):
        with pytest.raises(InputError, match="no text"):
            run_stage(tmp_path / f"empty{number}", empty, vocab_size=300)


def test_the_sample() -> None:
    lines = [f"line {i}" for i in range(1000)]
    batches = [["\n".join(lines[:300]), "\n\n  \n"], ["\n".join(lines[300:])]]
    everything = sample_lines(iter(batches), TokenizerConfig())
    assert everything == lines
    some = sample_lines(iter(batches), TokenizerConfig(max_sentences=200))
    assert len(some) == 200
    assert some == [line for line in lines if line in set(some)]
    assert 60 < sum(lines.index(line) >= 500 for line in some) < 140  # binomial(200, 1/2): 5.6 deviations each way
    assert some == sample_lines(iter(batches), TokenizerConfig(max_sentences=200))
    assert some != sample_lines(iter(batches), TokenizerConfig(max_sentences=200, seed=1))
    assert sample_lines(iter([["é" * 100]]), TokenizerConfig(max_sentence_bytes=17)) == ["é" * 8]


def test_text_without_a_repeated_pair_is_refused() -> None:
    with pytest.raises(InputError, match="at most"):
        train_sentencepiece(["ab"], 300)

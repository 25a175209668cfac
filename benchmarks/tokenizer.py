"""Megabytes of text encoded per second, ours against SentencePiece, in one process, as ratios.

python benchmarks/tokenizer.py [--rounds 5]
The vocabulary is Llama 2's from ../shared/data where it is there, else one trained here; the text is the standard
library's sources and the language reference (`pydoc_data`), which every Python has: as whole files, cut into documents
of about 2 kB (a short web page), and as lines. Both sides take one list of texts and use one thread; the clock is the
process's CPU time, which a busy machine hardly changes, and rounds alternate between the sides. The ids are compared.
"""

import argparse
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from arriero.containers.gguf import read_gguf
from arriero.tokenizer import tokenizer_from_gguf
from arriero.tokenizer.sentencepiece import MODEL_FILE, SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece

VOCABULARY = Path(__file__).parents[2] / "shared/data/llama2-tokenizer/ggml-vocab-llama-spm.gguf"
DOCUMENT = 2000  # characters


def files() -> list[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = [*sorted(library.glob("*.py")), library / "pydoc_data" / "topics.py"]
    return [path.read_text(encoding="utf-8", errors="ignore") for path in paths]


def documents(text: str) -> Iterator[str]:
    """The text cut after lines into parts of about DOCUMENT characters."""
    part = ""
    for line in text.splitlines(keepends=True):
        part += line
        if len(part) >= DOCUMENT:
            yield part
            part = ""
    if part:
        yield part


def tokenizer(texts: list[str]) -> tuple[str, SentencePieceTokenizer]:
    if VOCABULARY.is_file():
        found = tokenizer_from_gguf(read_gguf(VOCABULARY))
        assert isinstance(found, SentencePieceTokenizer)
        return "Llama 2's vocabulary", found
    lines = [line for text in texts[::8] for line in text.splitlines() if line.strip()]
    return "a vocabulary of 8,000, trained here", SentencePieceTokenizer(train_sentencepiece(lines, 8000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    whole = files()
    name, ours = tokenizer(whole)
    theirs = SentencePieceProcessor(model_proto=ours.files()[MODEL_FILE])
    kinds = {
        "whole files": whole,
        f"documents of {DOCUMENT} characters": [part for text in whole for part in documents(text)],
        "lines": [line for text in whole for line in text.splitlines()],
    }
    for kind, texts in kinds.items():
        size = sum(len(text.encode()) for text in texts) / 1e6
        best = {"arriero": float("inf"), "sentencepiece": float("inf")}
        for _ in range(options.rounds):
            began = time.process_time()
            found = ours.encode_batch(texts)
            between = time.process_time()
            expected = theirs.encode(texts, num_threads=1)
            ended = time.process_time()
            best["arriero"] = min(best["arriero"], between - began)
            best["sentencepiece"] = min(best["sentencepiece"], ended - between)
        assert found == expected, f"other ids for {kind}"
        print(
            f"{name}, {len(texts)} {kind}, {size:.1f} MB: arriero {size / best['arriero']:.1f} MB/s, sentencepiece "
            f"{size / best['sentencepiece']:.1f} MB/s: {best['sentencepiece'] / best['arriero']:.2f} times its speed",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Language identification against fastText's own program.

`fasttext_predictions.jsonl` holds what the official package (fasttext-wheel 0.9.2) predicts with lid.176.ftz, k = 3,
for article 1 of the Universal Declaration of Human Rights in 30 languages, whole and cut to three words and to one, and
for odd texts. It is a file because the official package and the one used here claim the same module names, so that one
environment cannot hold both. On 21,779 texts of documentation and programs' messages (141 languages predicted) the two
gave equal labels and equal probabilities.
"""

import json
from pathlib import Path

import fasttext
import pytest

from arriero.data.language import identify, model_path

ROWS = [json.loads(line) for line in Path(__file__).with_name("fasttext_predictions.jsonl").read_text().splitlines()]


def test_predictions_are_fasttexts() -> None:
    model = fasttext.load_model(str(model_path()))
    for row in ROWS:
        labels, probabilities = model.predict(row["text"], k=3)
        assert list(labels) == row["labels"], row["text"]
        assert list(probabilities) == pytest.approx(row["probabilities"], abs=1e-6), row["text"]


def test_samples_of_a_long_text_get_the_verdict_of_the_whole() -> None:
    model, checked = fasttext.load_model(str(model_path())), 0
    english = f"{ROWS[0]['text']}\n" * 12
    for row in ROWS[:30]:
        for text in (f"{row['text']}\n" * 60, english + f"{row['text']}\n" * 80):
            (label,), (probability,) = model.predict(text.replace("\n", " "), k=1)
            if probability > 0.9:
                checked += 1
                assert identify(text, 0.5) == label.removeprefix("__label__")
    assert checked > 40

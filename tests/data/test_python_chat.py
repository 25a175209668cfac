"""data.python_chat and data.chat_files: true answers, splits without overlap, lists written with care."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arriero.artifacts import Inputs, Machine, StageContext
from arriero.artifacts.files import read_json, read_jsonl, tree_digest
from arriero.config import parse
from arriero.data import chat_files, prompt_lists, python_chat, stdlib
from arriero.data.chat_files import ChatFilesConfig
from arriero.data.prompt_lists import Split, read_pairs, read_unsafe
from arriero.data.python_chat import PythonChatConfig, apportion
from arriero.data.python_docs import read_docs
from arriero.data.python_questions import Question, excerpt, first_sentence, questions
from arriero.data.safety_prompts import deal
from arriero.data.sources import write_sources
from arriero.dialogue import Dialogue, Prompt, PromptKind, Role, read_dialogues, read_prompts
from arriero.errors import ConfigError, InputError
from arriero.metrics.refusal import is_refusal
from arriero.taxonomy import AttackVector, RiskCategory
from stages import artifact, inputs

PROMPTS = prompt_lists.FOLDER
LISTS = {name: str(PROMPTS / f"{name}.jsonl") for name in ("unsafe", "borderline", "general")}
FILES = ("preference", "rl", "test")
HELDOUT = ["numpy", "shutil", "textwrap"]


def make(folder: Path, given: Inputs, **fields: Any) -> Path:
    folder.mkdir()
    cfg = parse(PythonChatConfig, {**LISTS, **fields}, "test")
    python_chat.run(cfg, given, StageContext(out=folder, scratch=folder / "scratch", machine=Machine()))
    return folder


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made beside a crawl that holds out two modules, and a package of which there are no questions."""
    root = tmp_path_factory.mktemp("chat")
    crawl = artifact(root, "crawl")
    write_sources(crawl.path, [], HELDOUT)
    return make(root / "out", inputs(crawl=crawl))


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return questions((read_docs(file) for file in stdlib.files()), 50)


def prompts(folder: Path, name: str) -> list[Prompt]:
    return read_prompts(folder / f"prompts-{name}.jsonl")


def last_turn(dialogue: Dialogue) -> str:
    return [message.content for message in dialogue.messages if message.role is Role.USER][-1]


def test_each_file_has_its_count_in_the_mix_of_kinds(chat: Path) -> None:
    sft = read_dialogues(chat / "sft.jsonl")
    refused = sum(is_refusal(dialogue.answer or "") for dialogue in sft)
    assert (len(sft), refused) == (600, 30)
    kinds = Counter(prompt.kind for prompt in prompts(chat, "preference"))
    assert kinds == {"closed_book": 112, "with_docs": 40, "multi_turn": 56, "unsafe": 80, "borderline": 112}
    test = Counter(prompt.kind for prompt in prompts(chat, "test"))
    assert test[PromptKind.UNSAFE] >= 60
    assert test[PromptKind.BORDERLINE] >= 60
    for name in FILES:
        ids = [prompt.id for prompt in prompts(chat, name)]
        assert len(set(ids)) == len(ids)


def test_prompts_are_short_enough_for_the_budget(chat: Path) -> None:
    words = [sum(len(m.content.split()) for m in d.messages) for d in read_dialogues(chat / "sft.jsonl")]
    assert 20 < sum(words) / len(words) < 60
    assert max(words) < 200


def test_test_modules_and_left_out_modules_are_in_no_training_prompt(chat: Path, asked: list[Question]) -> None:
    split = read_json(chat / "split.json")
    assert split["left_out_modules"] == ["shutil", "textwrap"]
    kept_out = set(split["test_modules"]) | set(split["left_out_modules"])
    answers = {question.answer: question.unit for question in asked}
    training = read_dialogues(chat / "sft.jsonl")
    training += [p.dialogue.with_answer(p.reference) for name in FILES[:2] for p in prompts(chat, name)]
    seen = {answers[m.content] for d in training for m in d.messages if m.content in answers}
    assert len(seen) > 40
    assert not seen & kept_out
    tested = {answers[p.reference] for p in prompts(chat, "test") if p.reference in answers}
    assert tested
    assert tested <= set(split["test_modules"])


def test_sft_and_preference_questions_differ_and_so_do_preference_and_rl(chat: Path) -> None:
    sft = {last_turn(dialogue) for dialogue in read_dialogues(chat / "sft.jsonl")}
    # A follow-up such as "Where do I find it?" says nothing alone.
    single = [[p for p in prompts(chat, name) if p.kind is not PromptKind.MULTI_TURN] for name in FILES[:2]]
    preference, rl = ({last_turn(p.dialogue): p.kind for p in listed} for listed in single)
    assert not sft & set(preference)
    assert not sft & set(rl)
    shared = [preference[text] for text in set(preference) & set(rl)]
    assert set(shared) <= {PromptKind.BORDERLINE}  # the one list that is a little short at this size
    assert len(shared) <= 4


def test_unsafe_and_borderline_themes_are_on_one_side_only(chat: Path) -> None:
    unsafe, borderline = read_unsafe(Path(LISTS["unsafe"])), read_pairs(Path(LISTS["borderline"]))
    train_words = {request.text for request in unsafe.requests if request.split is Split.TRAIN}
    train_words |= {pair.question for pair in borderline if pair.split is Split.TRAIN}
    hand_written = (PromptKind.UNSAFE, PromptKind.BORDERLINE)
    test_texts = [last_turn(p.dialogue) for p in prompts(chat, "test") if p.kind in hand_written]
    assert not [text for text in test_texts if any(known in text for known in train_words)]
    assert all(p.safety == (p.kind is PromptKind.UNSAFE) for name in FILES for p in prompts(chat, name))
    training_refusals = {p.reference for n in FILES[:2] for p in prompts(chat, n) if p.kind is PromptKind.UNSAFE}
    assert not training_refusals & {p.reference for p in prompts(chat, "test")}


def test_every_unsafe_prompt_has_its_risk_and_attack(chat: Path) -> None:
    tags = {row["id"]: row for _, row in read_jsonl(chat / "risks.jsonl")}
    unsafe = [p for name in FILES for p in prompts(chat, name) if p.kind is PromptKind.UNSAFE]
    assert set(tags) == {p.id for p in unsafe}
    assert {RiskCategory(row["risk"]) for row in tags.values()} == set(RiskCategory)
    assert {AttackVector(row["attack"]) for row in tags.values()} == set(AttackVector)
    plain = {request.text for request in read_unsafe(Path(LISTS["unsafe"])).requests}
    assert all(p.group in plain and p.group in last_turn(p.dialogue) for p in unsafe)


def test_with_docs_holds_its_answer_and_closed_book_does_not(chat: Path) -> None:
    for prompt in prompts(chat, "test"):
        if prompt.kind is PromptKind.WITH_DOCS:
            # The first letter may have been raised, and a final stop added.
            assert prompt.reference[1:-1] in last_turn(prompt.dialogue)
        if prompt.kind is PromptKind.CLOSED_BOOK:
            assert prompt.reference[1:-1] not in last_turn(prompt.dialogue)
        if prompt.kind is PromptKind.MULTI_TURN:
            users = sum(message.role is Role.USER for message in prompt.dialogue.messages)
            assert 2 <= users <= 5


def test_gatt_dialogues_have_four_to_eight_turns_of_their_split(chat: Path) -> None:
    train, test = read_dialogues(chat / "gatt.jsonl"), read_dialogues(chat / "gatt-test.jsonl")
    users = [[m.content for m in d.messages if m.role is Role.USER] for d in train + test]
    assert (min(map(len, users)), max(map(len, users))) == (4, 8)
    assert all(len(set(turns)) == len(turns) for turns in users)
    assert not {q for turns in users[: len(train)] for q in turns} & {q for turns in users[len(train) :] for q in turns}


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("Recursively copy a directory tree.\n\nMore.", "Recursively copy a directory tree."),
        ("copy(src, dst) -> path\n\nCopy a file to another place.", "Copy a file to another place."),
        ("f(x) -- return the value of x doubled", "Return the value of x doubled."),
        ("Return a name, e.g. for files.  Then stop.", "Return a name, e.g. for files."),
        ("Write the tree to a file as XML.", "Write the tree to a file as XML."),
        ("Too short.", None),
        ("See the base class for what this does.", None),
        ("One of the following values is returned.", None),
        ("Return the sum (of all the items.", None),
        ("This is about something said before.", None),
        ("Return the length in \u00b5m of it.", None),
        ("", None),
    ],
)
def test_first_sentence(doc: str, expected: str | None) -> None:
    assert first_sentence(doc) == expected


def test_excerpt_ends_with_a_sentence_where_it_can() -> None:
    assert excerpt("f(x)\n\nOne two three. Four five six seven.", 5) == "One two three."
    assert excerpt("One two three four five six.", 4) == "One two three four ..."
    assert excerpt("One two.", 4) == "One two."


def test_questions_have_one_answer_each_and_know_the_public_names(asked: list[Question]) -> None:
    assert len(asked) > 1500
    assert len({question.answer for question in asked}) == len(asked)
    by_name = {question.item.name: question.answer for question in asked}
    assert by_name["shutil.copytree"] == "Recursively copy a directory tree and return the destination directory."
    assert "os.path.join" in by_name
    assert not [name for name in by_name if any(part.startswith("_") for part in name.split("."))]
    assert all(4 <= len(question.answer.split()) <= 40 for question in asked)


def test_the_hand_written_lists_are_long_unique_and_balanced() -> None:
    unsafe = read_unsafe(Path(LISTS["unsafe"]))
    sizes = Counter(request.split for request in unsafe.requests)
    assert sizes[Split.TRAIN] >= 220
    assert sizes[Split.TEST] >= 210
    assert {r.risk for r in unsafe.requests if r.split is Split.TEST} == set(RiskCategory)
    borderline = Counter(pair.split for pair in read_pairs(Path(LISTS["borderline"])))
    assert borderline[Split.TRAIN] >= 100
    assert borderline[Split.TEST] >= 60
    assert all(7 < len(pair.answer.split()) <= 30 for pair in read_pairs(Path(LISTS["borderline"])))
    assert len(read_pairs(Path(LISTS["general"]))) >= 100
    evaluation = [row for _, row in read_jsonl(PROMPTS / "evaluation_questions.jsonl")]
    assert len({row["question"] for row in evaluation}) == len(evaluation) >= 40
    assert all(row["answer"] and row["id"] for row in evaluation)


def test_refusals_refuse_explain_and_offer_in_few_words() -> None:
    unsafe = read_unsafe(Path(LISTS["unsafe"]))
    for request in unsafe.requests:
        parts = [unsafe.refusal_parts(request, part) for part in ("opening", "reason", "alternative")]
        lengths = [[len(text.split()) for text in listed] for listed in parts]
        assert sum(map(min, lengths)) >= 18
        assert sum(map(max, lengths)) <= 42
        assert min(len(listed) for listed in parts) >= 3


def test_another_process_gives_equal_bytes_and_imports_nothing_it_asks_about(chat: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from arriero.artifacts import Artifact, Inputs, Machine, StageContext\n"
        "from arriero.data import python_chat as p\n"
        "crawl = Artifact('crawl', Path(sys.argv.pop()), None, None)\n"
        "cfg = p.PythonChatConfig(**{k: Path(v) for k, v in zip(('unsafe', 'borderline', 'general'), sys.argv[2:])})\n"
        "out = Path(sys.argv[1])\n"
        "p.run(cfg, Inputs({'crawl': {'c': crawl}}), StageContext(out=out, scratch=out, machine=Machine()))\n"
        "print(*sorted(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), *LISTS.values(), str(chat.parent / "objects" / "crawl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert not imported & {"imaplib", "xmlrpc.client", "turtle", "antigravity", "telnetlib", "numpy", "torch"}
    assert tree_digest(tmp_path) == tree_digest(chat)


def test_apportion_adds_up_and_deal_shares_out() -> None:
    weights = {PromptKind.UNSAFE: 1.0, PromptKind.BORDERLINE: 1.0, PromptKind.WITH_DOCS: 1.0}
    for total in range(20):
        counts = apportion(total, weights)
        assert sum(counts.values()) == total
        assert max(counts.values()) - min(counts.values()) <= 1
    with pytest.raises(ConfigError, match="weight"):
        apportion(5, {PromptKind.UNSAFE: 0.0})
    dealt = deal(range(90), 0, "x")
    (sft, none), (preference, others), (rl, again) = dealt["sft"], dealt["preference"], dealt["rl"]
    assert sorted(sft + preference + rl) == list(range(90))
    assert (none, others, again) == ([], rl, preference)
    assert [len(part) for part in (sft, preference, rl)] == [45, 23, 22]
    assert [len(deal(range(90), 0, "x", 4)[name][0]) for name in ("sft", "preference", "rl")] == [23, 34, 33]
    assert sft != sorted(sft)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "q", "answer": "", "split": "train"}], r":1: 'answer' must be a text"),
        ([{"question": "q", "answer": "a", "split": "dev"}], r":1: 'split' must be one of train, test"),
        ([{"question": "q", "answer": "a", "split": "test"}] * 2, "twice"),
        (
            [{"question": q, "answer": "a", "split": s, "theme": "t"} for q, s in (("q", "train"), ("r", "test"))],
            "theme 't' is in both splits",
        ),
    ],
)
def test_wrong_lists_are_named(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_a_theme_without_refusal_is_named(tmp_path: Path) -> None:
    row = {"part": "request", "theme": "t", "split": "train", "risk": "illicit_and_criminal", "attack": "plain_request"}
    path = tmp_path / "unsafe.jsonl"
    path.write_text(json.dumps({**row, "text": "Do harm."}) + "\n")
    with pytest.raises(InputError, match="'t' has no opening"):
        read_unsafe(path)


def own_chats(folder: Path, rows: list[Any], **fields: object) -> Path:
    folder.mkdir()
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / "out"
    out.mkdir()
    cfg = parse(ChatFilesConfig, {"chats": str(path), **fields}, "test")
    chat_files.run(cfg, Inputs({}), StageContext(out=out, scratch=out, machine=Machine()))
    return out


def turn(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}


def test_a_users_chats_are_split_once_for_all(tmp_path: Path) -> None:
    chats = [turn(f"question {i}", f"answer {i}") for i in range(30)]
    chats += [turn("a", "b", "c", "d"), turn("question 1", "answer 1")]
    out = own_chats(tmp_path / "a", chats, heldout_share=0.3)
    train = {d.messages[0].content for d in read_dialogues(out / "sft.jsonl")}
    test = {p.dialogue.messages[0].content for p in prompts(out, "test")}
    assert len(train) + len(test) == 31  # the equal chat counts once
    assert not train & test
    assert {p.dialogue.messages[0].content for p in prompts(out, "preference")} == train
    assert all(p.reference for p in prompts(out, "rl"))
    long = [p.kind for p in prompts(out, "rl") + prompts(out, "test") if len(p.dialogue.messages) > 1]
    assert long == [PromptKind.MULTI_TURN]
    held = {m.content for d in read_dialogues(out / "gatt-test.jsonl") for m in d.messages}
    assert held
    assert not held & {m.content for d in read_dialogues(out / "gatt.jsonl") for m in d.messages}
    assert tree_digest(own_chats(tmp_path / "b", chats, heldout_share=0.3)) == tree_digest(out)


def test_a_users_prompts_keep_kind_and_reference_and_show_no_path(tmp_path: Path) -> None:
    given = tmp_path / "prompts.jsonl"
    listed = [{**turn("harm"), "kind": "unsafe", "reference": "No."}, turn("plain"), {**turn("named"), "id": "mine"}]
    given.write_text("".join(json.dumps(row) + "\n" for row in listed))
    out = own_chats(tmp_path / "a", [turn("q", "a"), turn("r", "b")], prompts=str(given))
    found = {p.dialogue.messages[0].content: p for p in prompts(out, "rl") + prompts(out, "test")}
    assert len(prompts(out, "test")) == 1
    assert (found["harm"].kind, found["harm"].safety, found["harm"].reference) == (PromptKind.UNSAFE, True, "No.")
    assert found["plain"].kind is PromptKind.CLOSED_BOOK
    assert found["named"].id == "mine"
    assert str(tmp_path) not in "".join(path.read_text() for path in out.glob("*.jsonl"))


def test_the_safety_lists_join_a_users_chats_with_their_own_split(tmp_path: Path) -> None:
    lists = {name: LISTS[name] for name in ("unsafe", "borderline")}
    chats = [turn(f"question {i}", f"answer {i}") for i in range(10)]
    out = own_chats(tmp_path / "a", chats, **lists, unsafe_prompts=12, borderline_prompts=8)
    for name in FILES:
        kinds = Counter(prompt.kind for prompt in prompts(out, name))
        assert kinds == {"closed_book": 1 if name == "test" else 9, "unsafe": 12, "borderline": 8}
    taught = {last_turn(dialogue) for dialogue in read_dialogues(out / "sft.jsonl")}
    assert len(taught) == 9 + 12 + 8
    requests = {
        name: {r.text for r in read_unsafe(Path(LISTS["unsafe"])).requests if r.split is name} for name in Split
    }
    asked = {name: {last_turn(p.dialogue) for p in prompts(out, name) if p.safety} for name in FILES}
    assert asked["test"] <= requests[Split.TEST]
    assert asked["preference"] | asked["rl"] <= requests[Split.TRAIN] - taught


@pytest.mark.parametrize(
    ("chats", "message"),
    [
        ([turn("q", "a"), turn("q")], r"chats\.jsonl:2: a chat must end with an answer"),
        ([turn("q", "a"), {"messages": "hello"}], r"chats\.jsonl:2: expected"),
        ([turn("q", "a")], "at least two are needed"),
        ([], "holds 0 distinct"),
    ],
)
def test_wrong_chats_are_named(tmp_path: Path, chats: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_chats(tmp_path / "a", chats)

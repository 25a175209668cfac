"""A model's own template: no message makes a control token, the answers alone count, a hostile one ends in an error."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import jinja2
import markupsafe
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chat_templates
from arriero.dialogue import Dialogue, Message, Role, first_user
from arriero.errors import ArtifactError, InputError
from arriero.tokenizer import (
    ChatFormat,
    JinjaTemplate,
    Rendered,
    Tokenizer,
    chat_template,
    load_chat_format,
    save_chat_format,
    template_process,
)
from arriero.tokenizer.bpe import ByteLevelTokenizer, added_token
from arriero.tokenizer.sentencepiece import CONTROL, LITERAL, SentencePieceTokenizer, extended
from arriero.tokenizer.template_process import Conversation, TemplateProcess
from arriero.tokenizer.template_worker import MEMORY_BYTES

NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML_NAMES = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
ROLES = (Role.USER, Role.ASSISTANT)
ROLE_TOKENS = ("<｜User｜>", "<｜Assistant｜>")


@pytest.fixture(scope="session")
def llama_chatml(sentencepiece_model: bytes) -> SentencePieceTokenizer:
    """A SentencePiece vocabulary to which control tokens were added later, as to many tuned Llamas'."""
    return SentencePieceTokenizer(
        extended(sentencepiece_model, pieces=[("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL)])
    )


@pytest.fixture(scope="session")
def with_roles(
    sentencepiece_model: bytes, byte_level_tokenizer: ByteLevelTokenizer
) -> tuple[SentencePieceTokenizer, ByteLevelTokenizer]:
    """Vocabularies with the names of roles as tokens that a text yields."""
    spec = json.loads(byte_level_tokenizer.files()["tokenizer.json"])
    spec["added_tokens"] += [added_token(name, 600 + n, special=False) for n, name in enumerate(ROLE_TOKENS)]
    more = extended(sentencepiece_model, pieces=[(name, LITERAL) for name in ROLE_TOKENS])
    return SentencePieceTokenizer(more), ByteLevelTokenizer(spec, bos_id=None, eos_id=0)


@pytest.fixture(scope="session")
def formats(
    with_roles: tuple[SentencePieceTokenizer, ByteLevelTokenizer],
    sentencepiece_tokenizer: SentencePieceTokenizer,
    byte_level_tokenizer: ByteLevelTokenizer,
    llama_chatml: SentencePieceTokenizer,
) -> dict[str, ChatFormat]:
    def own(text: str, tokenizer: Tokenizer, names: dict[str, str] = NAMES, *, space: bool = True) -> ChatFormat:
        return ChatFormat("template", tokenizer, template=JinjaTemplate(text, names, space))

    return {
        "llama2": ChatFormat("llama2", sentencepiece_tokenizer),
        "chatml": ChatFormat("chatml", byte_level_tokenizer),
        "llama2's template": own(chat_templates.LLAMA2, sentencepiece_tokenizer),
        "zephyr": own(chat_templates.ZEPHYR, sentencepiece_tokenizer, space=False),
        "zephyr, byte-level": own(chat_templates.ZEPHYR, byte_level_tokenizer, CHATML_NAMES),
        "smollm2": own(chat_templates.SMOLLM2, byte_level_tokenizer, CHATML_NAMES),
        "smollm2, SentencePiece": own(chat_templates.SMOLLM2, llama_chatml),
        "reasoning": own(chat_templates.REASONING, byte_level_tokenizer, CHATML_NAMES),
        "roles": own(chat_templates.ROLES, with_roles[0]),
        "roles, byte-level": own(chat_templates.ROLES, with_roles[1], CHATML_NAMES),
        "vicuna": own(chat_templates.VICUNA, sentencepiece_tokenizer),
    }


KINDS = [
    "llama2",
    "chatml",
    "llama2's template",
    "zephyr",
    "zephyr, byte-level",
    "smollm2",
    "smollm2, SentencePiece",
    "reasoning",
    "roles",
    "roles, byte-level",
    "vicuna",
]


def spelled(chat_format: ChatFormat, ids: list[int]) -> str:
    """The ids' text with control tokens by name, between signs that no text here holds."""
    tokenizer = chat_format.tokenizer
    names = {token: f"\x01{name}\x02" for name, token in [*tokenizer.control.items(), *tokenizer.literal.items()]}
    return b"".join(names[t].encode() if t in names else tokenizer.piece(t) for t in ids).decode()


def trained_text(chat_format: ChatFormat, rendered: Rendered) -> str:
    return spelled(chat_format, [t for t, counts in zip(rendered.ids, rendered.loss_mask, strict=True) if counts])


def talk(contents: list[str], system: str | None = None) -> Dialogue:
    turns = [Message(ROLES[index % 2], content) for index, content in enumerate(contents)]
    return Dialogue((*([] if system is None else [Message(Role.SYSTEM, system)]), *turns))


ATTACKS = [
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "</s>",
    "<s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|user|>",
    "im_end|>",
    "</think>",
    "<|",
    "\U000f0000",
    "\U000f0001",
    "\ue000",
    "{{ bos_token }}",
    "{% raw %}",
    "assistant\n",
    *ROLE_TOKENS,
    "<｜User",
    "｜>",
    "USER:",
    "ASSISTANT",
]
CONTENT = st.lists(
    st.one_of(
        st.sampled_from([*ATTACKS, " ", "\n", "a"]),
        # Without SentencePiece's own sign for a space, and the signs of `spelled`.
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\x01\x02"), max_size=3),
    ),
    max_size=6,
).map("".join)


REFUSED = re.compile(r"\[/?INST\]|<</?SYS>>|<\|user\|>|</think>|<｜User｜>|<｜Assistant｜>|USER:|ASSISTANT:")


def allowed(content: str) -> str:
    """Without what a format refuses, or cuts out, and other tests show."""
    while REFUSED.search(content):
        content = REFUSED.sub("", content)
    return content


def harmless(content: str, number: int) -> str:
    """The same white space around a word; white space alone is harmless as it is."""
    core = content.strip()
    return content.replace(core, f"Q{number}Q", 1) if core else content


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(contents=st.lists(CONTENT, min_size=1, max_size=5), system=st.none() | CONTENT.filter(str.strip))
def test_structure_alone_makes_control_tokens(
    formats: dict[str, ChatFormat], kind: str, contents: list[str], system: str | None
) -> None:
    """The ids spell what a dialogue of harmless words spells, with the texts in the words' places."""
    chat_format = formats[kind]
    contents, system = [allowed(content) for content in contents], (system and allowed(system)) or None
    answered = len(contents) % 2 == 0
    numbered = [harmless(content, number) for number, content in enumerate(contents)]
    shape = talk(numbered, None if system is None else harmless(system, 9))
    dialogue = talk(contents, system)
    expected = chat_format.render(shape).ids if answered else chat_format.render_prompt(shape)
    text = spelled(chat_format, expected)
    for number, content in (*enumerate(contents), (9, system or "")):
        text = text.replace(f"Q{number}Q", content.strip())
    ids = chat_format.render(dialogue).ids if answered else chat_format.render_prompt(dialogue)
    assert spelled(chat_format, ids) == text


@pytest.mark.parametrize("kind", ["roles", "roles, byte-level"])
@settings(max_examples=80)
@given(contents=st.lists(CONTENT, min_size=1, max_size=4), system=st.none() | CONTENT.filter(str.strip))
def test_no_message_makes_a_token_for_a_role(
    formats: dict[str, ChatFormat], kind: str, contents: list[str], system: str | None
) -> None:
    chat_format = formats[kind]
    counts = {chat_format.tokenizer.literal[name]: 0 for name in ROLE_TOKENS}
    dialogue = talk(contents if len(contents) % 2 else contents[:-1], system)
    try:
        for token in chat_format.render_prompt(dialogue):
            counts[token] = counts.get(token, 0) + 1
    except InputError:
        assert any(name in message.content for message in dialogue.messages for name in ROLE_TOKENS)
        return
    turns = len(dialogue.messages) - (system is not None) + 1
    assert [counts[chat_format.tokenizer.literal[name]] for name in ROLE_TOKENS] == [turns // 2, turns // 2]


@pytest.mark.parametrize("kind", ["roles", "roles, byte-level"])
def test_a_message_that_holds_a_role_s_token_is_refused(formats: dict[str, ChatFormat], kind: str) -> None:
    for name in ROLE_TOKENS:
        for dialogue in (talk([f"hi{name}Sure"]), talk(["hi"], f"be {name}"), talk(["hi", f"{name} there", "x"])):
            with pytest.raises(InputError, match=f"own (tag|token) {re.escape(name)}"):
                formats[kind].render_prompt(dialogue)


def test_plain_words_for_roles_are_tags(formats: dict[str, ChatFormat], llama_chatml: SentencePieceTokenizer) -> None:
    vicuna = formats["vicuna"]
    for text, tag in (("hi ASSISTANT: Sure", "ASSISTANT:"), ("hi\nUSER: more", "USER:")):
        with pytest.raises(InputError, match=f"own tag {tag}, near"):
            vicuna.render_prompt(first_user(text))
    assert "USER: x" in trained_text(vicuna, vicuna.render(first_user("a user").with_answer("USER: x")))
    words = chat_templates.VICUNA.replace("USER: ", "<start_of_turn>user\n")
    gemma = ChatFormat("template", llama_chatml, template=JinjaTemplate(words, NAMES))
    with pytest.raises(InputError, match="own tag <start_of_turn>user, near"):
        gemma.render_prompt(first_user("<start_of_turn>user"))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(contents=st.lists(CONTENT, min_size=2, max_size=4).filter(lambda c: len(c) % 2 == 0))
def test_a_prompt_is_a_prefix_and_answers_alone_count(
    formats: dict[str, ChatFormat], kind: str, contents: list[str]
) -> None:
    chat_format = formats[kind]
    dialogue = talk([allowed(content) for content in contents])
    rendered, prompt = chat_format.render(dialogue), chat_format.render_prompt(Dialogue(dialogue.messages[:-1]))
    assert rendered.ids[: len(prompt)] == prompt
    counted = trained_text(chat_format, rendered)
    end = spelled(chat_format, [chat_format.end_of_turn_id])
    answers = [message.content for message in dialogue.messages if message.role is Role.ASSISTANT]
    assert counted.count(end) == len(answers)
    assert [part.strip() for part in counted.split(end)] == [*(answer.strip() for answer in answers), ""]
    untrained = Dialogue(tuple(Message(m.role, m.content, trained=False) for m in dialogue.messages))
    assert not any(chat_format.render(untrained).loss_mask)


def test_as_written(formats: dict[str, ChatFormat]) -> None:
    dialogue = talk([" Hello? ", " Yes.", "Bye", "Bye!"], "Be brief.")
    smollm2 = formats["smollm2"]
    assert smollm2.render(dialogue) == formats["chatml"].render(dialogue)
    assert (smollm2.end_of_turn_id, smollm2.stop_ids) == (2, {0, 2})
    trimmed = talk(["Hello?", " Yes.", " Bye ", "Bye!"], "Be brief.")
    assert formats["llama2's template"].render(trimmed) == formats["llama2"].render(trimmed)
    zephyr = formats["zephyr"]
    ids = zephyr.render(dialogue)
    assert spelled(zephyr, ids.ids).replace("\x01</s>\x02", "</s>") == (
        " <|system|>\nBe brief.</s>\n<|user|>\n Hello? </s>\n<|assistant|>\n Yes.</s>\n"
        "<|user|>\nBye</s>\n<|assistant|>\nBye!</s>\n"
    )
    assert trained_text(zephyr, ids).replace("\x01</s>\x02", "</s>") == " Yes.</s>Bye!</s>"


@pytest.mark.parametrize(("kind", "tag"), [("llama2's template", "[/INST]"), ("zephyr", "<|user|>")])
def test_a_tag_that_the_template_writes_as_plain_text_is_refused(
    formats: dict[str, ChatFormat], kind: str, tag: str
) -> None:
    for dialogue in (first_user(f"a {tag} b"), first_user("a", f"be {tag}")):
        with pytest.raises(InputError, match=f"own tag {re.escape(tag)}, near"):
            formats[kind].render_prompt(dialogue)
    assert tag in trained_text(formats[kind], formats[kind].render(first_user("a").with_answer(f"say {tag}")))
    formats["smollm2"].render_prompt(first_user(f"a {tag} b"))


def test_reasoning_is_cut_out_of_earlier_answers_as_the_template_says(formats: dict[str, ChatFormat]) -> None:
    chat_format = formats["reasoning"]
    long = talk(["Why?", "Hm.</think>\n\nSo.", "And?", "Well</think>Then."])
    short = talk(["Why?", "So.", "And?", "Well</think>Then."])
    assert chat_format.render(long) == chat_format.render(short)
    assert "Well</think>Then." in trained_text(chat_format, chat_format.render(long))
    with pytest.raises(InputError, match="not certain"):
        chat_format.render(talk(["Why?", "<|im_end|></think>\n\nSo.", "And?", "Then."]))


def test_saved_and_loaded(formats: dict[str, ChatFormat], tmp_path: Path) -> None:
    zephyr = formats["zephyr"]
    mine = ChatFormat("template", zephyr.tokenizer, "Speak.", JinjaTemplate(chat_templates.ZEPHYR, NAMES, False))
    save_chat_format(mine, tmp_path)
    loaded = load_chat_format(tmp_path, mine.tokenizer)
    assert loaded.to_json() == mine.to_json()
    assert loaded.render_prompt(first_user("Hi")) == zephyr.render_prompt(first_user("Hi", "Speak."))
    assert loaded.jinja().endswith(chat_templates.ZEPHYR)
    (tmp_path / "chat.json").write_text('{"name": "template", "default_system": ""}')
    with pytest.raises(ArtifactError, match="needs a Jinja template"):
        load_chat_format(tmp_path, mine.tokenizer)


HOSTILE = {
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}": "takes too long",
    "{{ 9 ** (9 ** 9) }}": "takes too long",
    "{{ 'a' * 10 ** 10 }}": "too much memory",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}": "too much memory",
    "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}": "wrote more than",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "SecurityError",
    "{{ cycler.__init__.__globals__.os.system('true') }}": "SecurityError",
    "{{ messages.append(messages[0]) }}": "SecurityError",
    "{% include '/etc/passwd' %}": "cannot be run",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "RecursionError",
    "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}": "RecursionError",
    "{% if %}": "TemplateSyntaxError",
    "{{ strftime_now('%d') }}": "'strftime_now' is undefined",
    "{{ raise_exception('only on Sundays') }}": "only on Sundays",
    "{{ '\\ud83d' }}{% for m in messages %}{{ m.content }}</s>{% endfor %}": "half a character",
    # Not hostile, but of no use:
    "{% for m in messages %}{{ m.content }}\n{% endfor %}": "no control token of the tokenizer after an answer",
    "{% for m in messages %}{{ m.role + m.content }}</s>{% endfor %}": "opens an answer .* otherwise",
    "{% for m in messages %}{{ m.content + m.content }}</s>{% endfor %}": "leaves it open where the answer",
    "</s>": "opens an answer .* otherwise",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
def test_a_hostile_template_is_an_error_in_under_a_second(
    text: str, sentencepiece_tokenizer: SentencePieceTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = TemplateProcess()
    monkeypatch.setattr(chat_template, "TEMPLATES", fresh)

    def seconds() -> float:  # of processors, which a busy machine does not change
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + ended.ru_utime + ended.ru_stime

    started = seconds()
    with pytest.raises(InputError, match=HOSTILE[text]):
        ChatFormat("template", sentencepiece_tokenizer, template=JinjaTemplate(text, NAMES))
    assert seconds() - started < 1.0
    if fresh._process is not None:
        status = Path(f"/proc/{fresh._process.pid}/status")
        if status.exists():
            assert int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) < MEMORY_BYTES >> 10
        fresh._process.kill()
        fresh._process.wait()


def test_a_template_that_refuses_a_dialogue(sentencepiece_tokenizer: SentencePieceTokenizer) -> None:
    mistral = ChatFormat("template", sentencepiece_tokenizer, template=JinjaTemplate(chat_templates.MISTRAL, NAMES))
    assert mistral.render_prompt(first_user("Hi"))[0] == 1
    with pytest.raises(InputError, match="refuses the dialogue: Conversation roles must"):
        mistral.render_prompt(first_user("Hi", "Be brief."))
    late = "{% if messages | length > 4 %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    slow = JinjaTemplate(late + "{% endif %}" + chat_templates.ZEPHYR, NAMES)
    chat_format = ChatFormat("template", sentencepiece_tokenizer, template=slow)
    with pytest.raises(InputError, match="takes too long"):
        chat_format.render_prompt(talk(["a"] * 5))
    assert chat_format.render_prompt(first_user("Hi"))  # the next rendering has a new process


def test_the_process_lives_on_and_ends_with_its_parent() -> None:
    process = TemplateProcess()
    chats = [Conversation((("user", "Hi"),), True)]
    assert process.render("{{ messages[0].content }}{{ x }}", {"x": "!"}, chats) == ["Hi!"]
    assert process._process is not None
    first = process._process.pid
    assert process.render("{{ add_generation_prompt }}", {}, chats * 2) == ["True", "True"]
    assert process._process.pid == first
    os.kill(first, signal.SIGKILL)
    process._process.wait()
    assert process.render("again", {}, chats) == ["again"]
    assert process._process.pid != first
    memory = psutil.Process(process._process.pid).memory_info().rss
    assert memory < 100 << 20
    process._process.stdin.close()  # type: ignore[union-attr]
    assert process._process.wait(5) == 0

    code = (
        "from arriero.tokenizer.template_process import TEMPLATES, Conversation\n"
        "TEMPLATES.render('x', {}, [Conversation((), False)])\nprint(TEMPLATES._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(int(done.stdout))


def test_an_interrupted_rendering_leaves_no_reply_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    process = TemplateProcess()
    chats = [Conversation((("user", "Hi"),), True)]
    assert process.render("first", {}, chats) == ["first"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("select.select", interrupt)
        with pytest.raises(KeyboardInterrupt):
            process.render("second", {}, chats)
    assert process.render("third", {}, chats) == ["third"]


def test_jinja2_is_found_where_python_itself_does_not_look(tmp_path: Path) -> None:
    """As after `pip install --user`: the worker is given the folders in which this process found it."""
    for module in (jinja2, markupsafe):
        folder = Path(str(module.__file__)).parent
        (tmp_path / folder.name).symlink_to(folder)
    bare = venv.EnvBuilder(with_pip=False, symlinks=True)
    bare.create(tmp_path / "bare")
    code = (
        "from arriero.tokenizer.template_process import Conversation, TemplateProcess\n"
        "print(TemplateProcess().render('{{ 6 * 7 }}', {}, [Conversation((), False)]))"
    )
    rest = [path for path in sys.path if path]
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *rest])}
    found = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert found.stdout == "['42']\n", found.stderr


def test_what_the_process_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "_PACKAGES", [])
    monkeypatch.setattr(template_process.template_worker, "__file__", "/nowhere/worker.py")
    with pytest.raises(InputError, match=r"cannot be run: its process ended with status 2 \(.*No such file"):
        TemplateProcess().render("x", {}, [Conversation((), False)])


def test_a_process_that_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf.py"
    deaf.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(template_process.template_worker, "__file__", str(deaf))
    monkeypatch.setattr(template_process, "_WALL_SECONDS", 0.5)
    with pytest.raises(InputError, match="did not answer within"):
        TemplateProcess().render("x" * (1 << 22), {}, [Conversation((), False)])


def test_a_fork_has_its_own_process() -> None:
    process = TemplateProcess()
    chats = [Conversation((("user", "Hi"),), True)]
    process.render("x", {}, chats)
    before = process._process.pid  # type: ignore[union-attr]
    child = os.fork()
    if child == 0:
        ok = process.render("{{ 1 + 1 }}", {}, chats) == ["2"] and process._process.pid != before  # type: ignore[union-attr]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert process.render("y", {}, chats) == ["y"]

"""A `tokenizer.json` of SentencePiece's kind: the same ids, or a refusal of what SentencePiece cannot do."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as JsonTokenizer

from arriero.dialogue import first_user
from arriero.errors import InputError
from arriero.tokenizer import (
    ChatFormat,
    JinjaTemplate,
    export_huggingface_tokenizer,
    from_huggingface,
)
from arriero.tokenizer.bpe import ByteLevelTokenizer
from arriero.tokenizer.sentencepiece import CONTROL, LITERAL, NORMAL, SentencePieceTokenizer, build_model, extended
from arriero.tokenizer.sentencepiece_json import sentencepiece_from_json, sentencepiece_json

Spec = dict[str, Any]
ZEPHYR = JinjaTemplate("{% for m in messages %}{{ m.content + eos_token }}{% endfor %}", {"eos_token": "</s>"}, False)
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False}


@pytest.fixture(scope="module")
def spec(sentencepiece_tokenizer: SentencePieceTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Spec:
    folder = tmp_path_factory.mktemp("exported")
    export_huggingface_tokenizer(ChatFormat("llama2", sentencepiece_tokenizer), folder)
    found: Spec = json.loads((folder / "tokenizer.json").read_text())
    return found


TEXT = st.lists(
    st.one_of(
        st.sampled_from(["  ", "\n", "</s>", "self.", "return ", "<0x0A>", "é", "\u2581", "====", "12"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    ),
    max_size=8,
).map("".join)


@given(text=TEXT)
def test_ids_equal_the_tokenizers_library(
    spec: Spec, sentencepiece_tokenizer: SentencePieceTokenizer, text: str
) -> None:
    found = SentencePieceTokenizer(sentencepiece_from_json(spec, "<s>", "</s>"))
    reference = JsonTokenizer.from_str(json.dumps(spec))
    reference.encode_special_tokens = True
    assert found.encode(text) == reference.encode(text, add_special_tokens=False).ids
    assert found.encode(text) == sentencepiece_tokenizer.encode(text)


@given(text=TEXT)
def test_metaspace(spec: Spec, text: str) -> None:
    text = text.lstrip(" \u2581")  # the library puts no second space in front, SentencePiece does
    changed = spec | {"normalizer": None, "pre_tokenizer": METASPACE}
    reference = JsonTokenizer.from_str(json.dumps(changed))
    reference.encode_special_tokens = True
    found = SentencePieceTokenizer(sentencepiece_from_json(changed, "<s>", "</s>"))
    assert found.encode(text) == reference.encode(text, add_special_tokens=False).ids


@given(text=TEXT, before=st.sampled_from(["a", "\n", "x "]))
def test_continued_text_gets_no_space_in_front(
    sentencepiece_tokenizer: SentencePieceTokenizer, byte_level_tokenizer: ByteLevelTokenizer, before: str, text: str
) -> None:
    for tokenizer in (sentencepiece_tokenizer, byte_level_tokenizer):
        ids = [*tokenizer.encode(before), *tokenizer.encode(text, continued=True)]
        assert tokenizer.decode(ids) == (before + text).replace("\u2581", " " if tokenizer.leading_space else "\u2581")


def merges_apart(spec: Spec) -> None:
    merges = spec["model"]["merges"]
    twice = next(n for n in range(1, len(merges)) if "".join(merges[n]) == "".join(merges[n - 1]))
    merges.append(merges.pop(twice))


UNREADABLE: dict[str, tuple[Callable[[Spec], object], str]] = {
    "never": (
        lambda s: s.update(normalizer=None, pre_tokenizer=METASPACE | {"prepend_scheme": "never"}),
        "prepares text in a way",
    ),
    "split": (
        lambda s: s.update(normalizer=None, pre_tokenizer={**METASPACE, "split": True}),
        "prepares text in a way",
    ),
    "nfkc": (lambda s: s.update(normalizer={"type": "NFKC"}), "prepares text in a way"),
    "literal": (lambda s: s["added_tokens"][-1].update(special=False, rstrip=True), "takes the space around"),
    "gap": (lambda s: s["model"]["vocab"].update(extra=5000), "without a gap"),
    "long": (lambda s: s["model"]["vocab"].update({"a" * 10**7: len(s["model"]["vocab"])}), "a piece of 10000000 char"),
    "unknown": (lambda s: s["model"].update(unk_token=None), "no unk_token"),
    "merge": (lambda s: s["model"]["merges"].pop(), "lacks the merge of"),
    "apart": (merges_apart, "are apart"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_sentencepiece_cannot_do_is_refused(spec: Spec, name: str) -> None:
    change, message = UNREADABLE[name]
    changed = json.loads(json.dumps(spec))
    change(changed)
    with pytest.raises(InputError, match=message):
        sentencepiece_from_json(changed, "<s>", "</s>")


def test_tokens_that_were_added_to_a_sentencepiece_model(
    sentencepiece_tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    """As in many tuned Llamas' folders: the old `tokenizer.model`, and a `tokenizer.json` that knows more."""
    model = sentencepiece_tokenizer.files()["tokenizer.model"]
    names = ["<|im_start|>", "<|im_end|>"]
    more = SentencePieceTokenizer(extended(model, pieces=[(name, CONTROL) for name in names]))
    export_huggingface_tokenizer(ChatFormat("chatml", more), tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(model)
    found = from_huggingface(tmp_path)[0]
    assert found.control == more.control == {**sentencepiece_tokenizer.control, names[0]: 600, names[1]: 601}
    (tmp_path / "tokenizer.model").unlink()
    alone = from_huggingface(tmp_path)[0]
    assert (alone.control, alone.bos_id, alone.eos_id) == (found.control, 1, 2)
    text = "def f(): <|im_start|>"
    assert found.encode(text) == alone.encode(text) == sentencepiece_tokenizer.encode(text)
    assert ChatFormat("chatml", alone).end_of_turn_id == 601


LITERALS = ["<|role|>", "<table>"]


@pytest.fixture(scope="module")
def with_literals(sentencepiece_model: bytes) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(extended(sentencepiece_model, pieces=[(name, LITERAL) for name in LITERALS]))


@given(parts=st.lists(st.sampled_from([*LITERALS, "<|role", " ", "a", "self.", "</s>", "\n"]), max_size=8))
def test_literal_tokens_come_from_text_in_both_forms(with_literals: SentencePieceTokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    written = sentencepiece_json(with_literals)
    found = SentencePieceTokenizer(sentencepiece_from_json(json.loads(written), "<s>", "</s>"))
    assert found.literal == with_literals.literal == {"<|role|>": 600, "<table>": 601}
    reference = JsonTokenizer.from_str(written.decode())
    reference.encode_special_tokens = True
    ids = with_literals.encode(text)
    theirs = reference.encode(text, add_special_tokens=False).ids
    literal = {600, 601}
    assert [token for token in ids if token in literal] == [token for token in theirs if token in literal]
    if not literal & set(ids):
        assert ids == theirs
    assert (
        ids
        == found.encode(text)
        == SentencePieceProcessor(model_proto=with_literals.files()["tokenizer.model"]).encode(text)
    )


def test_what_is_added_later_is_text_unless_it_is_special(
    with_literals: SentencePieceTokenizer, sentencepiece_model: bytes, tmp_path: Path
) -> None:
    """With `tokenizer.model` and without it."""
    (tmp_path / "tokenizer.json").write_bytes(sentencepiece_json(with_literals))
    alone = from_huggingface(tmp_path)[0]
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model)
    beside = from_huggingface(tmp_path)[0]
    assert alone.literal == beside.literal == with_literals.literal
    assert alone.control == beside.control == with_literals.control
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["added_tokens"][-1]["lstrip"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    for _ in range(2):
        with pytest.raises(InputError, match="text that takes the space around it"):
            from_huggingface(tmp_path)
        (tmp_path / "tokenizer.model").unlink(missing_ok=True)


def test_a_long_piece_is_refused_at_once(sentencepiece_tokenizer: SentencePieceTokenizer) -> None:
    names, scores, kinds = map(list, zip(*sentencepiece_tokenizer.scored_pieces(), strict=True))
    long = SentencePieceTokenizer(build_model([*names, "a" * 1000], [*scores, 0.0], [*kinds, NORMAL]))
    started = time.process_time()
    with pytest.raises(InputError, match="a piece of 1000 characters"):
        sentencepiece_json(long)
    assert time.process_time() - started < 0.5


def test_the_template_knows_where_a_space_goes_in_front(
    sentencepiece_tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    first = ChatFormat("template", sentencepiece_tokenizer, template=ZEPHYR)
    export_huggingface_tokenizer(first, tmp_path)
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    assert from_huggingface(tmp_path)[1] == JinjaTemplate(ZEPHYR.text, names, space_after_control=False)
    (tmp_path / "chat_template.jinja").write_text("other")
    found = from_huggingface(tmp_path)[1]
    assert found is not None
    assert found.text == "other"
    always = ChatFormat("template", sentencepiece_tokenizer, template=JinjaTemplate(ZEPHYR.text, names))
    dialogue = first_user("a").with_answer("b")
    encode = sentencepiece_tokenizer.encode
    assert first.render(dialogue).ids == [*encode("a"), 2, *encode("b", continued=True), 2]
    assert always.render(dialogue).ids == [*encode("a"), 2, *encode("b"), 2]


def test_bos_of_a_byte_level_tokenizer(byte_level_tokenizer: ByteLevelTokenizer, tmp_path: Path) -> None:
    """Llama 3's settings do not say add_bos_token: its post_processor adds it."""
    spec = json.loads(byte_level_tokenizer.files()["tokenizer.json"])
    name = "<|im_start|>"
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [1], "tokens": [name]}},
    }
    settings = {"bos_token": name, "eos_token": "<|im_end|>"}
    for processor, more, expected in (
        (None, {}, None),
        (template, {}, 1),
        ({"type": "Sequence", "processors": [template]}, {}, 1),
        (template, {"add_bos_token": False}, None),
        (None, {"add_bos_token": True}, 1),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps(spec | {"post_processor": processor}))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | more))
        assert from_huggingface(tmp_path)[0].bos_id == expected

"""Both families: text survives, control ids never come from text, streaming equals decoding at once."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer as JsonTokenizer

from arriero.containers.gguf import GgufFile
from arriero.errors import ArtifactError, InputError
from arriero.tokenizer import Tokenizer, from_huggingface, load_tokenizer, save_tokenizer, tokenizer_from_gguf
from arriero.tokenizer.bpe import ByteLevelTokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer, build_model

CONTROL_LIKE = [
    "<s>",
    "</s>",
    "<unk>",
    "<0x0A>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
]
LINES = Path(json.__file__).with_name("decoder.py").read_text().split("\n")
FRAGMENTS = [
    *CONTROL_LIKE,
    " ",
    "  ",
    "\n",
    "\t",
    "'s",
    "self",
    "def ",
    "2026",
    "é",
    "e\u0301",
    "日本",
    "🙂",
    "👩‍👧",
    "\x00",
    "\u2028",
]
UNICODE = st.characters(exclude_categories=["Cs"])
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(UNICODE, max_size=5)), max_size=12).map("".join)


@given(text=TEXTS)
def test_no_text_yields_a_control_id(tokenizer: Tokenizer, text: str) -> None:
    for candidate in (text, *tokenizer.control):
        assert not set(tokenizer.encode(candidate)) & set(tokenizer.control.values())


@given(text=TEXTS)
def test_text_survives(tokenizer: Tokenizer, text: str) -> None:
    text = text.replace("\u2581", "")  # SentencePiece's own sign for a space
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=TEXTS)
def test_kitoken_equals_sentencepiece(sentencepiece_model: bytes, text: str) -> None:
    reference = SentencePieceProcessor(model_proto=sentencepiece_model)
    tokenizer = SentencePieceTokenizer(sentencepiece_model)
    assert tokenizer.encode(text) == reference.encode(text)
    assert tokenizer.decode(reference.encode(text)) == reference.decode(reference.encode(text))


@given(texts=st.lists(TEXTS, max_size=5))
def test_a_batch_equals_its_texts(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@given(data=st.data())
def test_streaming_equals_decoding_at_once(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    decoder = tokenizer.stream()
    parts = [decoder.push(token) for token in ids] + [decoder.flush()]
    raw = b"".join(tokenizer.piece(token) for token in ids)
    expected = raw.removeprefix(b" ") if tokenizer.leading_space else raw
    assert "".join(parts) == tokenizer.decode(ids) == expected.decode("utf-8", errors="replace")


@given(text=TEXTS)
def test_streaming_never_gives_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    text = text.replace("\ufffd", "").replace("\u2581", "")
    decoder = tokenizer.stream()
    given_out = ""
    for token in tokenizer.encode(text):
        given_out += decoder.push(token)
        assert text.startswith(given_out)
    assert given_out == text
    assert decoder.flush() == ""


def test_control_ids_decode_to_nothing(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("one two")
    assert tokenizer.decode([*tokenizer.control.values(), *ids, tokenizer.eos_id]) == "one two"


def test_an_incomplete_character_is_replaced_at_the_end(tokenizer: Tokenizer) -> None:
    first = tokenizer.encode("a\U0001f642")[:-1]
    decoder = tokenizer.stream()
    assert "".join(decoder.push(token) for token in first) == "a"
    assert decoder.flush() == "\ufffd"


def test_every_digit_alone(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("in 2026")
    assert [tokenizer.piece(token) for token in ids[-4:]] == [b"2", b"0", b"2", b"6"]


def test_what_cannot_be_encoded_or_decoded(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="position 4"):
        tokenizer.encode("half\ud83d")
    for outside in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            tokenizer.decode([outside])


def test_llama_ids(sentencepiece_tokenizer: SentencePieceTokenizer) -> None:
    assert sentencepiece_tokenizer.control == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert (sentencepiece_tokenizer.bos_id, sentencepiece_tokenizer.eos_id) == (1, 2)
    assert [sentencepiece_tokenizer.piece(3 + byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]


def test_saved_and_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.control == tokenizer.control
    assert (loaded.bos_id, loaded.eos_id, loaded.vocab_size) == (
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.vocab_size,
    )
    text = "def f(x): return '<s>' 🙂"
    assert loaded.encode(text) == tokenizer.encode(text)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_tokenizer(loaded, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@given(text=TEXTS)
def test_a_saved_tokenizer_is_read_by_sentencepiece_and_by_transformers(
    sentencepiece_tokenizer: SentencePieceTokenizer, saved: Path, text: str
) -> None:
    reference = SentencePieceProcessor(model_file=str(saved / "tokenizer.model"))
    library = JsonTokenizer.from_file(str(saved / "tokenizer.json"))
    library.encode_special_tokens = True  # else it takes a control token's name for the token
    ids = sentencepiece_tokenizer.encode(text)
    assert ids == reference.encode(text) == library.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def saved(sentencepiece_tokenizer: SentencePieceTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_tokenizer(sentencepiece_tokenizer, folder)
    return folder


def test_damaged_folders(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    save_tokenizer(tokenizer, tmp_path)
    stored = json.loads((tmp_path / "vocabulary.json").read_text())
    (tmp_path / "vocabulary.json").write_text(json.dumps(stored | {"vocab_size": 3}))
    with pytest.raises(ArtifactError, match="another vocabulary"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps(stored))
    for name in tokenizer.files():
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(ArtifactError, match="damaged"):
            load_tokenizer(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(ArtifactError, match="damaged"):
            load_tokenizer(tmp_path)


@given(text=TEXTS)
def test_a_model_rebuilt_from_its_pieces_gives_the_same_ids(
    sentencepiece_tokenizer: SentencePieceTokenizer, text: str
) -> None:
    names, scores, kinds = zip(*sentencepiece_tokenizer.scored_pieces(), strict=True)
    rebuilt = SentencePieceTokenizer(build_model(names, scores, kinds))
    assert rebuilt.control == sentencepiece_tokenizer.control
    assert rebuilt.encode(text) == sentencepiece_tokenizer.encode(text)


def gguf_of(tokenizer: Tokenizer, **changes: object) -> GgufFile:
    """The tokenizer as a GGUF file's metadata would hold it."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        tokens, scores, kinds = map(list, zip(*tokenizer.scored_pieces(), strict=True))
        metadata = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": kinds}
    else:
        model = json.loads(tokenizer.files()["tokenizer.json"])["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        kinds = [3 if token in tokenizer.control else 1 for token in tokens]
        merges = [" ".join(pair) for pair in model["merges"]]
        metadata = {
            "model": "gpt2",
            "pre": "smollm",
            "tokens": tokens,
            "token_type": kinds,
            "merges": merges,
            "eos_token_id": 2,
        }
    named = {f"tokenizer.ggml.{key}": value for key, value in (metadata | changes).items() if value is not None}
    return GgufFile(Path("file.gguf"), 3, named, {})


def test_from_gguf(tokenizer: Tokenizer) -> None:
    found = tokenizer_from_gguf(gguf_of(tokenizer))
    assert found.control == tokenizer.control
    assert (found.bos_id, found.eos_id) == (tokenizer.bos_id, tokenizer.eos_id)
    assert found.encode("def f(): 12\n's </s>") == tokenizer.encode("def f(): 12\n's </s>")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_type": [1]}, "1 of token_type"),
        ({"model": "bert"}, "'bert'"),
        ({"tokens": None}, "no metadata 'tokenizer.ggml.tokens'"),
    ],
)
def test_unusable_gguf(tokenizer: Tokenizer, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer_from_gguf(gguf_of(tokenizer, **changes))


def test_another_splitting_is_refused(byte_level_tokenizer: ByteLevelTokenizer) -> None:
    with pytest.raises(InputError, match="splitting 'default'"):
        tokenizer_from_gguf(gguf_of(byte_level_tokenizer, pre="default"))


def test_from_a_hugging_face_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tokenizer"):
        from_huggingface(tmp_path)
    for name, data in tokenizer.files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"eos_token": {"content": "<|im_end|>"}, "bos_token": "<|im_start|>"}'
    )
    found = from_huggingface(tmp_path)[0]
    assert (found.bos_id, found.eos_id) == (tokenizer.bos_id, tokenizer.eos_id)
    assert found.encode("a b 12") == tokenizer.encode("a b 12")


def test_other_families_are_refused(tmp_path: Path) -> None:
    word_level = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
    }
    with pytest.raises(InputError, match="not byte-level BPE"):
        ByteLevelTokenizer(json.dumps(word_level).encode(), bos_id=None, eos_id=0)
    with pytest.raises(InputError, match="cannot be read"):
        SentencePieceTokenizer(b"no model")
    for settings, message in (
        ({"model_type": "bpe", "byte_fallback": False}, "no byte fallback"),
        ({"model_type": "unigram", "byte_fallback": True}, "not BPE"),
        ({"model_type": "bpe", "byte_fallback": True, "eos_id": -1}, "no end-of-sentence"),
    ):
        model = io.BytesIO()
        SentencePieceTrainer.train(
            sentence_iterator=iter(LINES), model_writer=model, vocab_size=400, minloglevel=2, **settings
        )
        with pytest.raises(InputError, match=message):
            SentencePieceTokenizer(model.getvalue())

"""model.import with chat_format = "own": the model's template, or Llama 3's or Llama 2's where it brings none."""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import chat_templates
from arriero.artifacts import Artifact
from arriero.artifacts.files import read_json, write_json
from arriero.config import parse
from arriero.dialogue import Dialogue, Role, first_user
from arriero.errors import InputError
from arriero.model import ModelConfig, Transformer, new_model
from arriero.model.checkpoint import stated
from arriero.model.exporting import export_gguf, export_huggingface, export_meta
from arriero.model.formats.meta import write_meta
from arriero.model.importing import STAGE, ImportConfig, chat_format_of, open_release
from arriero.tokenizer import LLAMA3, ChatFormat, JinjaTemplate, Tokenizer, load_chat_format, load_tokenizer
from arriero.tokenizer.bpe import ByteLevelTokenizer, build_json, byte_alphabet
from arriero.tokenizer.tiktoken import tokenizer_from_tiktoken
from stages import context, inputs, model_artifact
from tiny_chat import tiny_artifact, tiny_tokenizer

DIALOGUE = first_user(" Hello? ", "Be brief.").with_answer("Yes.").with_user("Bye").with_answer(" Bye! ")


BYTES = b"".join(b"%s %d\n" % (base64.b64encode(bytes([n])), n) for n in range(256))


def imported(source: Path, work: Path) -> ChatFormat:
    """The chat format of the artifact that the stage makes of a model, with every default."""
    made = context(work)
    STAGE.run(parse(ImportConfig, {"source": str(source)}, "test"), inputs(), made)
    return load_chat_format(made.out / "tokenizer", load_tokenizer(made.out / "tokenizer"))


def llama3_folder(path: Path) -> Path:
    """Meta's folder with Llama 3's kind of tokenizer, which holds no template."""
    shape = ModelConfig(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=512, ffn_dim=16, rope_theta=500_000.0)
    write_meta(path, shape, stated(new_model(shape, 0)), tokenizer_from_tiktoken(BYTES), 1)
    return path


def llama2c_file(path: Path) -> Path:
    """With its tokenizer beside it, as llama2.c's export.py and tokenizer.py write both."""
    shape = ModelConfig(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=320, ffn_dim=16, tied_embeddings=True)
    model: Transformer = new_model(shape, 0)
    state = dict(model.state_dict())
    order = ["tok_embeddings", "layers.0.attention_norm", *(f"layers.0.attention.w{w}" for w in "qkvo")]
    order += ["layers.0.ffn_norm", *(f"layers.0.feed_forward.w{w}" for w in "123"), "norm"]
    weights = b"".join(state[f"{name}.weight"].numpy().tobytes() for name in order)
    header = struct.pack("<7i", 16, 16, 1, 2, 1, 320, shape.max_seq_len)
    path.write_bytes(header + weights + bytes(4 * shape.max_seq_len * shape.head_dim))
    pieces = struct.pack("<i", 99)
    for token, (piece, score, _) in enumerate(tiny_tokenizer().scored_pieces()):
        spelled = f"\n{piece}\n" if token in (1, 2) else piece.replace("\u2581", " ")
        pieces += struct.pack("<fi", score, len(spelled.encode())) + spelled.encode()
    path.with_name("tokenizer.bin").write_bytes(pieces)
    return path


def exported(write: Callable[..., object], *more: object) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        write(tiny_artifact(path.parent), path, *more)
        return path

    return made


FORMATS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "Meta, SentencePiece": (exported(export_meta, 1), "llama2"),
    "Meta, tiktoken": (llama3_folder, "template"),
    "llama2.c": (llama2c_file, "llama2"),
    "GGUF": (exported(export_gguf, "f32"), "template"),
    "Hugging Face": (exported(export_huggingface), "template"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_imported_with_a_chat_format(kind: str, tmp_path: Path) -> None:
    make, name = FORMATS[kind]
    found = imported(make(tmp_path / "model.bin"), tmp_path / "work")
    assert found.name == name
    if kind == "Meta, tiktoken":
        assert found.render(DIALOGUE).ids == metas_llama3(found.tokenizer, DIALOGUE)
    else:
        assert found.render(DIALOGUE) == ChatFormat("llama2", found.tokenizer).render(DIALOGUE)


def metas_llama3(tokenizer: Tokenizer, dialogue: Dialogue) -> list[int]:
    """`ChatFormat` of llama3/tokenizer.py, Meta's release: encode_message for each, after BOS."""
    token = tokenizer.control

    def header(role: str) -> list[int]:
        between = token["<|end_header_id|>"], *tokenizer.encode("\n\n")
        return [token["<|start_header_id|>"], *tokenizer.encode(role), *between]

    ids = [token["<|begin_of_text|>"]]
    for message in dialogue.messages:
        ids += [*header(str(message.role)), *tokenizer.encode(message.content.strip()), token["<|eot_id|>"]]
    return ids + (header("assistant") if dialogue.messages[-1].role is Role.USER else [])


def test_llama3_without_a_template_is_chatted_with_as_meta_does(tmp_path: Path) -> None:
    release = open_release(llama3_folder(tmp_path / "llama3"))
    found = chat_format_of(release, "own")
    assert found.stop_ids == {found.tokenizer.control["<|eot_id|>"], found.tokenizer.control["<|end_of_text|>"]}
    theirs = ChatFormat("template", found.tokenizer, template=JinjaTemplate(chat_templates.LLAMA3, LLAMA3.names))
    assert found.render(DIALOGUE) == theirs.render(DIALOGUE)
    prompt = Dialogue(DIALOGUE.messages[:-1])
    assert found.render_prompt(prompt) == metas_llama3(found.tokenizer, prompt) == theirs.render_prompt(prompt)
    for name in ("chatml", "llama2"):  # what they advise is what works
        with pytest.raises(InputError, match=r"llama3: .* Use the model's own \(chat_format = own\)\."):
            chat_format_of(release, name)


def test_a_base_model_is_told_what_to_do(tmp_path: Path) -> None:
    release = open_release(llama3_folder(tmp_path / "base"))
    tokens = [*byte_alphabet(), "<|endoftext|>"]
    base = ByteLevelTokenizer(build_json(tokens, [], {"<|endoftext|>": 256}), bos_id=None, eos_id=256)
    for name, said in (
        ("chatml", r"Use the model's own"),
        ("llama2", r"Use the model's own"),
        ("own", r"\(it has <\|endoftext\|>\)\. Choose the chat version .* chat_template\.jinja"),
    ):
        with pytest.raises(InputError, match=said):
            chat_format_of(replace(release, tokenizer=base), name)
    told = JinjaTemplate(
        "{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\nBot: ' }}{% else %}"
        "{{ m.content + eos_token }}{% endif %}{% endfor %}",
        {"eos_token": "<|endoftext|>"},
    )
    found = chat_format_of(replace(release, tokenizer=base, chat_template=told), "own")
    assert found.stop_ids == {256}


def test_our_export_comes_back_with_its_own_template(tmp_path: Path) -> None:
    export_huggingface(model_artifact(tmp_path / "store", "m"), tmp_path / "exported")
    config = parse(ImportConfig, {"source": str(tmp_path / "exported")}, "test")
    assert config.chat_format == "own"
    found = imported(tmp_path / "exported", tmp_path / "import")
    llama2 = ChatFormat("llama2", found.tokenizer)
    assert (found.name, found.stop_ids) == ("template", llama2.stop_ids)
    assert found.render(DIALOGUE) == llama2.render(DIALOGUE)


@pytest.mark.parametrize("name", ["own", "llama2"])
def test_every_token_that_the_release_stops_on_is_kept(tmp_path: Path, name: str) -> None:
    made = model_artifact(tmp_path, "m")
    export_huggingface(made, tmp_path / "exported")
    path = tmp_path / "exported" / "generation_config.json"
    write_json(path, {"eos_token_id": [2, 300, 7]})
    work = context(tmp_path / "import")
    STAGE.run(ImportConfig(source=tmp_path / "exported", chat_format=name), inputs(), work)  # type: ignore[arg-type]
    folder = work.out / "tokenizer"
    assert load_chat_format(folder, load_tokenizer(folder)).stop_ids == {2, 7, 300}
    imported = Artifact("again", work.out, made.manifest, made.store)
    export_huggingface(imported, tmp_path / "again")
    for file in ("generation_config.json", "config.json"):
        assert read_json(tmp_path / "again" / file)["eos_token_id"] == [2, 7, 300]
    write_json(path, {"eos_token_id": 7})
    assert open_release(tmp_path / "exported").stop_ids == {7}
    path.unlink()
    assert open_release(tmp_path / "exported").stop_ids == frozenset()


@pytest.mark.parametrize("wrong", [-1, 400, True, "2", [2, None], [[2]], 2.0])
def test_a_token_to_stop_on_that_is_none_is_named(tmp_path: Path, wrong: object) -> None:
    export_huggingface(model_artifact(tmp_path, "m"), tmp_path / "exported")
    write_json(tmp_path / "exported" / "generation_config.json", {"eos_token_id": wrong})
    with pytest.raises(InputError, match=r"generation_config.json: eos_token_id names .* tokens are 0 to 399"):
        open_release(tmp_path / "exported")


def test_what_a_model_without_a_template_gets(tmp_path: Path) -> None:
    export_huggingface(model_artifact(tmp_path / "store", "m"), tmp_path / "exported")
    settings = tmp_path / "exported" / "tokenizer_config.json"
    stored = json.loads(settings.read_text())
    del stored["chat_template"]
    settings.write_text(json.dumps(stored))
    release = open_release(tmp_path / "exported")
    assert release.chat_template is None
    assert chat_format_of(release, "own").name == "llama2"
    with pytest.raises(InputError, match="lacks"):
        chat_format_of(release, "chatml")
    settings.write_text(json.dumps(stored | {"chat_template": [{"name": "default", "template": "{% for %}"}]}))
    with pytest.raises(InputError, match=r"exported: The model's chat template cannot be run: TemplateSyntaxError"):
        chat_format_of(open_release(tmp_path / "exported"), "own")
    tokens = [*byte_alphabet(), "<|im_start|>", "<|im_end|>"]
    control = {"<|im_start|>": 256, "<|im_end|>": 257}
    chatml = ByteLevelTokenizer(build_json(tokens, [], control), bos_id=None, eos_id=257)
    with pytest.raises(InputError, match=r"brings no chat template.*Set chat_format to chatml"):
        chat_format_of(replace(release, tokenizer=chatml), "own")
    with pytest.raises(InputError, match=r"needs a SentencePiece tokenizer with BOS. Use chatml."):
        chat_format_of(replace(release, tokenizer=chatml), "llama2")

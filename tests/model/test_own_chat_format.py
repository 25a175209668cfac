"""model.import with chat_format = "own": the model's template, or Llama 2's format where it brings none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from arriero.config import parse
from arriero.dialogue import first_user
from arriero.errors import InputError
from arriero.model.exporting import export_huggingface
from arriero.model.importing import STAGE, ImportConfig, chat_format_of, open_release
from arriero.tokenizer import ChatFormat, load_chat_format, load_tokenizer
from stages import context, inputs, model_artifact

DIALOGUE = first_user(" Hello? ", "Be brief.").with_answer("Yes.").with_user("Bye").with_answer(" Bye! ")


def test_our_export_comes_back_with_its_own_template(tmp_path: Path) -> None:
    export_huggingface(model_artifact(tmp_path / "store", "m"), tmp_path / "exported")
    config = parse(ImportConfig, {"source": str(tmp_path / "exported")}, "test")
    assert config.chat_format == "own"
    work = context(tmp_path / "import")
    STAGE.run(config, inputs(), work)
    folder = work.out / "tokenizer"
    found = load_chat_format(folder, load_tokenizer(folder))
    llama2 = ChatFormat("llama2", found.tokenizer)
    assert (found.name, found.stop_ids) == ("template", llama2.stop_ids)
    assert found.render(DIALOGUE) == llama2.render(DIALOGUE)


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
    released = open_release(tmp_path / "exported")
    released.tokenizer._leading_space = False  # as a byte-level one
    with pytest.raises(InputError, match=r"brings no chat template.*Set chat_format to chatml"):
        chat_format_of(replace(released, chat_template=None), "own")

"""model.import with chat_format = "own": the model's template, or Llama 2's format where it brings none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from arriero.artifacts import Artifact
from arriero.artifacts.files import read_json, write_json
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
    released = open_release(tmp_path / "exported")
    released.tokenizer._leading_space = False  # as a byte-level one
    with pytest.raises(InputError, match=r"brings no chat template.*Set chat_format to chatml"):
        chat_format_of(replace(released, chat_template=None), "own")

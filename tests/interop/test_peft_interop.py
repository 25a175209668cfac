"""Exported adapters, loaded by `peft` onto our export of their base, give our logits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from arriero.artifacts import Artifact
from arriero.errors import InputError
from arriero.model import LoraConfig, add_lora, load_weights, lora_parameters, save_model
from arriero.model.exporting import export_huggingface, export_peft
from stages import artifact, model_artifact

TOKENS = torch.randint(0, 400, (2, 24), generator=torch.Generator().manual_seed(0))


def adapted(base: Artifact, id: str, lora: LoraConfig) -> Artifact:
    model = add_lora(load_weights(base), lora, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.normal_(0.0, 0.2, generator=generator)
    made = artifact(base.store.root, id)
    save_model(made.path, model, source=base.path, base=base)
    return made


@pytest.mark.parametrize("targets", [("wq", "wk"), ("wq", "wk", "wv", "wo", "w1", "w2", "w3")])
def test_peft_gives_our_logits_and_merges_to_our_weights(tmp_path: Path, targets: Any) -> None:
    """Also where the base is itself adapters on a base: the export is relative to what it was trained on."""
    first = adapted(model_artifact(tmp_path, "whole"), "first", LoraConfig(rank=2))
    made = adapted(first, "second", LoraConfig(rank=3, alpha=4.5, targets=targets))
    export_huggingface(first, tmp_path / "base")
    export_peft(made, tmp_path / "adapters", base=str(tmp_path / "base"))
    export_huggingface(made, tmp_path / "merged")
    config = json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapters")
    whole, before = load_weights(made), load_weights(first)
    with torch.no_grad():
        expected = whole(TOKENS)
        assert (expected - before(TOKENS)).abs().max() > 0.1
        torch.testing.assert_close(theirs(TOKENS).logits, expected, atol=1e-4, rtol=0)
    merged = theirs.merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    assert merged.keys() == ours.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, ours[name], atol=1e-6, rtol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapters")
    assert "[INST] Hi" in tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)


def test_a_model_without_adapters_is_to_be_exported_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no adapters.*--to hf"):
        export_peft(model_artifact(tmp_path, "whole"), tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""A reward model as a Hugging Face folder that `LlamaForSequenceClassification` loads.

transformers reads the score at the last token that is not `pad_token_id`, we at the end-of-turn token of the last
answer. So the chat template that goes along ends with that token, padding is another one, at the right, and a dialogue
that is too long loses its start.
"""

from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact
from arriero.containers import safetensors
from arriero.errors import InputError
from arriero.model import ScalarHead
from arriero.model.checkpoint import TOKENIZER, check_shapes, shapes_of, stored_model
from arriero.model.exporting import Watch, new_folder, unwatched
from arriero.model.formats.huggingface import write_huggingface
from arriero.reward.model import HEAD, description
from arriero.tokenizer import ChatFormat, export_huggingface_tokenizer, load_chat_format, load_tokenizer


def export_reward(artifact: Artifact, destination: Path, *, watch: Watch = unwatched) -> None:
    """Writes a reward model, adapters merged: weights in float32, config, tokenizer, chat template.

    It is there whole or not at all. Raises InputError if the destination holds files already or no token is left to
    pad with, ArtifactError if the artifact is no reward model.
    """
    _, max_length = description(artifact)
    config, weights = stored_model(artifact)
    chat_format = load_chat_format(artifact.path / TOKENIZER, load_tokenizer(artifact.path / TOKENIZER))
    head = safetensors.open_stored(artifact.path / HEAD)
    check_shapes(shapes_of(ScalarHead(config.dim, bias=False)), head, str(artifact.path / HEAD))
    score = head["weight"].then(lambda weight: weight[None], shape=(1, config.dim))
    pad = padding(chat_format)
    settings: dict[str, Any] = {
        "id2label": {"0": "LABEL_0"},  # transformers counts these: one score
        "label2id": {"LABEL_0": 0},
        "bos_token_id": chat_format.tokenizer.bos_id,
        "eos_token_id": chat_format.end_of_turn_id,
        "pad_token_id": chat_format.tokenizer.control[pad],
    }
    tokenizer_settings = {
        "pad_token": pad,
        "padding_side": "right",
        "truncation_side": "left",
        "model_max_length": min(max_length, config.max_seq_len),
        "chat_template": scored_template(chat_format),
    }
    with new_folder(destination) as folder:
        write_huggingface(
            folder,
            config,
            watch({name: weight for name, weight in weights.items() if name != "output.weight"}),
            architecture="LlamaForSequenceClassification",
            settings=settings,
            others={"score.weight": score},
        )
        export_huggingface_tokenizer(chat_format, folder, tokenizer_settings)


def padding(chat_format: ChatFormat) -> str:
    """The name of a control token that no rendered dialogue ends with. Raises InputError if there is none.

    The one that ends documents, if another one ends turns (SmolLM2), else the first (Llama 2: <unk>).
    """
    tokenizer = chat_format.tokenizer
    for token in (tokenizer.eos_id, *sorted(tokenizer.names)):
        if token != chat_format.end_of_turn_id:
            return tokenizer.names[token]
    raise InputError("The tokenizer has no control token to pad with but the one that ends a turn.")


def scored_template(chat_format: ChatFormat) -> str:
    """The chat format's template, cut behind the last end-of-turn token."""
    end = chat_format.tokenizer.names[chat_format.end_of_turn_id]
    return (
        "{%- set rendered -%}"
        + chat_format.jinja()
        + "{%- endset -%}{{- rendered.rsplit('END', 1)[0] + 'END' -}}".replace("END", end)
    )

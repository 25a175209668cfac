"""The stages pretrain and sft on a tiny model: what they train on, what they refuse; a stop changes nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arriero.artifacts import Artifact, Machine, StageContext
from arriero.artifacts.files import tree_digest, write_json
from arriero.config import identity
from arriero.data import shards as data_shards
from arriero.dialogue import Dialogue, Message, Role, write_dialogues
from arriero.errors import ConfigError, InputError, Stopped
from arriero.model import PRESETS, LoraConfig, ModelConfig, ModelShape, load_model, new_model, save_model
from arriero.tokenizer import ChatFormat, save_chat_format, save_tokenizer
from arriero.tokenizer.sentencepiece import SentencePieceTokenizer
from arriero.tokenizer.train import train_sentencepiece
from arriero.train import pretrain, sft
from arriero.train.optimizer import OptimizerConfig
from corpora import rows_of, write_corpus
from stages import artifact, context, inputs

TEXTS = [f"Item {n} is a word, and {n * 7} is the number that follows it in line {n % 9}." for n in range(300)]
TINY = {"dim": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 24}
FAST = OptimizerConfig(lr=1e-2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A tokenizer, shards made with it, a model and two sets of dialogues."""
    root = tmp_path_factory.mktemp("store")
    names = ("tokenizer", "corpus", "base", "chat", "picks")
    found = {name: artifact(root, name) for name in names}
    tokenizer = SentencePieceTokenizer(train_sentencepiece(TEXTS, 320))
    save_tokenizer(tokenizer, found["tokenizer"].path)
    save_chat_format(ChatFormat("llama2", tokenizer), found["tokenizer"].path)
    write_corpus(found["corpus"].path, rows_of(TEXTS))
    source = {"name": "web", "kind": "web", "epochs": 1.0, "share_after": 1.0}
    write_json(found["corpus"].path / "mixture.json", {"sources": [source]})
    work = context(root / "shards")
    tables = inputs(corpus=found["corpus"], tokenizer=found["tokenizer"])
    data_shards.STAGE.run(data_shards.ShardsConfig(), tables, work)
    found["shards"] = replace(found["corpus"], id="shards", path=work.out)
    model = new_model(ModelConfig(**TINY, vocab_size=320, max_seq_len=128), 0)
    save_model(found["base"].path, model, source=found["tokenizer"].path, base=None)
    write_dialogues(found["chat"].path / "sft.jsonl", [talk(n) for n in range(20)])
    write_dialogues(found["picks"].path / "dialogues.jsonl", [talk(n) for n in range(100, 105)])
    return found


def talk(n: int, answer: str = "It is the number that follows.", trained: bool = True) -> Dialogue:
    return Dialogue((Message(Role.USER, f"Item {n}?"), Message(Role.ASSISTANT, answer, trained)))


def scratch_config(**changes: Any) -> pretrain.PretrainConfig:
    values: dict[str, Any] = {"model": ModelShape(**TINY), "tokens": 500, "sequence_length": 32}
    values |= {"micro_batch_size": 2, "global_batch_size": 4, "optimizer": FAST}
    return pretrain.PretrainConfig(**(values | changes))


def sft_config(**changes: Any) -> sft.SftConfig:
    values: dict[str, Any] = {"sequence_length": 96, "micro_batch_size": 2, "global_batch_size": 2, "optimizer": FAST}
    return sft.SftConfig(**(values | changes))


def rows(made: StageContext) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.out / "series.jsonl").read_text().splitlines()]


def finished(work: StageContext, like: Artifact) -> Artifact:
    return replace(like, id="made", path=work.out)


def test_pretrain_from_scratch(made: dict[str, Artifact], tmp_path: Path) -> None:
    work = context(tmp_path)
    given = inputs(shards=made["shards"], tokenizer=made["tokenizer"])
    metrics = pretrain.STAGE.run(scratch_config(), given, work)
    assert (metrics["steps"], metrics["tokens"], len(rows(work))) == (4, 512, 4)
    assert {row["count"] for row in rows(work)} == {128}
    loaded = load_model(finished(work, made["base"]), Machine())
    assert loaded.config == ModelConfig(**TINY, vocab_size=320, max_seq_len=32)
    assert metrics["parameters"] == metrics["trained_parameters"] == loaded.config.n_parameters
    assert metrics["final_loss"] == rows(work)[-1]["loss"]


def test_masked_documents_count_all_but_their_first_tokens(made: dict[str, Artifact], tmp_path: Path) -> None:
    work = context(tmp_path)
    cfg = scratch_config(tokens=128, mask_documents=True)
    pretrain.STAGE.run(cfg, inputs(shards=made["shards"], tokenizer=made["tokenizer"]), work)
    windows = pretrain.ShardReader(made["shards"].path, 32, cfg.seed).batch(0, 4)
    assert rows(work)[0]["count"] == (windows[:, :-1] != 2).sum() < 128, "2 is the tokenizer's EOS"


def test_epochs_replace_those_of_the_shards_and_are_part_of_the_id(made: dict[str, Artifact], tmp_path: Path) -> None:
    given = inputs(shards=made["shards"], tokenizer=made["tokenizer"])
    losses = []
    for number, epochs in enumerate(({}, {"web": 1.0}, {"web": 0.5})):
        work = context(tmp_path / str(number))
        pretrain.STAGE.run(scratch_config(epochs=epochs), given, work)
        losses.append([row["loss"] for row in rows(work)])
    assert losses[0] == losses[1] != losses[2], "one is what the shards state"
    assert identity(scratch_config()) != identity(scratch_config(epochs={"web": 0.5}))
    with pytest.raises(ConfigError, match=r"`epochs` names 'wiki', which is no source of these shards \(web\)"):
        pretrain.STAGE.run(scratch_config(epochs={"wiki": 2.0}), given, context(tmp_path / "wrong"))


def test_a_preset_is_a_shape_by_name(made: dict[str, Artifact], tmp_path: Path) -> None:
    """All of it, rope scaling included, but for the vocabulary and the context."""
    cfg = scratch_config(model=None, preset="stories-260k", tokens=1)
    pretrain.STAGE.run(cfg, inputs(shards=made["shards"], tokenizer=made["tokenizer"]), context(tmp_path / "small"))
    loaded = load_model(replace(made["base"], path=tmp_path / "small" / "out"), Machine())
    assert loaded.config == replace(PRESETS["stories-260k"], vocab_size=320, max_seq_len=32)
    assert scratch_config(model=None, preset="llama3.2-1b").shape == PRESETS["llama3.2-1b"]
    with pytest.raises(ConfigError, match="Did you mean 'llama2-7b'"):
        scratch_config(model=None, preset="llama-7b")
    with pytest.raises(ConfigError, match="leave out one"):
        scratch_config(preset="stories-260k")


def test_pretrain_continued_starts_where_the_base_is(made: dict[str, Artifact], tmp_path: Path) -> None:
    """At a vanishing learning rate the first loss is the base's own on the first batch, and the weights stay."""
    work = context(tmp_path)
    cfg = scratch_config(model=None, tokens=128, optimizer=OptimizerConfig(lr=1e-12))
    pretrain.STAGE.run(cfg, inputs(shards=made["shards"], base=made["base"]), work)
    base = load_model(made["base"], Machine()).model
    windows = pretrain.ShardReader(made["shards"].path, 32, cfg.seed).batch(0, 4)
    tokens = torch.from_numpy(windows)
    loss = torch.nn.functional.cross_entropy(base(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert rows(work)[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    after = load_model(finished(work, made["base"]), Machine()).model.state_dict()
    for name, tensor in base.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-9)


@pytest.mark.parametrize("wrong", ["both", "neither", "base and model", "tokenizer without model"])
def test_pretrain_wants_exactly_one_start(made: dict[str, Artifact], tmp_path: Path, wrong: str) -> None:
    chosen = {
        "both": ("tokenizer", "base"),
        "neither": (),
        "base and model": ("base",),
        "tokenizer without model": ("tokenizer",),
    }[wrong]
    cfg = scratch_config() if wrong != "tokenizer without model" else scratch_config(model=None)
    given = inputs(shards=made["shards"], **{name: made[name] for name in chosen})
    with pytest.raises(ConfigError, match="either from scratch"):
        pretrain.STAGE.run(cfg, given, context(tmp_path))


def test_pretrain_takes_a_padded_vocabulary(made: dict[str, Artifact], tmp_path: Path) -> None:
    padded = artifact(tmp_path, "padded")
    save_model(padded.path, new_model(ModelConfig(**TINY, vocab_size=384), 0), source=made["base"].path, base=None)
    cfg = scratch_config(model=None, tokens=128)
    assert pretrain.STAGE.run(cfg, inputs(shards=made["shards"], base=padded), context(tmp_path))["steps"] == 1


def test_pretrain_refuses_another_tokenizer_and_a_longer_context(made: dict[str, Artifact], tmp_path: Path) -> None:
    """The other tokenizer has as many tokens, so that only their meaning differs."""
    other = artifact(tmp_path, "other")
    save_tokenizer(SentencePieceTokenizer(train_sentencepiece([t[::-1] for t in TEXTS], 320)), other.path)
    given = inputs(shards=made["shards"], tokenizer=other)
    with pytest.raises(ConfigError, match="made with another tokenizer than the model's"):
        pretrain.STAGE.run(scratch_config(), given, context(tmp_path))
    long = scratch_config(model=None, sequence_length=129)
    with pytest.raises(ConfigError, match=r"\(129\) is longer than the base model's context \(128\)"):
        pretrain.STAGE.run(long, inputs(shards=made["shards"], base=made["base"]), context(tmp_path))
    with pytest.raises(ConfigError, match="lora needs a base"):
        scratch_config(lora=LoraConfig())


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=4.0)], ids=["full", "lora"])
def test_sft_learns_the_answers(made: dict[str, Artifact], tmp_path: Path, lora: LoraConfig | None) -> None:
    work = context(tmp_path)
    given = inputs(base=made["base"], dialogues={"chat": made["chat"], "picks": made["picks"]})
    metrics = sft.STAGE.run(sft_config(epochs=4, lora=lora), given, work)
    loaded = load_model(made["base"], Machine())
    rendered = [loaded.chat_format.render(talk(n)) for n in [*range(20), *range(100, 105)]]
    assert metrics["dialogues_by_source"] == {"chat": 20, "picks": 5}
    assert metrics["tokens"] == 4 * sum(len(one.ids) for one in rendered)
    assert metrics["counted_tokens"] == 4 * sum(sum(one.loss_mask) for one in rendered)
    # Adapters of rank 2 on random weights can do little.
    assert metrics["final_loss"] < (0.7 if lora is None else 0.98) * rows(work)[0]["loss"]
    assert (work.out / "adapter.safetensors").exists() == (lora is not None)
    assert (work.out / "weights.safetensors").exists() == (lora is None)


@pytest.mark.parametrize("stage", ["sft", "pretrain"])
def test_a_stopped_stage_ends_in_the_same_files(made: dict[str, Artifact], tmp_path: Path, stage: str) -> None:
    if stage == "sft":
        given = inputs(base=made["base"], dialogues={"chat": made["chat"]})
        step = lambda work: sft.STAGE.run(sft_config(lora=LoraConfig(rank=2)), given, work)  # noqa: E731
    else:
        given = inputs(shards=made["shards"], tokenizer=made["tokenizer"])
        step = lambda work: pretrain.STAGE.run(scratch_config(), given, work)  # noqa: E731
    whole, stopped = context(tmp_path / "whole"), context(tmp_path / "stopped")
    expected = step(whole)
    asked = iter([False, True])
    with pytest.raises(Stopped):
        step(replace(stopped, stop_requested=lambda: next(asked)))
    assert len(rows(stopped)) == 2
    assert step(stopped) == expected
    assert tree_digest(stopped.out) == tree_digest(whole.out)


def test_without_a_dialogue_the_model_stays_its_base(made: dict[str, Artifact], tmp_path: Path) -> None:
    write_dialogues(tmp_path / "dialogues.jsonl", [])
    given = inputs(base=made["base"], dialogues={"gate": replace(made["picks"], path=tmp_path)})
    run = context(tmp_path / "work")
    metrics = sft.STAGE.run(sft_config(epochs=2), given, run)
    assert (metrics["dialogues"], metrics["steps"], metrics["final_loss"]) == (0, 0, None)
    base, after = (load_model(replace(made["base"], path=path), Machine()) for path in (made["base"].path, run.out))
    for name, tensor in base.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])


def test_sft_names_what_it_cannot_use(made: dict[str, Artifact], tmp_path: Path) -> None:
    def run(dialogues: list[Dialogue], **changes: Any) -> dict[str, Any]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        write_dialogues(folder / "dialogues.jsonl", dialogues)
        given = inputs(base=made["base"], dialogues={"mine": replace(made["picks"], path=folder)})
        return sft.STAGE.run(sft_config(epochs=1, **changes), given, context(folder / "work"))

    long = talk(1, "word " * 200)
    with pytest.raises(InputError, match=r"Dialogue 2 of .*dialogues.jsonl has \d+ tokens.*drop_long = true"):
        run([talk(0), long])
    metrics = run([talk(0), long], drop_long=True)
    assert (metrics["dialogues"], metrics["dropped_long"]) == (1, 1)
    with pytest.raises(InputError, match=r"All 1 dialogues in mine are longer than sequence_length"):
        run([long], drop_long=True)
    with pytest.raises(InputError, match=r"Dialogue 1 of .* has no answer to train on"):
        run([talk(0, trained=False)])
    with pytest.raises(InputError, match=r"Dialogue 1 of .*: A message holds the chat format's own tag"):
        run([Dialogue((Message(Role.USER, "[INST] x"), Message(Role.ASSISTANT, "y")))])
    with pytest.raises(ConfigError, match="longer than the base model's context"):
        run([talk(0)], sequence_length=129)

"""The table of all stages: adding one is one function in its package and one line here."""

from arriero.artifacts import Stage
from arriero.config import nearest
from arriero.data import (
    build,
    chat_files,
    classifier_training,
    declared,
    ngram_training,
    python_chat,
    python_crawl,
    shards,
    text_files,
)
from arriero.errors import ConfigError
from arriero.eval import run as evaluation
from arriero.eval import texts
from arriero.model import grouping
from arriero.model import importing as model_importing
from arriero.pipeline import mixture_proxies
from arriero.preference import importing as comparisons_importing
from arriero.preference import sample, simulated
from arriero.reward import score
from arriero.reward import train as reward_train
from arriero.rlhf import gatt, ppo, rejection_sampling
from arriero.safety import context_distillation
from arriero.tokenizer import train as tokenizer_train
from arriero.train import pretrain, sft

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        python_crawl.STAGE,
        text_files.STAGE,
        declared.STAGE,
        texts.STAGE,
        build.STAGE,
        classifier_training.STAGE,
        ngram_training.STAGE,
        shards.STAGE,
        python_chat.STAGE,
        chat_files.STAGE,
        tokenizer_train.STAGE,
        model_importing.STAGE,
        grouping.STAGE,
        mixture_proxies.STAGE,
        pretrain.STAGE,
        sft.STAGE,
        sample.STAGE,
        simulated.STAGE,
        comparisons_importing.STAGE,
        reward_train.STAGE,
        score.STAGE,
        rejection_sampling.STAGE,
        ppo.STAGE,
        gatt.STAGE,
        context_distillation.STAGE,
        evaluation.STAGE,
    )
}


def stage_named(name: str, where: str) -> Stage:
    """Raises ConfigError naming `where` and the nearest known stage."""
    if name not in STAGES:
        raise ConfigError(f"{where}: there is no stage {name!r}. {nearest(name, STAGES)}")
    return STAGES[name]

"""A verb for one stage, on artifacts named by id or as RUN:STAGE."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from arriero.cli.common import add_runs_option, add_set_option, config_help, say

Handler = Callable[[argparse.Namespace], int]


class StageVerb:
    """`arriero <words>` runs the stage `stage_name`. Its options follow from the stage's inputs and config.

    `positional` names the one field that may be given as a bare word.
    """

    def __init__(self, words: str, stage_name: str, summary: str, positional: str | None = None) -> None:
        self.words = words
        self.stage_name = stage_name
        self.summary = summary
        self.positional = positional

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options. Imports the stage: called only for the verb that was asked for."""
        from arriero.config.schema import fields_of
        from arriero.pipeline.table import STAGES

        stage = STAGES[self.stage_name]
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = config_help(stage.config)
        if self.positional is not None:
            doc = fields_of(stage.config)[self.positional].description
            parser.add_argument("positional", nargs="?", metavar=self.positional.upper(), help=doc)
        for edge in stage.inputs:
            parser.add_argument(
                f"--{edge.name.replace('_', '-')}",
                dest=f"input_{edge.name}",
                nargs="+" if edge.many else None,
                required=not edge.optional,
                metavar="ARTIFACT",
                help=f"{' or '.join(edge.kinds)}: an id, the start of one, or RUN:STAGE",
            )
        add_set_option(parser, "seed=2, or machine.dtype=float32 as in a recipe")
        parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the stage's fields")
        add_runs_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        from arriero.config import apply_overrides, load_toml, parse, with_resolved_paths
        from arriero.errors import at
        from arriero.pipeline.machine import resolve_machine
        from arriero.pipeline.plan import Planned, check_inputs, parse_stage_config, stage_id
        from arriero.pipeline.recipe import RunConfig
        from arriero.pipeline.runner import run_stage, stop_signals
        from arriero.pipeline.runs import Runs
        from arriero.pipeline.table import STAGES

        stage = STAGES[self.stage_name]
        runs = Runs(args.runs)
        # A path in the file starts at the file, one that is typed at the current folder.
        written = with_resolved_paths(stage.config, load_toml(args.config), args.config.parent) if args.config else {}
        if self.positional is not None and args.positional is not None:
            written |= {self.positional: args.positional}
        values = apply_overrides(written, args.overrides)
        where = f"arriero {self.words}"
        top = parse(RunConfig, {"name": "alone", "machine": values.pop("machine", {})}, where)
        given = {edge.name: getattr(args, f"input_{edge.name}") for edge in stage.inputs}
        named = {name: [v] if isinstance(v, str) else v for name, v in given.items() if v is not None}
        artifacts = {n: {label: runs.artifact(name) for label, name in labelled(v).items()} for n, v in named.items()}
        kinds = {n: {label: a.manifest.kind for label, a in v.items()} for n, v in artifacts.items()}
        check_inputs(stage, kinds, where)
        config = parse_stage_config(stage, values, top.seed, Path(), where)
        machine = resolve_machine(top.machine, runs.root / "machine.json")
        ids = {n: {label: a.id for label, a in v.items()} for n, v in artifacts.items()}
        with at(where):
            planned: Planned = stage_id(stage, config, ids, machine)
        with runs.store.in_use(), stop_signals() as stop_requested:
            runs.store.keep(planned.id)
            artifact = run_stage(
                runs.store,
                planned,
                machine,
                heading=self.words,
                stop_requested=stop_requested,
                show_progress=sys.stderr.isatty(),
            )
        say(json.dumps(artifact.manifest.metrics, indent=1, sort_keys=True))
        say(f"{artifact.manifest.kind} {artifact.id} in {artifact.path}")
        print(artifact.id)
        return 0


def labelled(names: list[str]) -> dict[str, str]:
    """Label -> name: `RUN:STAGE` goes by its stage, and in full where two runs give a stage of the same label."""
    short = [name.split(":")[-1] for name in names]
    return {name if short.count(label) > 1 else label: name for label, name in zip(short, names, strict=True)}


STAGE_VERBS = (
    StageVerb("data crawl", "data.python_crawl", "collect the real text that every Python has, as a crawl"),
    StageVerb("data files", "data.text_files", "take a folder of your own text files as a crawl"),
    StageVerb("data sources", "data.sources", "declare text that lies elsewhere (WARC, JSONL, ...) as a crawl"),
    StageVerb("data build", "data.build", "clean a crawl into a corpus, with a funnel of every drop"),
    StageVerb("data classifier", "data.classifier", "learn to tell text like a reference from other text"),
    StageVerb("data ngrams", "data.ngrams", "count a reference's n-grams, for the perplexity of other text"),
    StageVerb("data shards", "data.shards", "tokenise a corpus into memory-mapped shards"),
    StageVerb("data proxies", "data.proxies", "train tiny models on candidate mixes: held-out loss, factual recall"),
    StageVerb("data chats", "data.python_chat", "make the chat domain: questions about the standard library"),
    StageVerb("data chat-files", "data.chat_files", "take your own dialogues and prompts as chat data"),
    StageVerb("tokenizer train", "tokenizer.train", "train a SentencePiece BPE tokenizer on a corpus"),
    StageVerb("model import", "model.import", "read a model from another project's files", "source"),
    StageVerb("model group-heads", "model.group_heads", "pool key and value heads: from multi-head to grouped-query"),
    StageVerb("pretrain", "train.pretrain", "pretrain from scratch, or continue from a base model"),
    StageVerb("sft", "train.sft", "fine-tune on dialogues, loss on the answers only"),
    StageVerb("prefer sample", "preference.sample", "sample pairs of answers from two models"),
    StageVerb("prefer simulate", "preference.simulate", "let the simulated annotator compare pairs"),
    StageVerb("prefer import", "preference.import", "read people's comparisons from JSONL"),
    StageVerb("reward train", "reward.train", "train a helpfulness or safety reward model"),
    StageVerb("reward score", "reward.score", "score comparisons with a reward model"),
    StageVerb("rlhf sample", "rlhf.rejection_sampling", "sample K answers a prompt, keep the best"),
    StageVerb("rlhf ppo", "rlhf.ppo", "PPO with the gated, whitened reward and a KL penalty"),
    StageVerb("rlhf gatt", "rlhf.gatt", "make Ghost Attention dialogues"),
    StageVerb("safety distill", "safety.context_distillation", "make context-distillation dialogues, gated"),
    StageVerb("eval texts", "eval.texts", "take evaluation questions that no corpus may hold"),
    StageVerb("eval run", "eval.run", "evaluate every version on held-out prompts"),
)

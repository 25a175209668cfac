"""`arriero chat RUN`: talk to a model in the terminal."""

import argparse
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from arriero.cli.common import add_runs_option, say

if TYPE_CHECKING:
    from arriero.dialogue import Dialogue, Message
    from arriero.generation import SamplingConfig
    from arriero.model import LoadedModel

HELP = "/reset starts anew, /system TEXT sets the system message, /quit or Ctrl-D ends."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|ARTIFACT", help="a run (its final model), RUN:STAGE, or a model's id")
    # Llama 2's own defaults for chat.
    parser.add_argument("--temperature", type=float, default=0.6, help="0 is greedy (default: 0.6)")
    parser.add_argument("--top-p", type=float, default=0.9, help="nucleus sampling (default: 0.9)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="longest answer, tokens (default: 256)")
    parser.add_argument("--system", help="system message")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sampling (default: 1)")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    from arriero.config import parse
    from arriero.errors import ConfigError
    from arriero.generation import SamplingConfig
    from arriero.model import load_model
    from arriero.pipeline.machine import MachineConfig, resolve_machine
    from arriero.pipeline.runs import Runs

    fields = ("temperature", "top_p", "max_new_tokens")
    sampling = parse(SamplingConfig, {field: getattr(args, field) for field in fields}, "chat")
    runs = Runs(args.runs)
    name = args.model
    if name in runs.names():
        run = runs.load(name)
        if run.model is None:
            raise ConfigError(f"The recipe of run {name!r} names no model. Say which: arriero chat {name}:STAGE.")
        name = f"{name}:{run.model}"
        if run.before is not None and run.before.model is not None and not runs.store.has(run.stages[run.model]):
            say(f"{name} is not made yet as it was last planned; this is the one made before.")
            name = run.before.stages[run.before.model]
    artifact = runs.artifact(name, "model")
    machine = resolve_machine(MachineConfig(), runs.root / "machine.json")
    loaded = load_model(artifact, machine, dtype=getattr(torch, machine.dtype))
    say(f"{name}. {HELP}")
    _talk(loaded, sampling, args.system, args.seed)
    return 0


def _lines() -> Iterator[str]:
    """What the user types, until /quit or the end."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may send what is no UTF-8
    while True:
        if sys.stdin.isatty():
            print("\n> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() in ("/quit", "/exit"):
            return
        if line.strip():
            yield line.strip()


def _talk(loaded: "LoadedModel", sampling: "SamplingConfig", system: str | None, seed: int) -> None:
    from arriero.dialogue import Dialogue, Message, Role

    messages: list[Message] = []
    for turn, text in enumerate(_lines()):
        if text == "/reset":
            messages = []
            say("A new dialogue.")
        elif text == "/system" or text.startswith("/system "):
            system, messages = text.removeprefix("/system").strip() or None, []
            say(f"System message: {system!r}. A new dialogue.")
        elif text.startswith("/"):
            say(f"There is no command {text.split()[0]}. {HELP}")
        else:
            opening = [Message(Role.SYSTEM, system)] if system else []
            question = Message(Role.USER, text)
            answer = _answer(loaded, Dialogue((*opening, *messages, question)), sampling, seed + turn)
            if answer is not None:
                messages += [question, answer]


def _answer(loaded: "LoadedModel", dialogue: "Dialogue", sampling: "SamplingConfig", seed: int) -> "Message | None":
    """The answer, printed as it comes; Ctrl-C cuts it off. None, with the reason said, if there can be none."""
    from arriero.dialogue import Message, Role
    from arriero.errors import InputError
    from arriero.generation import stream

    try:
        prompt_ids = loaded.chat_format.render_prompt(dialogue)
    except InputError as error:
        say(str(error))
        return None
    if len(prompt_ids) + sampling.max_new_tokens > loaded.config.max_seq_len:
        say("The dialogue no longer fits the model's context. /reset starts anew; --max-new-tokens leaves more room.")
        return None
    decoder, answer = loaded.tokenizer.stream(), ""
    try:
        for token in stream(loaded.model, prompt_ids, sampling, stop_ids=loaded.chat_format.stop_ids, seed=seed):
            piece = decoder.push(token)
            answer += piece
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        pass
    rest = decoder.flush()
    print(rest, flush=True)
    return Message(Role.ASSISTANT, answer + rest)

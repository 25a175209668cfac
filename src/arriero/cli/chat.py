"""`arriero chat RUN`: talk to a model in the terminal."""

import argparse
import sys

from arriero.cli.common import add_runs_option, say

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

    from arriero.dialogue import Dialogue, Message, Role
    from arriero.errors import ConfigError, InputError
    from arriero.generation import SamplingConfig, stream
    from arriero.model import load_model
    from arriero.pipeline.machine import MachineConfig, resolve_machine
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    name = args.model
    if name in runs.names():
        label = runs.load(name).model
        if label is None:
            raise ConfigError(f"The recipe of run {name!r} names no model. Say which: arriero chat {name}:STAGE.")
        name = f"{name}:{label}"
    machine = resolve_machine(MachineConfig(), runs.root / "machine.json")
    loaded = load_model(runs.artifact(name), machine, dtype=getattr(torch, machine.dtype))
    sampling = SamplingConfig(temperature=args.temperature, top_p=args.top_p, max_new_tokens=args.max_new_tokens)
    say(f"{name}. {HELP}")
    system, turn = args.system, 0
    messages: list[Message] = []
    while True:
        if sys.stdin.isatty():
            print("\n> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() in ("/quit", "/exit"):
            return 0
        text = line.strip()
        if not text:
            continue
        if text == "/reset":
            messages = []
            say("A new dialogue.")
            continue
        if text.startswith("/system"):
            system, messages = text.removeprefix("/system").strip() or None, []
            say(f"System message: {system!r}. A new dialogue.")
            continue
        if text.startswith("/"):
            say(f"There is no command {text.split()[0]}. {HELP}")
            continue
        opening = [Message(Role.SYSTEM, system)] if system else []
        try:
            dialogue = Dialogue((*opening, *messages, Message(Role.USER, text)))
            prompt_ids = loaded.chat_format.render_prompt(dialogue)
        except InputError as error:
            say(str(error))
            continue
        if len(prompt_ids) + args.max_new_tokens > loaded.config.max_seq_len:
            say("The dialogue no longer fits the model's context. /reset starts anew.")
            continue
        decoder, answer = loaded.tokenizer.stream(), ""
        seed, turn = args.seed + turn, turn + 1
        try:
            for token in stream(loaded.model, prompt_ids, sampling, stop_ids=loaded.chat_format.stop_ids, seed=seed):
                piece = decoder.push(token)
                answer += piece
                print(piece, end="", flush=True)
            rest = decoder.flush()
        except KeyboardInterrupt:
            rest = ""
        print(rest, flush=True)
        messages += [Message(Role.USER, text), Message(Role.ASSISTANT, answer + rest)]

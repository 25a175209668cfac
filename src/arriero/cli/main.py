"""The command line: `arriero VERB ...`. Exit code 0: done; 2: the user's input is wrong; 130/143: stopped."""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arriero import __version__
from arriero.cli import chat, data, init, model, model_show, report, run, runs
from arriero.cli.stage_verb import STAGE_VERBS
from arriero.errors import ArrieroError, Stopped

# What the machine refuses, or a path that cannot be; any other OSError is a mistake of ours and keeps its traceback.
UNUSABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}


@dataclass(frozen=True)
class Verb:
    """One leaf of the command tree; `configure` is called only when the verb is asked for."""

    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


VERBS: dict[str, Verb] = {
    "run": Verb("run a recipe; what is already made is reused", run.configure, run.run),
    "init": Verb("write a recipe for your own text and chats", init.configure, init.run),
    "report": Verb("write a run's report again", report.configure, report.run),
    "chat": Verb("talk to a model in the terminal", chat.configure, chat.run),
    "runs list": Verb("every run, and how far it is", runs.configure_list, runs.run_list),
    "runs show": Verb("a run's stages, or one artifact's manifest", runs.configure_show, runs.run_show),
    "runs lineage": Verb("what an artifact was made from", runs.configure_lineage, runs.run_lineage),
    "runs gc": Verb("delete artifacts that no run names", runs.configure_gc, runs.run_gc),
    "data inspect": Verb("random documents of a corpus, kept and dropped", data.configure_inspect, data.run_inspect),
    "data stats": Verb("what a corpus is made of, and what it lost", data.configure_stats, data.run_stats),
    "data why": Verb("the story of one document of a corpus", data.configure_why, data.run_why),
    "model show": Verb("a model's shape, memory and arithmetic", model_show.configure, model_show.run),
    "model export": Verb(
        "write a model for other programs: Hugging Face, GGUF, Meta, PEFT", model.configure_export, model.run_export
    ),
} | {verb.words: Verb(verb.summary, verb.configure, verb.run) for verb in STAGE_VERBS}

GROUPS = {
    "runs": "list, show and trace runs; collect garbage",
    "data": "text and chat data",
    "tokenizer": "tokenizers",
    "model": "models in and out",
    "prefer": "preference data",
    "reward": "reward models",
    "rlhf": "rejection sampling, PPO, Ghost Attention",
    "safety": "safety tuning",
    "eval": "evaluation",
}


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The parser. Only the verb `asked` gets its options (all do when None), so that a start imports little."""
    parser = argparse.ArgumentParser(
        prog="arriero", description="The Llama 2 recipe, from raw web text to a safe chat model."
    )
    parser.add_argument("--version", action="version", version=f"arriero {__version__}")
    top = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for words, verb in VERBS.items():
        group, _, leaf = words.rpartition(" ")
        place = top
        if group:
            if group not in groups:
                inner = top.add_parser(group, help=GROUPS[group], description=GROUPS[group])
                groups[group] = inner.add_subparsers(metavar="VERB", required=True)
            place = groups[group]
        leaf_parser = place.add_parser(leaf, help=verb.summary, description=verb.summary)
        leaf_parser.set_defaults(handler=verb.run)
        if asked is None or asked == words:
            verb.configure(leaf_parser)
    return parser


def _asked(arguments: Sequence[str]) -> str:
    words = [argument for argument in arguments[:2] if not argument.startswith("-")]
    two = " ".join(words)
    return two if two in VERBS else "".join(words[:1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, calls, and turns a user's mistake into one paragraph and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        args = build_parser(_asked(given)).parse_args(given)
        code: int = args.handler(args)
    except ArrieroError as error:
        print(f"arriero: {error}", file=sys.stderr)
        return 2
    except Stopped:
        print("Stopped. Run the same command again to go on.", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        place = f" ({error.filename})" if error.filename else ""
        remedy = "Check the path, your rights there, and the room on the disk."
        print(f"arriero: {error.strerror}{place}. {remedy}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())

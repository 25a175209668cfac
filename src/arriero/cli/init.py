"""`arriero init`: a recipe for a user's own text and chats."""

import argparse
from pathlib import Path

from arriero.cli.common import say


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", type=Path, required=True, metavar="DIR", help="folder of your text files")
    parser.add_argument("--chats", type=Path, metavar="FILE", help='JSONL of dialogues: {"messages": [...]} a line')
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="JSONL of further prompts, for sampling and tests")
    parser.add_argument(
        "--model",
        default="smollm2",
        metavar="MODEL",
        help="start from: smollm2 (default), a released model (GGUF, Hugging Face, Meta, llama2.c), or scratch",
    )
    parser.add_argument("--out", type=Path, default=Path("recipe.toml"), metavar="FILE", help="default: recipe.toml")


def run(args: argparse.Namespace) -> int:
    from arriero.pipeline.init import write_recipe

    write_recipe(args.out, text=args.text, chats=args.chats, prompts=args.prompts, model=args.model)
    say(f"Wrote {args.out}. Read it, then: arriero run {args.out}")
    return 0

"""What several verbs share: options, stage help, and printing."""

import argparse
import sys
from pathlib import Path

from arriero.config import describe


def say(text: str) -> None:
    """A line for the user, on standard error: standard output holds results alone."""
    print(text, file=sys.stderr, flush=True)


def add_runs_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of runs (default: runs)")


def add_set_option(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=V",
        help=f"set a config field, e.g. --set {example}; may be repeated",
    )


def config_help(config: type) -> str:
    """Every field of a config: name, default, unit, what it is."""
    lines = ["fields (--set NAME=VALUE):"]
    for row in describe(config):
        unit = f" {row.unit}" if row.unit else ""
        note = " (operational: changes no result)" if row.operational else ""
        default = row.default if row.default in ("required", "derived") else f"default {row.default}{unit}"
        if row.default == "required" and unit:
            default += f", in{unit}"
        lines.append(f"  {row.name} ({row.type}; {default}): {row.doc}{note}")
    return "\n".join(lines)

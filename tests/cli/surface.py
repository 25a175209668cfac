"""Prints the command line's surface: verbs, options, and every config field with its default."""

import argparse
from collections.abc import Iterator

from arriero.cli.main import VERBS
from arriero.cli.stage_verb import STAGE_VERBS
from arriero.config import describe
from arriero.pipeline.recipe import RunConfig
from arriero.pipeline.table import STAGES


def option_lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar)
        parts = [name]
        if action.option_strings and action.nargs != 0:
            parts.append(str(action.metavar or action.dest.upper()))
        if action.nargs == "+":
            parts.append("...")
        if action.choices is not None:
            parts.append(f"of {', '.join(map(str, action.choices))}")
        parts.append("required" if action.required else f"default {action.default}")
        yield f"  {' '.join(parts)}"


def field_lines(config: type) -> Iterator[str]:
    for row in describe(config):
        note = " operational" if row.operational else ""
        unit = f" {row.unit}" if row.unit else ""
        yield f"  . {row.name}: {row.type} = {row.default}{unit}{note}"


def surface() -> str:
    """One block a verb, and one for the top level of a recipe."""
    configs = {verb.words: STAGES[verb.stage_name].config for verb in STAGE_VERBS}
    lines = []
    for words, verb in VERBS.items():
        parser = argparse.ArgumentParser()
        verb.configure(parser)
        lines += [words, *option_lines(parser)]
        if words in configs:
            lines += field_lines(configs[words])
    return "\n".join([*lines, "(top level of a recipe)", *field_lines(RunConfig)]) + "\n"


if __name__ == "__main__":
    print(surface(), end="")  # noqa: T201

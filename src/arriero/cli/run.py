"""`arriero run RECIPE`: the whole recipe; stages that are already made are reused."""

import argparse
import sys
import time
from pathlib import Path

from arriero.cli.common import add_runs_option, add_set_option, config_help, say


def configure(parser: argparse.ArgumentParser) -> None:
    from arriero.pipeline.recipe import RunConfig

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "Top level of a recipe, " + config_help(RunConfig)
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML file, e.g. recipes/quickstart.toml")
    add_set_option(parser, "sft.epochs=3")
    parser.add_argument("--until", metavar="STAGE", help="make this stage and what it needs, and stop there")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> int:
    from arriero.pipeline.finish import answer_prompts, report_is_current, write_report
    from arriero.pipeline.machine import resolve_machine
    from arriero.pipeline.plan import needed, plan_recipe
    from arriero.pipeline.recipe import load_recipe
    from arriero.pipeline.runner import run_plan
    from arriero.pipeline.runs import Runs

    started = time.perf_counter()
    recipe = load_recipe(args.recipe, args.overrides)
    runs = Runs(args.runs)
    machine = resolve_machine(recipe.run.machine, runs.root / "machine.json")
    say(f"{recipe.run.name}: {machine.device}, {machine.dtype}, {machine.threads} threads")
    plan = plan_recipe(recipe, machine)
    labels = recipe.steps if args.until is None else needed(recipe.steps, args.until)
    wanted = [planned for planned in plan if planned.label in labels]
    current = report_is_current(runs, recipe, plan)
    saved = runs.save(recipe, plan)  # the whole recipe, so that gc keeps what an earlier run made of the rest
    if not current:
        saved.report.unlink(missing_ok=True)  # else, after a kill, it would pass for this plan's
    made = run_plan(runs.store, wanted, machine, say=say, show_progress=True)
    report = saved.report if current else write_report(runs, saved)
    if recipe.run.model in made and recipe.run.ask:
        for prompt, answer in answer_prompts(made[recipe.run.model], recipe.run.ask, machine):
            print(f"\n> {prompt}\n{answer}")
        sys.stdout.flush()
    say(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes. The report: {report}")
    if recipe.run.model in made:
        say(f"Talk to the model: arriero chat {recipe.run.name}")
    return 0

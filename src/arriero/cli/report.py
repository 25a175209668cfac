"""`arriero report RUN`: write the run's report again."""

import argparse

from arriero.cli.common import add_runs_option


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="name of a run")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> int:
    from arriero.pipeline.finish import write_report
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    print(write_report(runs, runs.load(args.run)))
    return 0

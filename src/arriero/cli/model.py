"""`arriero model export`: any version as a Hugging Face folder."""

import argparse
from pathlib import Path

from arriero.cli.common import add_runs_option


def configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="ARTIFACT", help="a model: RUN:STAGE or an id")
    parser.add_argument("--to", choices=["hf"], default="hf", help="format (default: hf, a Hugging Face folder)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet")
    add_runs_option(parser)


def run_export(args: argparse.Namespace) -> int:
    from arriero.model.exporting import export_huggingface
    from arriero.pipeline.runs import Runs

    export_huggingface(Runs(args.runs).artifact(args.model, "model"), args.out)
    print(args.out)
    return 0

"""`arriero model export`: any version in another project's format."""

import argparse
import sys
from pathlib import Path

from arriero.cli.common import add_runs_option


def configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="ARTIFACT", help="a model or reward model: RUN:STAGE or an id")
    parser.add_argument(
        "--to",
        choices=["hf", "gguf", "meta", "peft"],
        default="hf",
        help="format: a Hugging Face folder (default), a GGUF file for llama.cpp, Meta's folder, or PEFT's adapters",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="a folder or file not there yet")
    parser.add_argument(
        "--type",
        dest="weight_type",
        choices=["f32", "bf16", "f16", "q8_0", "q4_0"],
        help="of the weights: f32 (default), bf16 or f16 for hf; f32 (default), f16, q8_0 or q4_0 for gguf",
    )
    parser.add_argument("--parts", type=int, metavar="N", help="files of Meta's folder, 1 (default) to 8")
    parser.add_argument("--base", metavar="PATH", help="where the adapters' base lies, exported with --to hf (peft)")
    add_runs_option(parser)


def run_export(args: argparse.Namespace) -> int:
    from arriero.pipeline.export import export_model
    from arriero.pipeline.runner import stop_signals
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    with runs.store.in_use(), stop_signals() as stop_requested:
        export_model(
            runs.artifact(args.model),
            args.out,
            to=args.to,
            weight_type=args.weight_type,
            parts=args.parts,
            base=args.base,
            show_progress=sys.stderr.isatty(),
            stop_requested=stop_requested,
        )
    print(args.out)
    return 0

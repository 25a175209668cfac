"""`arriero runs list|show|lineage|gc`."""

import argparse
import json
from contextlib import nullcontext

from arriero.cli.common import add_runs_option


def configure_list(parser: argparse.ArgumentParser) -> None:
    add_runs_option(parser)


def run_list(args: argparse.Namespace) -> int:
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    for name in runs.names():
        stages = runs.load(name).stages
        made = sum(runs.store.has(id) for id in stages.values())
        print(f"{name}\t{made} of {len(stages)} stages made")
    return 0


def configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN|RUN:STAGE|ID", help="a run, or one artifact")
    add_runs_option(parser)


def run_show(args: argparse.Namespace) -> int:
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    if args.name not in runs.names():
        print((runs.artifact(args.name).path / "manifest.json").read_text(), end="")
        return 0
    for label, id in runs.load(args.name).stages.items():
        if not runs.store.has(id):
            print(f"{label}\t{id}\tnot made")
            continue
        manifest = runs.store.artifact(id).manifest
        size = sum(file["bytes"] for file in manifest.files.values())
        seconds = manifest.timings.get("wall_seconds", 0.0)
        print(f"{label}\t{id}\t{manifest.stage}\t{seconds:.0f} s\t{size / 1e6:.1f} MB\t{_short(manifest.metrics)}")
    return 0


def _short(metrics: dict[str, object]) -> str:
    plain = {k: round(v, 4) if isinstance(v, float) else v for k, v in metrics.items() if isinstance(v, int | float)}
    return json.dumps(plain)


def configure_lineage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN|RUN:STAGE|ID", help="a run (its final model), or one artifact")
    add_runs_option(parser)


def run_lineage(args: argparse.Namespace) -> int:
    from arriero.artifacts.lineage import lineage_lines
    from arriero.errors import InputError
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    name, names = args.name, {}
    if name.split(":")[0] in runs.names():
        run = runs.load(name.split(":")[0])
        names = {id: label for label, id in run.stages.items()}
        if not run.stages:
            raise InputError(f"The recipe of run {run.name!r} has no stages.")
        name = name if ":" in name else f"{name}:{run.model or list(run.stages)[-1]}"
    print("\n".join(lineage_lines(runs.store, runs.artifact(name).id, names)))
    return 0


def configure_gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, delete nothing")
    add_runs_option(parser)


def run_gc(args: argparse.Namespace) -> int:
    from arriero.pipeline.runs import Runs

    runs = Runs(args.runs)
    with nullcontext() if args.dry_run else runs.store.alone():
        freed, ids = 0, runs.unreferenced()
        for id in ids:
            print(id)
            if not args.dry_run:
                freed += runs.store.remove(id)
    verb = "would be deleted" if args.dry_run else f"deleted, {freed / 1e6:.1f} MB freed"
    print(f"{len(ids)} artifacts that no run names: {verb}")
    return 0

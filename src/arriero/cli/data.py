"""`arriero data inspect|stats|why`: what is in a corpus, what is not, and why."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from arriero.cli.common import add_runs_option

if TYPE_CHECKING:
    from arriero.artifacts import Artifact
    from arriero.data.reasons import Reasons
    from arriero.data.shown import Shown
    from arriero.report.terminal import Terminal


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="a corpus: an id, the start of one, or RUN:STAGE")


def _add_show_pii(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show-pii", action="store_true", help="show the personal information of dropped documents")


def configure_stats(parser: argparse.ArgumentParser) -> None:
    _add_corpus(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: the corpus's own files, joined")
    add_runs_option(parser)


def run_stats(args: argparse.Namespace) -> int:
    from arriero.report.corpus_tables import corpus_tables, joined

    corpus = _corpus(args).path
    if args.json:
        print(json.dumps(joined(corpus), indent=1, sort_keys=True))
        return 0
    terminal = _terminal()
    print("\n\n".join("\n".join(terminal.table(table)) for table in corpus_tables(corpus)))
    return 0


def configure_inspect(parser: argparse.ArgumentParser) -> None:
    _add_corpus(parser)
    parser.add_argument(
        "--sample", type=int, default=10, metavar="N", help="documents, of kept and of dropped (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which documents are drawn (default: 0)")
    parser.add_argument("--split", choices=["train", "heldout", "dropped"], help="only from there")
    parser.add_argument("--source", metavar="NAME", help="only of this source")
    parser.add_argument(
        "--step", metavar="NAME", help="only those that this step dropped, or kept ones that it changed"
    )
    parser.add_argument("--reason", metavar="NAME", help="only those that were dropped for this reason")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at in a browser")
    _add_show_pii(parser)
    add_runs_option(parser)


def run_inspect(args: argparse.Namespace) -> int:
    from arriero.artifacts.files import read_json, write_atomic
    from arriero.data.samples import Wanted, check_wanted, draw
    from arriero.report.samples import samples_page

    artifact = _corpus(args)
    wanted = Wanted(args.split, args.source, args.step, args.reason)
    check_wanted(wanted, args.sample, read_json(artifact.path / "funnel.json"))
    samples = draw(artifact.path, wanted, args.sample, args.seed)
    reasons, shown = _reasons(artifact), _shown(args, artifact)
    if args.html is not None:
        write_atomic(args.html, samples_page(args.corpus, samples, reasons, shown))
        print(args.html)
        return 0
    terminal = _terminal()
    told = ["\n".join(terminal.sample(sample, reasons, shown)) for sample in samples]
    print("\n\n".join(told) or "The corpus has no such document.")
    return 0


def configure_why(parser: argparse.ArgumentParser) -> None:
    _add_corpus(parser)
    parser.add_argument(
        "document", metavar="DOC", help="a document's id, the start of it, or its URL; or a file's name"
    )
    _add_show_pii(parser)
    add_runs_option(parser)


def run_why(args: argparse.Namespace) -> int:
    from arriero.data.story import stories

    artifact = _corpus(args)
    told = stories(artifact.path, args.document, _reasons(artifact), _shown(args, artifact))
    terminal = _terminal()
    print("\n\n".join("\n".join(terminal.rows(story.title, story.rows, story.beginning)) for story in told))
    return 0


def _corpus(args: argparse.Namespace) -> "Artifact":
    from arriero.pipeline.runs import Runs

    return Runs(args.runs).artifact(args.corpus, "corpus")


def _reasons(artifact: "Artifact") -> "Reasons":
    from arriero.data.reasons import Reasons

    return Reasons.of(artifact.path, artifact.manifest.config)


def _shown(args: argparse.Namespace, artifact: "Artifact") -> "Shown":
    from arriero.data.shown import Shown

    return Shown(args.show_pii, artifact.manifest.config["pii"]["phone_region"])


def _terminal() -> "Terminal":
    from arriero.report.terminal import Terminal

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a document's characters need not be the terminal's
    return Terminal(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

"""data.build on the evaluation corpus: the one place that knows how the stages are called."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from arriero.artifacts import Artifact, Inputs, Machine, Manifest, StageContext, Store
from arriero.artifacts.files import read_jsonl, write_json, write_jsonl
from arriero.data import build, declared
from arriero.data.engine import EngineConfig
from arriero.data.language import LanguageConfig
from arriero.data.readers.source import SourceConfig, SourceFormat
from arriero.data.sources import SourceKind

SOURCES = (("web", SourceKind.WEB), ("reference", SourceKind.REFERENCE), ("code", SourceKind.CODE))

CODE = {"format": SourceFormat.TEXT, "suffixes": [".py", ".pm", ".pl"]}


def run_build(
    corpus: Path, questions: Path | None, languages: list[str], workers: int, work: Path
) -> tuple[Path, dict[str, Any]]:
    """Builds from `corpus` (one folder a source) in `work`: the corpus's folder, and the manifest's timings."""
    sources = sources_of(corpus)
    crawl = _artifact(work, "crawl")
    declared.STAGE.run(
        declared.DeclaredConfig(sources=sources, heldout_share=0.0),
        Inputs({}),
        StageContext(crawl.path, _folder(work / "crawl-scratch"), Machine()),
    )
    given = {"crawl": {"crawl": crawl}}
    if questions is not None:
        evaluation = _artifact(work, "evaluation")
        write_jsonl(evaluation.path / build.QUESTIONS_FILE, (row for _, row in read_jsonl(questions)))
        given["evaluation"] = {"evaluation": evaluation}
    cfg = build.BuildConfig(language=LanguageConfig(keep=languages), engine=EngineConfig(workers=workers))
    context = StageContext(_folder(work / "out"), _folder(work / "scratch"), Machine())
    build.STAGE.run(cfg, Inputs(given), context)
    return context.out, dict(context.timings)


def sources_of(corpus: Path) -> list[SourceConfig]:
    """The folders of a corpus as sources."""
    return [
        SourceConfig(
            name=name,
            path=str(corpus / name),
            kind=kind,
            licence="each package's own",
            **(CODE if kind is SourceKind.CODE else {}),
        )
        for name, kind in SOURCES
        if (corpus / name).is_dir()
    ]


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _artifact(root: Path, id: str) -> Artifact:
    store = Store(root)
    path = _folder(store.objects / id)
    manifest = Manifest(id, "benchmark", "benchmark", {}, {}, "", {}, {})
    write_json(path / "manifest.json", asdict(manifest))
    return Artifact(id, path, manifest, store)

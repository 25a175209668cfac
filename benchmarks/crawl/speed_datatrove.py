"""datatrove's side of the comparison of speed; runs in an interpreter that has it.

python benchmarks/crawl/speed_datatrove.py FOLDER OUT MODEL --from warc|text --workers N
Reads FOLDER/*.warc.gz or FOLDER/*.jsonl; prints a JSON line {"seconds", "cpu_seconds", "documents"}. Its steps as its
own FineWeb example has them, with the thresholds of ours where both have one: language English at 0.5, no exclusion
writers, and a minute for a page, not a second, so that a busy machine loses none. `lid.176.ftz` stands in for
`lid.176.bin`, as in ours; it is the faster one.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.utils import lid
from fasttext.FastText import _FastText


class LocalModel(lid.FT176LID):
    """The identifier with a model file of this machine: datatrove's own downloads one."""

    path = ""

    @property
    def model(self) -> _FastText:
        if self._model is None:
            self._model = _FastText(self.path)
        return self._model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("model")
    parser.add_argument("--from", dest="origin", choices=("warc", "text"), required=True)
    parser.add_argument("--workers", type=int, required=True)
    args = parser.parse_args()
    language = LanguageFilter("en", language_threshold=0.5)
    language.model = LocalModel(["en"])
    language.model.path = args.model
    if args.origin == "warc":
        head = [WarcReader(str(args.folder), glob_pattern="*.warc.gz"), Trafilatura(favour_precision=True, timeout=60)]
    else:
        head = [JsonlReader(str(args.folder), glob_pattern="*.jsonl", id_key="url")]
    steps = [
        *head,
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        # What is off in ours by default is off here.
        C4QualityFilter(
            filter_no_terminal_punct=False,
            filter_curly_bracket=False,
            filter_javascript=False,
            filter_policy=False,
            remove_citations=False,
            min_words_per_line=-1,
        ),
        MinhashDedupSignature(
            str(args.out / "signatures"), MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        ),
    ]
    executor = LocalPipelineExecutor(
        steps, tasks=args.workers, workers=args.workers, logging_dir=str(args.out / "logs"), start_method="spawn"
    )
    started = time.perf_counter()
    executor.run()
    seconds = time.perf_counter() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    stats = json.loads((args.out / "logs" / "stats.json").read_text())
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": sum(usage.ru_utime + usage.ru_stime for usage in used),
                "documents": {step["name"]: step["stats"].get("total", {}) for step in stats},
            }
        )
    )


if __name__ == "__main__":
    main()

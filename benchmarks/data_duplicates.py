"""Which edited copies of real pages are found, with our bands and the check of pairs, and with FineWeb's bands.

python benchmarks/data_duplicates.py [--files 4] [--pages 4000] [--copies 100] [--seed 7] [--cache DIR] [--work DIR]
Pages: English main text of the evaluation corpus's first WARC files, one copy each of some of them with a share of its
words edited: `replaced` by words of other pages at random places; `mixed`: replaced, deleted, or joined by another;
`block`: one run of words replaced. A copy is found if it is in one group with its page. Precision: of a random 200
documents that are dropped, the share that has at least 0.7 of its words in common with the one that stays, in order
(`crawl/judge.py`). FineWeb (arXiv:2406.17557): 14 bands of 8 rows over 5-grams of words, no check of a pair; its
normalisation is ours here.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arriero.data.duplicates import NO_EDGES, Groups, band_edges, components, decide_exact, decide_near
from arriero.data.engine import minhash
from arriero.data.extract import main_text
from arriero.data.fingerprints import BANDS, FINGERPRINTS, fingerprints, spaced
from arriero.data.language import identify
from crawl.judge import ALIKE, likeness
from crawl.write import SEED, build_corpus
from data_speed import html_pages

RATES = (0.05, 0.10, 0.20, 0.30)
FINEWEB_BANDS, FINEWEB_ROWS, FINEWEB_NGRAM = 14, 8, 5
JUDGED = 200
Edit = Callable[[list[str], float, Sequence[str], random.Random], list[str]]


def replaced(words: list[str], rate: float, pool: Sequence[str], draw: random.Random) -> list[str]:
    places = set(draw.sample(range(len(words)), round(rate * len(words))))
    return [draw.choice(pool) if place in places else word for place, word in enumerate(words)]


def mixed(words: list[str], rate: float, pool: Sequence[str], draw: random.Random) -> list[str]:
    places = set(draw.sample(range(len(words)), round(rate * len(words))))
    edited: list[str] = []
    for place, word in enumerate(words):
        how = draw.randrange(3) if place in places else None
        edited += {None: [word], 0: [draw.choice(pool)], 1: [], 2: [word, draw.choice(pool)]}[how]
    return edited


def block(words: list[str], rate: float, pool: Sequence[str], draw: random.Random) -> list[str]:
    size = round(rate * len(words))
    start = draw.randrange(len(words) - size + 1)
    return [*words[:start], *draw.choices(pool, k=size), *words[start + size :]]


EDITS: dict[str, Edit] = {"replaced": replaced, "mixed": mixed, "block": block}


def groups_ours(folder: Path, texts: Sequence[str]) -> tuple[Groups, pa.Table]:
    """The groups, and the decisions on their documents, as data.build makes them."""
    table = fingerprints(pa.chunked_array([texts], pa.large_string()))
    sizes = [len(text.encode()) for text in texts]
    known = {"id": [str(n) for n in range(len(texts))], "source": ["web"] * len(texts), "bytes": sizes}
    columns = {name: pa.array(values) for name, values in known.items()} | {"heldout": pa.array([False] * len(texts))}
    file = folder / "prints.parquet"
    pq.write_table(pa.table(columns | {name: table[name] for name in FINGERPRINTS.names}), file)
    nobody, edges = np.zeros(0, np.int64), [NO_EDGES]
    for band in range(BANDS):
        edges.append(band_edges([file], band, 0, 1, nobody))
    groups = components(np.concatenate(edges))
    return groups, decide_near([file], groups, {"web": 1.0})


def groups_fineweb(folder: Path, texts: Sequence[str]) -> tuple[Groups, pa.Table]:
    words = spaced(pc.utf8_lower(pa.array(texts, pa.large_string())))
    signature = minhash(words, FINEWEB_BANDS * FINEWEB_ROWS, FINEWEB_NGRAM, 1)
    edges = [NO_EDGES]
    for band in np.split(signature, FINEWEB_BANDS, axis=1):
        _, first, group = np.unique(band, axis=0, return_index=True, return_inverse=True)
        leaders = first[group.reshape(-1)]
        rows = np.flatnonzero(leaders != np.arange(len(texts)))
        edges.append(np.stack([leaders[rows], rows], axis=1))
    groups = components(np.concatenate(edges))
    # All but the first by the keep rule go, whatever they have in common with it.
    return groups, decide_exact([folder / "prints.parquet"], groups, {"web": 1.0})


def labels(groups: Groups, count: int) -> np.ndarray:
    of_all = np.arange(count)
    of_all[groups.numbers] = groups.labels
    return of_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/bench/debian"), help="packages, fetched and unpacked")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/data"), help="the evaluation corpus")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--pages", type=int, default=4000)
    parser.add_argument("--copies", type=int, default=100, help="of each rate and way of editing")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    build_corpus(args.cache, args.work)
    draw = random.Random(args.seed)
    files = sorted((args.work / "corpus" / "web").glob("*.warc.gz"))[: args.files]
    found = (main_text(page) for _, page in html_pages(files))
    pages = list(islice((text for text in found if len(text) > 500 and identify(text, 0.5) == "en"), args.pages))
    pool = [word for text in pages for word in text.split()]
    cases = [(how, rate) for how in EDITS for rate in RATES for _ in range(args.copies)]
    owners = [draw.randrange(len(pages)) for _ in cases]
    copies = [
        " ".join(EDITS[how](pages[owner].split(), rate, pool, draw))
        for (how, rate), owner in zip(cases, owners, strict=True)
    ]
    texts = [*pages, *copies]
    print(f"{len(pages)} pages, {sum(map(len, pages)) / 1e6:.1f} MB, {len(copies)} copies, seed {args.seed}\n")
    with TemporaryDirectory() as folder:
        made = {
            "ours": groups_ours(Path(folder), texts),
            "FineWeb's bands": groups_fineweb(Path(folder), texts),
        }
    print(f"| words edited | {' | '.join(f'{name}: {how}' for name in made for how in EDITS)} |")
    print("|---" * (1 + len(made) * len(EDITS)) + "|")
    of_all = {name: labels(groups, len(texts)) for name, (groups, _) in made.items()}
    for rate in RATES:
        cells = []
        for name in made:
            for how in EDITS:
                rows = [number for number, case in enumerate(cases) if case == (how, rate)]
                hits = sum(of_all[name][owners[n]] == of_all[name][len(pages) + n] for n in rows)
                cells.append(f"{hits} of {len(rows)}")
        print(f"| {rate:.0%} | {' | '.join(cells)} |")
    print()
    for name, (_, decided) in made.items():
        pairs = list(zip(decided["number"].to_pylist(), map(int, decided["detail"].to_pylist()), strict=True))
        real = [pair for pair in pairs if max(pair) < len(pages)]
        for what, all_of in (("dropped", pairs), ("real pages dropped for real pages", real)):
            some = draw.sample(all_of, min(JUDGED, len(all_of)))
            good = sum(likeness(texts[gone], texts[kept]) >= ALIKE for gone, kept in some)
            print(f"{name}: {len(all_of)} {what}; of {len(some)}, {good} share at least {ALIKE} with what stays")


if __name__ == "__main__":
    main()

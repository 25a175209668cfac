"""Recall and precision of the detectors of personal information, on planted cases in real text, and their speed.

python benchmarks/pii.py [--cases 400] [--seed 7] [--show]
Text: docstrings of the standard library and the installed packages' descriptions. Cases are random, valid by rules
written here a second time, and stand in sentences of varied form; as many hard negatives stand among them. A case
counts as found when exactly its characters are reported under its kind. What is found in the real text beside them is
printed with `--show`, to be judged by eye.
"""

import argparse
import ast
import importlib.metadata
import random
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arriero.data.pii import find_pii
from arriero.data.pii_detectors import Finding
from arriero.metrics.intervals import wilson
from planted.pii_cases import FORMS, PLAIN
from planted.pii_negatives import NEGATIVES


def real_texts() -> Iterator[str]:
    """Descriptions of the installed packages and docstrings of the standard library's modules."""
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: str(d.metadata["Name"])):
        text = str(distribution.metadata.get_payload() or distribution.metadata.get("Description") or "")
        if len(text) > 500:
            yield text
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        tree = ast.parse(path.read_text("utf-8", "replace"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        text = "\n\n".join(filter(None, map(ast.get_docstring, nodes)))
        if len(text) > 500:
            yield text


@dataclass(frozen=True)
class Planted:
    """`name` is the form's or the negative's; `kind` is empty for a negative; offsets in bytes."""

    name: str
    kind: str
    start: int
    end: int


def plant(text: str, cases: list[tuple[str, str, str, str]], rng: random.Random) -> tuple[str, list[Planted]]:
    """`text` with each case (name, kind, sentence, value) in a line of its own or behind one, at random places."""
    lines = text.split("\n")
    places = sorted(rng.randrange(len(lines) + 1) for _ in cases)
    out, planted, last = b"", [], 0
    for place, (name, kind, sentence, value) in zip(places, cases, strict=True):
        out += "".join(line + "\n" for line in lines[last:place]).encode()
        last = place
        before, after = sentence.split("{}")
        start = len(out) + len(before.encode())
        planted.append(Planted(name, kind, start, start + len(value.encode())))
        out += f"{before}{value}{after}\n".encode()
    return (out + "\n".join(lines[last:]).encode()).decode(), planted


@dataclass
class Counts:
    """What came of a run: per form cases and hits, per kind true and false findings, and examples of both errors."""

    cases: Counter[str]
    hits: Counter[str]
    true: Counter[str]
    false: Counter[str]
    missed: list[tuple[str, str]]
    wrong: list[tuple[str, str, str]]


def measure(texts: list[str], per_form: int, seed: int) -> Counts:
    """Plants `per_form` cases of every form and in all as many negatives, and compares what is found."""
    rng = random.Random(seed)
    cases = [(f.name, f.kind, rng.choice(f.sentences), f.make(rng)) for f in FORMS for _ in range(per_form)]
    names = sorted(NEGATIVES)
    for _ in range(len(cases)):
        name = rng.choice(names)
        cases.append((name, "", rng.choice(PLAIN), NEGATIVES[name](rng)))
    rng.shuffle(cases)
    counts = Counts(Counter(), Counter(), Counter(), Counter(), [], [])
    for number, text in enumerate(texts):
        mixed, planted = plant(text, cases[number :: len(texts)], rng)
        compare(mixed, planted, Counter(found_values(text, find_pii(text))), counts)
    return counts


def found_values(text: str, findings: list[Finding]) -> list[tuple[str, str]]:
    data = text.encode()
    return [(finding.kind, data[finding.start : finding.end].decode()) for finding in findings]


def compare(text: str, planted: list[Planted], unplanted: Counter[tuple[str, str]], counts: Counts) -> None:
    """A finding that is neither planted nor (`unplanted`) in the real text is false."""
    findings, data = find_pii(text), text.encode()
    exact = {(case.kind, case.start, case.end): case for case in planted if case.kind}
    hit = set()
    for finding, value in zip(findings, found_values(text, findings), strict=True):
        case = exact.get((finding.kind, finding.start, finding.end))
        touched = [c for c in planted if c.start < finding.end and finding.start < c.end]
        if case is not None:
            hit.add(case)
            counts.true[finding.kind] += 1
        elif touched or not unplanted[value]:
            # A part of a case of this kind is a wrong boundary: a miss, and no right finding either.
            counts.false[finding.kind] += 1
            counts.wrong.append((touched[0].name if touched else "real text", *value))
    for case in exact.values():
        counts.cases[case.name] += 1
        counts.hits[case.name] += case in hit
        if case not in hit:
            counts.missed.append((case.name, data[max(0, case.start - 20) : case.end + 12].decode(errors="replace")))


def table(counts: Counts) -> None:
    print(f"{'form':28} {'found':>11}  recall  95% interval")
    for form in FORMS:
        print(row(form.name, counts.hits[form.name], counts.cases[form.name]))
    print(f"\n{'kind':28} {'right':>11}  precision  95% interval")
    for kind in dict.fromkeys(form.kind for form in FORMS):
        print(row(kind, counts.true[kind], counts.true[kind] + counts.false[kind]))


def row(name: str, good: int, total: int) -> str:
    share = wilson(good, total)
    return f"{name:28} {good:5} /{total:5}  {share.mean:.3f}  {share.low:.3f} to {share.high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400, help="cases of every form")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--show", action="store_true", help="print misses, false findings, and findings in the real text"
    )
    args = parser.parse_args()
    texts = list(real_texts())
    size = sum(len(text.encode()) for text in texts)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        real = [(text, find_pii(text)) for text in texts]
        seconds.append(time.process_time() - started)
    print(f"{len(texts)} real texts, {size / 1e6:.2f} MB, {size / min(seconds) / 1e6:.0f} MB/s of CPU time")
    kinds = Counter(finding.kind for _, findings in real for finding in findings)
    print(f"findings in them: {dict(sorted(kinds.items()))}\n")
    counts = measure(texts, args.cases, args.seed)
    table(counts)
    if args.show:
        for title, rows in (("missed", counts.missed), ("false", counts.wrong)):
            print(f"\n{title}")
            for row in rows:
                print("  ", *map(repr, row))
        print("\nin the real text")
        for text, findings in real:
            data = text.encode()
            for finding in findings:
                print("  ", finding.kind, data[max(0, finding.start - 30) : finding.end + 15])


if __name__ == "__main__":
    main()

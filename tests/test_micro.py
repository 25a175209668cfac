"""The whole chain on `recipes/micro.toml`: reused, made stale field by field, traced, killed and resumed."""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from arriero.artifacts import Machine, Manifest
from arriero.cli.main import main
from arriero.corpus import read
from arriero.errors import ConfigError
from arriero.pipeline.plan import needed, plan_recipe
from arriero.pipeline.recipe import load_recipe
from arriero.pipeline.runs import Runs
from conftest import ROOT

RECIPE = ROOT / "recipes" / "micro.toml"
LABELS = [
    *("crawl", "questions", "corpus", "tokenizer", "shards", "pretrained", "chat", "sft"),
    *("v1-pairs", "v1-comparisons", "v1-helpfulness", "v1-safety", "v1-picks", "v1", "v2"),
    *("gatt-data", "gatt", "distill-data", "final", "evaluation"),
]
TRAINED = ("pretrained", "sft", "v1-helpfulness", "v1-safety", "v1", "v2", "gatt", "final")
# A checkpoint after every step, so that a killed stage goes on from its middle.
OFTEN = [word for label in TRAINED for word in ("--set", f"{label}.checkpoint_interval=0.001")]


def start(runs: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "arriero.cli.main", "run", str(RECIPE), "--runs", str(runs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--set", "machine.threads=1", *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(runs: Path, *more: str) -> str:
    """What a run to the end says."""
    process = start(runs, *more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def manifests(runs: Path) -> dict[str, Manifest]:
    found = Runs(runs)
    stages = found.load("micro").stages
    for id in stages.values():
        found.store.verify(id)
    return {label: found.store.artifact(id).manifest for label, id in stages.items()}


def what_counts(manifest: Manifest) -> dict[str, Any]:
    """All but times, and the operational field that these tests set."""
    config = {key: value for key, value in manifest.config.items() if key != "checkpoint_interval"}
    return {key: value for key, value in asdict(manifest).items() if key != "timings"} | {"config": config}


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("micro") / "runs"
    run(runs)
    return runs


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Verbs in this process set torch's threads to the machine's cores."""
    yield
    torch.set_num_threads(1)


def ids(*overrides: str) -> dict[str, str]:
    recipe = load_recipe(RECIPE, overrides)
    return {planned.label: planned.id for planned in plan_recipe(recipe, Machine())}


def test_a_second_run_makes_nothing(micro: Path) -> None:
    before = {label: manifest.timings for label, manifest in manifests(micro).items()}
    assert f"0 stages made, {len(LABELS)} reused." in run(micro, *OFTEN)
    assert {label: manifest.timings for label, manifest in manifests(micro).items()} == before


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("evaluation.kl_prompts=5", ["evaluation"]),
        ("distill-data.temperature=0.7", ["distill-data", "final", "evaluation"]),
        ("v1-safety.margin=large", ["v1-safety", "v1-picks", "v1", *LABELS[14:]]),
        ("sft.epochs=2", LABELS[7:]),
        ("chat.docs_words=13", LABELS[6:]),
        ("tokenizer.max_sentences=4000", ["tokenizer", "shards", "pretrained", *LABELS[7:]]),
        ("seed=2", [label for label in LABELS if label != "questions"]),
        ("sft.checkpoint_interval=1", []),
        ("machine.threads=2", []),
        ("ask=[]", []),
    ],
)
def test_a_field_makes_exactly_what_is_downstream_stale(micro: Path, override: str, stale: list[str]) -> None:
    made, planned = Runs(micro).load("micro").stages, ids(override)
    assert list(planned) == LABELS
    assert [label for label in LABELS if planned[label] != made[label]] == stale


@pytest.mark.parametrize("field", ["reference=sfft", "text_versions=['sfft']", "gatt_versions=['sfft']"])
def test_an_evaluation_of_an_unknown_version_is_refused_at_once(field: str) -> None:
    with pytest.raises(ConfigError, match=r"^evaluation: \w+ names 'sfft'"):
        ids(f"evaluation.{field}")


@pytest.mark.usefixtures("_one_thread")
def test_a_stage_alone_is_the_recipe_s(micro: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "shards", "--corpus", "micro:corpus", "--tokenizer", "micro:tokenizer"]
    settings = ["--set", "max_tokens=100000", "--set", "machine.dtype=float32"]
    assert main([*words, *settings, "--runs", str(micro)]) == 0
    assert capsys.readouterr().out.strip() == Runs(micro).load("micro").stages["shards"]


def test_lineage_names_every_ancestor_of_the_final_model(micro: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "lineage", "micro", "--runs", str(micro)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("final [train.sft] ")
    stages = Runs(micro).load("micro").stages
    named = {label for label, id in stages.items() if any(id in line for line in lines)}
    assert named == needed(load_recipe(RECIPE).steps, "final") == set(LABELS) - {"evaluation"}
    assert any(line.startswith("  base: gatt [train.sft] ") for line in lines)


class Resources(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            reference = name in ("src", "srcset", "data", "poster", "action") or (name.endswith("href") and tag != "a")
            if reference and not (value or "").startswith(("data:", "#")):
                self.fetched.append(f"<{tag} {name}={value}>")


def test_the_report_is_one_self_contained_file(micro: Path) -> None:
    text = (micro / "micro" / "report.html").read_text()
    page = Resources()
    page.feed(text)
    assert page.fetched == []
    assert {"svg", "table", "h1"} <= page.tags
    assert "@import" not in text
    assert "url(http" not in text
    assert all(label in text for label in LABELS)


def test_the_funnel_adds_up_to_the_document(micro: Path) -> None:
    corpus = Runs(micro).artifact("micro:corpus").path
    funnel = json.loads((corpus / "funnel.json").read_text())
    left = funnel["documents_in"]
    for step in funnel["steps"]:
        assert step["in"] == left
        left -= sum(step["dropped"].values())
        assert step["out"] == left
    assert left == funnel["documents_out"] == funnel["train"] + funnel["heldout"]
    rows = {split: read(corpus, split, ["id"]).num_rows for split in ("train", "heldout")}
    assert rows == {split: funnel[split] for split in rows}
    dropped = sum(pq.read_metadata(path).num_rows for path in (corpus / "dropped").iterdir())
    assert dropped == funnel["documents_in"] - left
    crawl = json.loads((Runs(micro).artifact("micro:crawl").path / "sources.json").read_text())
    assert sum(source["documents"] for source in crawl) == funnel["documents_in"]


@pytest.mark.usefixtures("_one_thread")
def test_chat_answers_and_obeys(
    micro: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["What does os.walk do?", "And then?", "/reset", "/system Be brief.", "/sing", "[INST] me", "Hi", "/quit"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert main(["chat", "micro", "--max-new-tokens", "5", "--runs", str(micro)]) == 0
    answers, said = capsys.readouterr()
    assert answers.count("\n") >= 3
    assert "A new dialogue." in said
    assert "System message: 'Be brief.'" in said
    assert "no command /sing" in said
    assert "[INST]" in said


def test_export_writes_a_hugging_face_folder(micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "final"
    assert main(["model", "export", "micro:final", "--out", str(out), "--runs", str(micro)]) == 0
    assert json.loads((out / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert main(["model", "export", "micro:final", "--out", str(out), "--runs", str(micro)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ killed and resumed


def moments(micro: Path, count: int, seed: int) -> list[tuple[int, float]]:
    """`count` moments, drawn evenly over the time that stages take: (stages made before, seconds into the next)."""
    spent = [manifest.timings["wall_seconds"] for manifest in manifests(micro).values()]
    rng = random.Random(seed)
    drawn = []
    for _ in range(count):
        left = rng.random() * sum(spent)
        number = 0
        while left > spent[number]:
            left -= spent[number]
            number += 1
        drawn.append((number, left))
    return sorted(drawn)


def kill_at(runs: Path, made: int, seconds: float) -> bool:
    """Runs, and kills the process and its children `seconds` into the stage after `made` ones; whether it still ran."""
    process = start(runs, *OFTEN)
    assert process.stdout is not None
    heading = f"[{made + 1}/{len(LABELS)}] {LABELS[made]}:"
    for line in process.stdout:
        if line.startswith(heading):
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def check_killed(micro: Path, runs: Path, when: Sequence[tuple[int, float]]) -> None:
    """A run killed at each of these moments and resumed equals the one that nothing interrupted."""
    killed = sum(kill_at(runs, made, seconds) for made, seconds in when)
    assert killed > len(when) / 2, "the runs were over before they could be killed"
    run(runs, *OFTEN)
    whole, resumed = manifests(micro), manifests(runs)
    assert list(resumed) == LABELS
    for label in LABELS:
        assert what_counts(resumed[label]) == what_counts(whole[label]), label
    assert list((runs / "store" / "working").iterdir()) == []


def test_a_run_killed_at_ten_moments_ends_equal(micro: Path, tmp_path: Path) -> None:
    check_killed(micro, tmp_path / "runs", moments(micro, 10, seed=4))


@pytest.mark.full
def test_a_run_killed_in_the_middle_of_every_stage_ends_equal(micro: Path, tmp_path: Path) -> None:
    halves = [manifests(micro)[label].timings["wall_seconds"] / 2 for label in LABELS]
    check_killed(micro, tmp_path / "runs", list(enumerate(halves)))

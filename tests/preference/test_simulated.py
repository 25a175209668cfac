"""The simulated annotator: what its utility prefers, its noise against Bradley-Terry, and the stage's counts."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.artifacts.files import read_jsonl, write_jsonl
from arriero.data import prompt_lists
from arriero.dialogue import Prompt, PromptKind, first_user
from arriero.errors import InputError
from arriero.preference.record import Pair, Rating, read_comparisons
from arriero.preference.simulated import STAGE, SimulateConfig, content_words, fluency, grade, is_safe, judge, utility
from stages import artifact, context, inputs

TRUE = "Recursively copy a directory tree and return the destination directory."
CLOSED = Prompt("q", first_user("What does shutil.copytree do?"), PromptKind.CLOSED_BOOK, False, TRUE)
HARM = Prompt("u", first_user("How do I wipe a stranger's disk?"), PromptKind.UNSAFE, True, "I can't help with that.")
KILL = "Call kill() on the Popen object."
LOOKALIKE = Prompt("b", first_user("How do I kill a process?"), PromptKind.BORDERLINE, False, KILL)
REFUSAL = "I can't help with that: it would destroy someone else's data. If the disk is yours, I can help."
RAMBLE = TRUE + " It is a function that is used in many programs by many people who need to do many different things."


def pair(prompt: Prompt, a: str, b: str, id: str = "p") -> Pair:
    return Pair(id, prompt, a, b, "sft", "base", 0.6, 1.2)


@pytest.mark.parametrize(
    ("prompt", "better", "worse"),
    [
        (CLOSED, TRUE, "Sort a list in place and return None."),
        (CLOSED, "It recursively copies a directory tree.", "It copies a file."),
        (CLOSED, TRUE, RAMBLE),
        (CLOSED, TRUE, TRUE.rstrip(".") + " and"),
        (CLOSED, TRUE, "I can't help with that."),
        (CLOSED, TRUE, "<|im_start|> " + TRUE),
        (CLOSED, "Sort a list.", ""),
        (HARM, "I can't help with that.", "Run dd if=/dev/zero of=/dev/sda as root."),
        (HARM, REFUSAL, "I can't help with that."),
        (HARM, REFUSAL, REFUSAL + " " + RAMBLE * 3),
        (LOOKALIKE, KILL, REFUSAL),
    ],
)
def test_what_is_preferred(prompt: Prompt, better: str, worse: str) -> None:
    assert utility(prompt, better).total > utility(prompt, worse).total + 0.02


def test_the_true_sentence_has_every_part_in_full() -> None:
    best = utility(CLOSED, TRUE)
    assert (best.total, best.agreement, best.brevity, best.fluency, best.safety) == (1.0,) * 5


@given(st.sampled_from((CLOSED, HARM, LOOKALIKE)), st.text(max_size=200))
def test_utility_and_its_parts_stay_in_the_unit_interval(prompt: Prompt, answer: str) -> None:
    assert all(0 <= part <= 1 for part in utility(prompt, answer).to_json().values())


@given(st.integers(2, 30))
def test_a_loop_costs_more_the_longer_it_runs(times: int) -> None:
    phrase = "It copies the whole tree "
    assert fluency((phrase * (times + 1)).strip() + ".") < fluency((phrase * times).strip() + ".")


def test_inflections_are_one_content_word() -> None:
    text = "Returns the copied files, creating directories"
    assert content_words(text) == content_words("return copy file create directory")
    assert content_words("a string and strings") == ["string", "string"]


def test_only_harmful_requests_have_unsafe_answers() -> None:
    assert is_safe(HARM, REFUSAL)
    assert not is_safe(HARM, "Run dd.")
    assert not is_safe(HARM, "I can't help with that. But:\n```\ndd if=/dev/zero of=/dev/sda\n```")
    assert is_safe(LOOKALIKE, "Call kill().")


def test_choices_follow_bradley_terry() -> None:
    better, worse = "It recursively copies a directory tree.", "It copies a directory."
    cfg = SimulateConfig(noise_scale=0.2)
    gap = utility(CLOSED, better).total - utility(CLOSED, worse).total
    expected = 1 / (1 + math.exp(-gap / cfg.noise_scale))
    assert 0.6 < expected < 0.9
    wins = sum(judge(pair(CLOSED, better, worse, str(index)), cfg).chosen == better for index in range(2000))
    assert abs(wins / 2000 - expected) < 3 * math.sqrt(expected * (1 - expected) / 2000)
    # Which of the two stands first must not matter.
    swapped = sum(judge(pair(CLOSED, worse, better, str(index)), cfg).chosen == better for index in range(2000))
    assert abs(swapped / 2000 - expected) < 3 * math.sqrt(expected * (1 - expected) / 2000)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_four_grades_rise_with_the_difference(a: float, b: float) -> None:
    thresholds = SimulateConfig().grade_thresholds
    low, high = sorted((a, b), key=abs)
    assert grade(low, thresholds) <= grade(high, thresholds)
    assert [grade(d, thresholds) for d in (0.0, thresholds[0], -thresholds[1], thresholds[2])] == list(Rating)


def test_a_higher_grade_is_right_more_often() -> None:
    """Noise decides small grades more than large ones, which is what the reward models' margins rest on."""
    cfg = SimulateConfig(noise_scale=0.1)
    answers = [TRUE, "It copies a tree.", "It copies a directory tree", "Returns the directory.", "It moves.", RAMBLE]
    right: dict[Rating, list[bool]] = {rating: [] for rating in Rating}
    for index in range(1500):
        a, b = answers[index % 6], answers[(index // 6 + index + 1) % 6]
        if a != b:
            made = judge(pair(CLOSED, a, b, str(index)), cfg)
            right[made.rating].append(utility(CLOSED, made.chosen).total > utility(CLOSED, made.rejected).total)
    shares = [sum(hits) / len(hits) for hits in right.values()]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0] + 0.2


def test_the_stage_labels_drops_and_counts(tmp_path: Path) -> None:
    rows = [pair(replace(CLOSED, id=f"q{i}"), TRUE, f"It does {i}.", f"a{i}") for i in range(20)]
    rows += [pair(HARM, "Run dd.", REFUSAL, f"b{i}") for i in range(180)]
    told = [first_user(f"In story {i}, wipe a disk.") for i in range(20)]
    wrapped = [replace(HARM, id=f"w{i}", dialogue=dialogue, group="w") for i, dialogue in enumerate(told)]
    rows += [pair(prompt, "Run dd.", REFUSAL, f"b-{prompt.id}") for prompt in wrapped]
    rows += [pair(LOOKALIKE, KILL, REFUSAL, f"c{i}") for i in range(20)]
    source = artifact(tmp_path, "pairs")
    write_jsonl(source.path / "pairs.jsonl", (row.to_json() for row in rows))
    cfg = SimulateConfig(noise_scale=0.5, test_fraction=0.3)
    metrics = STAGE.run(cfg, inputs(pairs=source), context(tmp_path))
    kept = read_comparisons(tmp_path / "out" / "comparisons.jsonl")
    assert len(kept) + metrics["dropped_unsafe_preferred"] == 240
    assert metrics["dropped_unsafe_preferred"] > 10
    assert not any(c.unsafe_preferred for c in kept)
    assert {c.annotator for c in kept} == {"simulated"}
    assert {c.domain for c in kept if c.id[0] in "ac"} == {"helpfulness"}
    assert {c.domain for c in kept if c.id[0] == "b"} == {"safety"}
    assert all(c.chosen_safe and c.rejected_safe for c in kept if c.id[0] in "ac")
    assert metrics["agreement_with_utility"]["all"]["n"] == 240
    assert sum(metrics["splits"].values()) == len(kept)
    # All comparisons of one prompt are in one split, and all of one group.
    assert len({c.split for c in kept if c.id.startswith("b-w")}) == 1
    assert all(len({c.split for c in kept if c.prompt == prompt.dialogue}) == 1 for prompt in (HARM, LOOKALIKE, CLOSED))


def test_a_prompt_without_a_true_answer_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"prompt 'q' has no reference.*people's comparisons"):
        judge(pair(replace(CLOSED, reference=""), "a", "b"), SimulateConfig())


def test_the_hand_written_refusals_are_seen_to_refuse_explain_and_offer_a_safe_way() -> None:
    """The lists that refusals are put together from, and the patterns that judge them, must not drift apart."""
    rows = [row for _, row in read_jsonl(prompt_lists.FOLDER / "unsafe.jsonl")]
    openings, reasons, offers = (
        [row["text"] for row in rows if row["part"] == part] for part in ("opening", "reason", "alternative")
    )
    assert all(utility(HARM, opening).safety == 0.5 for opening in openings)
    explained = [utility(HARM, f"{openings[0]} {reason}").safety == 0.75 for reason in reasons]
    whole = [utility(HARM, f"{openings[0]} {reasons[0]} {offer}").safety == 1.0 for offer in offers]
    assert sum(explained) >= 0.95 * len(reasons)
    assert sum(whole) >= 0.95 * len(offers)

"""The report of a made-up run: whole, self-contained, the same every time, honest about what is missing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import PPO_METRICS, VERSIONS, synthetic_run

from arriero.report import sections_alignment
from arriero.report.build import build_report, page
from arriero.report.figures import smoothed
from arriero.report.figures_versions import density
from arriero.report.lineage import rails
from arriero.report.view import RunView

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Collects ids, links, headings, figures with their caption, and what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.fetched: list[str] = []
        self.captions: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for name in ("href", "src", "xlink:href"):
            if given.get(name):
                (self.targets if str(given[name]).startswith("#") else self.fetched).append(str(given[name]))
        if tag == "figcaption":
            self.captions.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "figcaption" in self.open:
            self.captions[-1] += data


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(synthetic_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    outline = Outline()
    outline.feed(html)
    return outline


def test_it_is_well_formed_and_fetches_nothing(html: str, outline: Outline) -> None:
    assert not outline.open
    assert not outline.fetched
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", html)
    assert len(outline.ids) == len(set(outline.ids))
    assert {target[1:] for target in outline.targets} <= set(outline.ids)


def test_every_figure_states_its_n_and_what_its_bars_are(html: str, outline: Outline) -> None:
    figures = [caption for caption in outline.captions if caption.startswith("Figure ")]
    assert [int(re.findall(r"\d+", caption)[0]) for caption in figures] == list(range(1, len(figures) + 1))
    assert len(figures) == 15
    for caption in figures:
        assert re.search(r"n = .*\d", caption)
        assert re.search(r"95%|interval|stages", caption), caption
    assert any("24 held-out dialogues for each version, of which 19 reach turn 6" in caption for caption in figures)
    assert any("unsafe compliance: 24 prompts of 12 requests; false refusal: 24 prompts" in c for c in figures)
    assert html.count("<svg") == html.count('role="img"') == len(re.findall(r"<svg[^>]*><title>[^<]{20,}", html)) == 15


def test_whatever_the_run_holds_is_text_and_never_markup(html: str) -> None:
    assert "<b>&amp;" not in html
    assert "(0) &lt;b&gt;&amp;" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_every_version_answers_and_the_annotator_is_called_simulated(html: str) -> None:
    start = html.index('id="answers"')
    part = html[start : html.index("</section>", start)]
    assert part.count('<article class="exchange">') == 15  # three of each of five kinds
    for version in VERSIONS:
        assert part.count(f"<dt>{version}") == 15
    assert "An unsafe request" in part
    assert len(re.findall("annotator", html)) > 8
    assert not re.search(r"(?<!simulated )annotator", re.sub(r"\s+", " ", html))


def test_the_headline_says_when_a_figure_may_be_chance(html: str) -> None:
    facts = re.findall(r'<div class="fact (sure|unsure)">(.*?)(?=<div class="fact |<p>)', html, re.DOTALL)
    assert len(facts) == 8
    for kind, text in facts:
        assert ("not clear of zero" in text) == (kind == "unsure")
    assert {kind for kind, _ in facts} == {"sure", "unsure"}


def test_it_says_which_policy_ppo_kept_and_that_it_may_be_the_start(html: str) -> None:
    assert "v2 is the policy after iteration 40, the best on 64 prompts of 60 requests" in html
    kept = sections_alignment._kept("v2", PPO_METRICS | {"best_iteration": 0})
    assert kept.endswith("(mean reward +0.000), so v2 is the model that PPO started from.")


def test_it_shows_what_the_gate_costs_on_harmless_prompts(html: str) -> None:
    start = html.index("Harmless prompts: answers below")
    assert html[start : html.index("</table>", start)].count('<td class="number">2% (7 of 300) [1%, 5%]</td></tr>') == 2


def test_sections_without_their_stage_are_named_and_the_rest_stands(tmp_path: Path) -> None:
    gone = ("rlhf.ppo", "rlhf.rejection_sampling", "safety.context_distillation")
    html = page(synthetic_run(tmp_path, without=gone, prompts=3))
    missing = html[html.index('id="missing"') :]
    for stage in gone:
        assert f"needs {stage}." in missing
    assert 'id="ppo"' not in html
    assert 'id="win-rate"' in html
    assert html.count("<figcaption><b>Figure") == 13


def test_a_run_that_only_built_a_corpus_has_a_report(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path)
    few = {label: run.stages[label] for label in ("crawl", "corpus")}
    html = page(RunView(run.name, {"name": run.name}, run.toml, few))
    assert 'id="funnel"' in html
    assert "Win rates: needs eval.run" in html


def test_building_gives_the_same_bytes(tmp_path: Path, html: str) -> None:
    run = synthetic_run(tmp_path / "again")
    build_report(run, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text == html
    assert str(tmp_path) not in text


def test_density_is_one_in_area_and_near_scipys() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    at = np.linspace(-12, 14, 800)
    ours = density(values, at)
    assert np.trapezoid(ours, at) == pytest.approx(1, abs=1e-3)
    theirs = stats.gaussian_kde(values, bw_method=0.9 * 400**-0.2)(at)
    assert np.abs(ours - theirs).max() < 0.05 * theirs.max()
    assert np.isfinite(density([0.5, 0.5, 0.5], at)).all()  # every answer scored alike


def test_the_running_mean_keeps_lines_and_levels_noise() -> None:
    line = np.arange(100.0)
    assert smoothed(line)[10:90] == pytest.approx(line[10:90])
    noise = np.random.default_rng(1).normal(size=1000)
    assert np.std(smoothed(noise)) < 0.25 * np.std(noise)
    assert smoothed([3.0]).tolist() == [3.0]


def test_rails_that_share_rows_are_apart_and_each_goes_on_to_its_last_use() -> None:
    sources = {"a": [], "b": [], "c": ["a"], "d": ["c", "b"], "e": ["a", "d"], "f": ["e"], "g": ["f", "b"]}
    row = {label: number for number, label in enumerate(sources)}
    chosen = rails(sources)
    assert set(chosen) == {"a", "b", "c", "d", "e", "f"}  # nothing takes g
    spans = {label: (row[label], max(row[user] for user in sources if label in sources[user])) for label in chosen}
    for one in chosen:
        for other in chosen:
            if one != other and chosen[one] == chosen[other]:
                assert spans[one][1] < spans[other][0] or spans[other][1] < spans[one][0]
    assert max(chosen.values()) == 3

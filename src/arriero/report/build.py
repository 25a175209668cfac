"""Builds the report of a run: one HTML file that needs nothing beside itself."""

from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from arriero.artifacts.files import write_atomic
from arriero.report.page import Section
from arriero.report.sections_alignment import (
    distillation_section,
    gatt_section,
    ppo_section,
    rejection_section,
    reward_section,
)
from arriero.report.sections_data import (
    bits_section,
    funnel_section,
    loss_section,
    mixture_section,
    proxies_section,
)
from arriero.report.sections_run import card_section, cost_section, lineage_section, recipe_section
from arriero.report.sections_versions import (
    answers_section,
    distributions_section,
    safety_section,
    utility_section,
    win_rate_section,
)
from arriero.report.summary import summary_section
from arriero.report.view import RunView

# In the order of the page. A section is a function of the run; one that finds no stage to draw on says which.
SECTIONS = (
    summary_section,
    funnel_section,
    mixture_section,
    proxies_section,
    loss_section,
    bits_section,
    reward_section,
    rejection_section,
    ppo_section,
    utility_section,
    distributions_section,
    win_rate_section,
    safety_section,
    gatt_section,
    distillation_section,
    answers_section,
    lineage_section,
    cost_section,
    card_section,
    recipe_section,
)


class _Count:
    """Numbers figures and tables as the template comes to them."""

    def __init__(self) -> None:
        self._figures = self._tables = 0

    def figure(self) -> int:
        self._figures += 1
        return self._figures

    def table(self) -> int:
        self._tables += 1
        return self._tables


def build_report(run: RunView, path: Path) -> None:
    """Writes the report of `run` to `path`. Sections whose stage the run lacks are named at its end.

    Raises InputError if a file of a finished stage is damaged.
    """
    write_atomic(path, page(run))


def page(run: RunView) -> str:
    """The whole report as HTML; the same run gives the same text."""
    sections: list[Section] = [section(run) for section in SECTIONS]
    folder = resources.files("arriero.report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=f"{run.name} · Arriero run report",
        name=run.name,
        subtitle=f"{len(run.stages)} stages, from raw text to evaluation",
        css=Markup((folder / "style.css").read_text(encoding="utf-8")),
        shown=[section for section in sections if not section.missing],
        missing=[section for section in sections if section.missing],
        count=_Count(),
    )

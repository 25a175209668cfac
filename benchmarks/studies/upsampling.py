"""Draws what up-sampling the factual source does to recall, from the run of upsampling.toml beside this file.

python benchmarks/studies/upsampling.py [--runs runs] [--out docs]
"""

import argparse
from pathlib import Path

from workshop import save

from arriero.artifacts.files import read_json
from arriero.pipeline.runs import Runs
from arriero.report.figures_proxies import plotted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    parser.add_argument("--out", type=Path, default=Path("build/studies"), help="folder of the figure and its numbers")
    given = parser.parse_args()
    proxies = Runs(given.runs).artifact("upsampling:proxies", "proxies")
    results = read_json(proxies.path / "results.json")
    save(results, plotted(results), given.out, "data-upsampling")


if __name__ == "__main__":
    main()

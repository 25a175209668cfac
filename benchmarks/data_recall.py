"""What data.build finds of cases planted in a real corpus, and how much of what it finds is one.

python benchmarks/data_recall.py [--cache DIR] [--work DIR] [--corpus DIR] [--show]
The corpus is made of Debian's documentation packages (`crawl/`), the cases by `planted/`. A case counts where the step
that should find it got to see it: a document that an earlier step dropped is no case of a later one ("not reached").
What a step found beside the planted cases is judged by a plain definition written here a second time where there is
one (copies, leaks), and is printed with `--show`, a random 50 of each kind, for a reader's judgement. Intervals: 95%, Wilson.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.metrics.intervals import wilson
from crawl.scoring import Outcome, read_outcome, score
from crawl.write import build_corpus

"""From multi-head to grouped-query attention in small: which pooling is best, and what training afterwards mends.

python benchmarks/studies/grouping.py [--runs runs] [--run quickstart] [--out docs]
A Llama of about 1.3M parameters with 8 key/value heads is trained on the run's text, then left 2 heads or 1 by each
way of pooling and trained on for a share of its tokens. The same model, ungrouped and trained on as long, shows what
the further tokens alone bring. Source: arXiv:2305.13245, whose figure 4 and section 3.3 are about models of 11B.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from workshop import MULTI_HEAD, Workshop, mean_and_spread, options, save

from arriero.artifacts import Artifact
from arriero.model.checkpoint import stored_model
from arriero.report.style import COLOURS, DASHES, FAINT, MARKERS, axes, drawing

POOLINGS = ("mean", "first", "random")
STEM = "model-grouping"


def alikeness(base: Artifact) -> dict[str, float]:
    """Mean cosine between two key heads, and between two value heads, of one layer, as weights: 1 if they are equal."""
    config, weights = stored_model(base)
    found = {}
    for name in ("wk", "wv"):
        layers = [weights[f"layers.{layer}.attention.{name}.weight"].read() for layer in range(config.n_layers)]
        heads = F.normalize(torch.stack(layers).view(config.n_layers, config.n_kv_heads, -1), dim=2)
        pairs = heads @ heads.mT
        off_diagonal = ~torch.eye(config.n_kv_heads, dtype=torch.bool)
        found[name] = pairs[:, off_diagonal].mean().item()
    return found


def measured(shop: Workshop, given: Any) -> dict[str, Any]:
    """Bits per byte by heads, pooling and share, over seeds; `ungrouped` by share."""
    ungrouped: dict[float, list[float]] = {share: [] for share in given.shares}
    grouped: dict[tuple[int, str, float], list[float]] = {}
    cosines: dict[str, list[float]] = {"wk": [], "wv": []}
    for seed in range(1, given.seeds + 1):
        base = shop.new(MULTI_HEAD, given.tokens, given.lr, seed)
        for name, cosine in alikeness(base).items():
            cosines[name].append(cosine)
        for share in given.shares:
            more = round(share * given.tokens)
            after = base if more == 0 else shop.trained_on(base, more, given.uptraining_lr, seed)
            ungrouped[share].append(shop.bits_per_byte(after))
        print(f"seed {seed}: trained, {ungrouped[0.0][-1]:.4f} bits per byte", flush=True)
        for heads in given.heads:
            for pooling in POOLINGS:
                small = shop.grouped(base, heads, pooling, seed)
                for share in given.shares:
                    more = round(share * given.tokens)
                    after = small if more == 0 else shop.trained_on(small, more, given.uptraining_lr, seed)
                    found = shop.bits_per_byte(after)
                    grouped.setdefault((heads, pooling, share), []).append(found)
                    print(f"  {heads} of 8 heads, {pooling}, {share:.0%}: {found:.4f}", flush=True)
    return {
        "tokens": given.tokens,
        "seeds": given.seeds,
        "lr": given.lr,
        "uptraining_lr": given.uptraining_lr,
        "dtype": shop.machine.dtype,
        "cosine_between_heads": {name: mean_and_spread(values) for name, values in cosines.items()},
        "ungrouped": [{"share": share} | mean_and_spread(values) for share, values in ungrouped.items()],
        "grouped": [
            {"kv_heads": heads, "pooling": pooling, "share": share} | mean_and_spread(values)
            for (heads, pooling, share), values in grouped.items()
        ],
    }


def drawn(results: dict[str, Any]) -> Figure:
    """A panel for each number of heads: bits per byte over the share of tokens trained on afterwards."""
    heads = sorted({row["kv_heads"] for row in results["grouped"]}, reverse=True)
    with drawing():
        figure, panels = axes(3.4, len(heads), sharey=True, squeeze=False)
        for ax, kept in zip(panels[0], heads, strict=True):
            lines = {"ungrouped": results["ungrouped"]} | {
                pooling: [row for row in results["grouped"] if (row["kv_heads"], row["pooling"]) == (kept, pooling)]
                for pooling in POOLINGS
            }
            for number, (name, rows) in enumerate(lines.items()):
                colour = FAINT if name == "ungrouped" else COLOURS[number - 1]
                style = {"color": colour, "marker": MARKERS[number], "linestyle": DASHES[number]}
                shares, means = [100 * row["share"] for row in rows], [row["mean"] for row in rows]
                spread = np.array([row["stdev"] or 0.0 for row in rows])
                label = "all 8 heads, trained on as long" if name == "ungrouped" else name
                ax.errorbar(shares, means, yerr=spread, capsize=2.5, label=label, **style)
            ax.set_title(f"8 key/value heads to {kept}")
            ax.set_xlabel("further training, % of the first training's tokens")
        panels[0][0].set_ylabel("held-out bits per byte")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def main() -> None:
    parser = options(__doc__, STEM)
    parser.add_argument("--heads", type=int, nargs="+", default=[2, 1], help="key/value heads that are left of 8")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.05, 0.1], help="of the tokens, afterwards")
    parser.add_argument("--uptraining-lr", type=float, default=1e-3, help="peak learning rate afterwards")
    given = parser.parse_args()
    results = measured(Workshop(given), given)
    save(results, drawn(results), given.out, STEM)


if __name__ == "__main__":
    main()

"""Draws a bar chart of one bench/out/run-*.json: what wgpy has of wireguard-go, row by row.

    python bench/chart.py bench/out/run-DATE.json docs/speed.png

A bar is the median of the pairs' ratios, its line reaches from the least to the greatest. Needs matplotlib
(pip install -e '.[bench]').
"""

import json
import statistics
import sys
from pathlib import Path

from run import ratios

# What a reader asks for first; in the units' sense more is better, or less.
SHOWN = {
    ("TCP, one stream", "Gbit/s"): "TCP, one stream",
    ("TCP, four streams", "Gbit/s"): "TCP, four streams",
    ("TCP, both ways", "Gbit/s"): "TCP, both ways",
    ("TCP, no UDP segmentation", "Gbit/s"): "TCP, path without UDP segmentation",
    ("UDP, 64 bytes", "packets/s below 1 % loss"): "UDP 64 bytes, below 1 % loss",
    ("UDP, 1392 bytes", "packets/s below 1 % loss"): "UDP 1392 bytes, below 1 % loss",
    ("UDP, 64 bytes", "packets/s delivered in overload"): "UDP 64 bytes, overload",
    ("flood ping", "mean us"): "flood ping, mean (less is better)",
    ("TCP, one stream", "CPU s/GB"): "CPU per GB (less is better)",
    ("resident memory", "MiB"): "memory (less is better)",
}


def rows(report: dict) -> list[tuple[str, list[float]]]:
    """Label and ratios of the pairs, in the order shown."""
    ours, theirs = report["contestants"][:2]
    found = {(row["trial"], row["figure"]): row["values"] for row in report["results"]}
    shown = [(label, found[key]) for key, label in SHOWN.items() if key in found]
    return [(label, ratios(values[ours], values[theirs])) for label, values in shown]


def draw(report: dict, target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [(label, pairs) for label, pairs in rows(report) if pairs][::-1]
    middles = [statistics.median(pairs) for _, pairs in found]
    reach = [
        [middle - min(pairs) for middle, (_, pairs) in zip(middles, found, strict=True)],
        [max(pairs) - middle for middle, (_, pairs) in zip(middles, found, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(found) + 1))
    bars = axes.barh([label for label, _ in found], middles, xerr=reach, color="#4878a8", ecolor="#333333")
    axes.bar_label(bars, [f"{middle:.2f} ×" for middle in middles], padding=12, fontsize=8)
    axes.axvline(1.0, color="#aa3333", linewidth=1)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    about = report["about"]
    axes.set_title(
        f"wgpy / {report['contestants'][1]}: {about['machine']}, Linux {about['kernel']}", fontsize=9
    )
    figure.savefig(target, dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

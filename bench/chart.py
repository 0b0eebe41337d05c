"""Draws a bar chart of one bench/out/run-*.json: what wgpy has of wireguard-go, row by row.

    python bench/chart.py [RUN.json] [PNG]          the newest run, beside it, where nothing is said

A bar is the median of the pairs' ratios, its line reaches from the least to the greatest. Needs matplotlib
(pip install -e '.[bench]'; `make chart` sees to it).
"""

import json
import statistics
import sys
from pathlib import Path

from report import OUT, ratios

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


def main() -> int:
    sources = [Path(word) for word in sys.argv[1:] if word.endswith(".json")]
    sources = sources or [path for path in sorted(OUT.glob("run-*.json")) if is_whole(path)]
    if not sources:
        print("chart: there is no whole run yet: make bench", file=sys.stderr)
        return 1
    source = sources[-1]
    targets = [Path(word) for word in sys.argv[1:] if word.endswith(".png")] or [source.with_suffix(".png")]
    draw(json.loads(source.read_text()), targets[0])
    print(f"drawn: {targets[0]}, of {source.name}")
    return 0


def is_whole(path: Path) -> bool:
    """Of us beside wireguard-go, most of the rows."""
    report = json.loads(path.read_text())
    return report["contestants"][:2] == ["wgpy", "wireguard-go"] and len(rows(report)) * 2 > len(SHOWN)


if __name__ == "__main__":
    sys.exit(main())

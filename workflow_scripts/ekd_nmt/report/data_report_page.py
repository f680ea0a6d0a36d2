"""The page of a data report: text, tables and plots in one self-contained HTML file.

Plots are SVG, coloured by the page's style sheet, so they follow the reader's light or dark scheme and print well.
Equal facts give equal bytes.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from ekd_nmt.config.types import SPLITS

# matplotlib reports that it builds its font cache
logging.getLogger("matplotlib").setLevel(logging.ERROR)

CORPORA = ("raw", "tok", "bpe")
STAGES = ("before", "after", "bpe")  # of a sentence's length: tokens before and after filtering, subword pieces
UNKNOWN_RATE = 0.01  # of the tokens of a split; more gives a warning
REASONS = {"ratio": "ratio of lengths", "script": "other script", "language": "other language"}

MOST_BINS = 60
LOG_FROM = 100  # times the smallest bar, from which a linear axis would hide it
WIDTH = 4.8  # inches, at which the text of a plot is legible on a phone
COLOURS = {  # drawn by matplotlib → replaced on the page
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--kept)",
    "#040404": "var(--dropped)",
}
INK, FAINT, KEPT, DROPPED = COLOURS
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so the layout is the same everywhere
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "data report",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}

Facts = dict[tuple[str, str, str, str], Any]  # (step, split, language, measure) → number or text
Histogram = dict[int, int]  # length → sentences, ascending
Histograms = dict[tuple[str, str, str], Histogram]  # (split, language, stage) → lengths


class Limits(NamedTuple):
    """Limits of the length filter of the training data; ``None`` is not applied."""

    min_tokens: int | None = None
    max_tokens: int | None = None
    max_ratio: float | None = None


def quantile(histogram: Histogram, thousandths: int) -> int:
    """The quantile of a histogram by nearest rank: at least this share of the sentences is no longer."""
    rank = thousandths * sum(histogram.values())
    ranks = zip(histogram, accumulate(histogram.values()), strict=True)
    return next(length for length, sentences in ranks if 1000 * sentences >= rank)


def length_facts(histograms: Histograms) -> Facts:
    """Mean, median, 95th percentile and longest of each histogram."""
    facts: Facts = {}
    for (split, language, stage), histogram in histograms.items():
        total = sum(length * count for length, count in histogram.items())
        facts["lengths", split, language, f"mean {stage}"] = total / sum(histogram.values())
        facts["lengths", split, language, f"median {stage}"] = quantile(histogram, 500)
        facts["lengths", split, language, f"95th percentile {stage}"] = quantile(histogram, 950)
        facts["lengths", split, language, f"longest {stage}"] = max(histogram)
    return facts


def warnings(facts: Facts) -> list[str]:
    """What the user should know before training, one line each."""
    found = []
    for other in SPLITS[1:]:
        shared = {key: value for key, value in facts.items() if key[:2] == ("overlap", f"train-{other}") and value}
        if shared:
            counts = ", ".join(f"{value:,} {f'in {key[2]}' if key[2] else 'as pairs'}" for key, value in shared.items())
            found.append(
                f"train and {other} overlap, lines of train that are in {other} too: {counts}; scores on them flatter, "
                "so drop them from the training data, or say so beside the scores"
            )
    for (step, split, language, measure), value in facts.items():
        where = f"{step}, {split or 'whole corpus'}"
        if measure == "unknown rate" and value > UNKNOWN_RATE:
            found.append(
                f"{where} in {language}: {value:.1%} of the tokens are unknown to the dictionary; "
                "check that all splits are prepared and segmented alike"
            )
        if measure == "expected" and value != (lines := facts[step, split, "", "lines_out"]):
            found.append(f"{where}: {lines:,} lines, but {value:,} are published; scores may not compare with others'")
    return found


def steps(facts: Facts) -> list[tuple[str, str]]:
    """(step, split) of all line counts, in order."""
    return [(step, split) for step, split, _, measure in facts if measure == "lines_in"]


def counts_of(facts: Facts, step: str, split: str, kind: str) -> dict[str, int]:
    """Counts of one step and split by name; ``kind`` is ``dropped`` or ``part``."""
    return {
        key[3].removeprefix(f"{kind}: "): value
        for key, value in facts.items()
        if key[:2] == (step, split) and key[3].startswith(f"{kind}: ")
    }


def reason(name: str) -> str:
    """A reason to drop a pair, as the page shows it."""
    return REASONS.get(name, name.replace("_", " "))


def losses(facts: Facts) -> tuple[int, list[tuple[str, int]], int]:
    """The losses of the training data: lines at first, (step and reason, lines) of each loss, lines at last."""
    way = [key for key in steps(facts) if key[1] == ""] + [key for key in steps(facts) if key[1] == "train"]
    first = present = facts[*way[0], "", "lines_in"]
    found = []
    for step, split in way:
        lines_in = facts[step, split, "", "lines_in"]
        if lines_in != present:
            found.append((f"{step}: valid and test", present - lines_in))
        dropped = counts_of(facts, step, split, "dropped")
        found += [(f"{step}: {reason(name)}", count) for name, count in dropped.items() if count]
        present = facts[step, split, "", "lines_out"]
    return first, found, present


class Bins(NamedTuple):
    """Bins of a histogram: one for length 0, the next ``width`` wide up to ``last``, then one for the rest."""

    width: int
    last: int

    def counts(self, histogram: Histogram) -> list[int]:
        """Sentences in each bin."""
        counts = [0] * (self.last // self.width + 2)
        for length, sentences in histogram.items():
            counts[min(-(-length // self.width), len(counts) - 1)] += sentences
        return counts


def choose_bins(histogram: Histogram, limit: int | None) -> Bins:
    """Bins for lengths with a long tail: up to the limit, or without one up to the quantile 0.999.

    If possible a bin ends at the limit, so that no bin mixes lengths that are kept with others.
    """
    longest = max(histogram)
    end = min(longest, limit) if limit else quantile(histogram, 999)
    if limit and longest < limit <= 2 * longest:
        end = limit
    elif not limit and longest <= 1.5 * end:
        end = longest
    end = max(end, 1)
    least = -(-end // MOST_BINS)
    width = next((width for width in range(least, 2 * least) if end % width == 0), least)
    return Bins(width, -(-end // width) * width)


def thousands(value: float, position: object = None) -> str:
    """``12,345``; the second argument is what matplotlib passes to a formatter."""
    return f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")


def draw_lengths(series: dict[str, Histogram], limits: Limits, unit: str) -> Figure:
    """Overlaid histograms: the last one filled, the others as outlines, and the limits as dashed lines."""
    bins = choose_bins(next(iter(series.values())), limits.max_tokens)
    heights = {label: bins.counts(histogram) for label, histogram in series.items()}
    start = 0 if any(counts[0] for counts in heights.values()) else 1
    edges = [0.5 + bins.width * (number - 1) for number in range(start, len(next(iter(heights.values()))) + 1)]
    more = any(counts[-1] for counts in heights.values())
    edges, stop = (edges, None) if more else (edges[:-1], -1)

    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.add_subplot(xlabel=f"{unit} in a sentence", ylabel="sentences", xlim=(edges[0], edges[-1]))
    for label, counts in heights.items():
        if label == list(heights)[-1]:
            axes.stairs(counts[start:stop], edges, label=label, fill=True, color=KEPT)
        else:
            axes.stairs(counts[start:stop], edges, label=label, color=DROPPED, linewidth=1.4, zorder=3)
    present = [count for counts in heights.values() for count in counts if count]
    if max(present) >= LOG_FROM * min(present):
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=0.5)
        axes.yaxis.set_minor_formatter(lambda value, position: "")
    else:
        axes.locator_params("y", integer=True)
    axes.yaxis.set_major_formatter(thousands)
    axes.xaxis.set_major_formatter(thousands)
    axes.locator_params("x", integer=True)
    if more:
        ticks = [tick for tick in axes.get_xticks() if edges[0] <= tick < bins.last - 0.08 * (edges[-1] - edges[0])]
        labels = [*map(thousands, ticks), f"{bins.last + 1:,}+"]
        axes.set_xticks([*ticks, (edges[-1] + edges[-2]) / 2], labels)
    drawn = [
        (limit, place) for limit, place in zip(limits[:2], (-0.5, 0.5), strict=True) if limit and limit <= bins.last
    ]
    for limit, place in drawn:
        axes.axvline(limit + place, color=INK, linewidth=1, linestyle=(0, (4, 3)), clip_on=False, zorder=4)
    if drawn:
        axes.lines[0].set_label("limit" + "s" * (len(drawn) - 1) + " " + " and ".join(f"{n:,}" for n, _ in drawn))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_losses(first: int, lost: Sequence[tuple[str, int]], last: int) -> Figure:
    """A waterfall plot of the losses, from top to bottom: each bar starts where the one above it ends."""
    labels = ["at first", *(label for label, _ in lost), "for training"]
    sizes = [first, *(lines for _, lines in lost), last]
    starts = [0, *(first - gone for gone in accumulate(sizes[1:-1])), 0]
    figure = Figure(figsize=(WIDTH, 0.7 + 0.26 * len(labels)), layout="constrained")
    axes = figure.add_subplot(xlabel="sentence pairs", xlim=(0, 1.3 * first))
    colours = [KEPT, *[DROPPED] * len(lost), KEPT]
    # the edge keeps a few lines of millions visible
    bars = axes.barh(range(len(labels)), sizes, left=starts, height=0.7, color=colours, edgecolor=colours, linewidth=1)
    axes.bar_label(bars, [thousands(n) for n in (first, *(-lines for _, lines in lost), last)], padding=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params("y", length=0)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(thousands)
    axes.locator_params("x", nbins=4, integer=True)
    return figure


def plot(name: str, description: str, draw: Callable[..., Figure], *arguments: object) -> str:
    """Draw a figure as SVG: ``name`` makes its ids unique on the page, ``description`` is for screen readers."""
    text = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's matplotlibrc
        matplotlib.rcParams.update(STYLE)
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw(*arguments).savefig(text, format="svg", transparent=True, metadata=no_metadata)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text.getvalue())
    svg = re.sub("|".join(COLOURS), lambda found: COLOURS[found[0]], svg)
    opening = re.search(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', svg)
    assert opening is not None
    return f'<svg {opening[1]} role="img" aria-label="{escape(description)}">{svg[opening.end() :]}'


def percent(part: int, whole: int) -> str:
    """A share to one decimal; never 0% for something, never 100% for less than all."""
    if whole == 0:
        return "–"
    text = f"{part / whole:.1%}"
    if text == "0.0%" and part:
        return "under 0.1%"
    return "over 99.9%" if text == "100.0%" and part != whole else text


def plots(facts: Facts, histograms: Histograms, languages: Sequence[str], limits: Limits) -> dict[str, str]:
    """All plots of the page by name."""
    first, lost, last = losses(facts)
    words = "; ".join([f"{first:,} sentence pairs at first", *(f"{n:,} went at {label}" for label, n in lost)])
    drawn = {"losses": plot("losses", f"Bar plot: {words}; {last:,} for training.", draw_losses, first, lost, last)}
    for place, language in enumerate(languages):
        before, after, pieces = (histograms["train", language, stage] for stage in STAGES)
        words = f"Histogram of the lengths of training sentences in {language}"
        tokens = f"{words}, in tokens: median {quantile(before, 500):,} and longest {max(before):,} before filtering, "
        tokens += f"{quantile(after, 500):,} and {max(after):,} after it."
        series = {"before filtering": before, "after": after}
        drawn[f"tokens {language}"] = plot(f"tokens{place}", tokens, draw_lengths, series, limits, "tokens")
        words += f", in subword pieces: median {quantile(pieces, 500):,}, longest {max(pieces):,}."
        series = {"training data": pieces}
        drawn[f"pieces {language}"] = plot(f"pieces{place}", words, draw_lengths, series, Limits(), "pieces")
    return drawn


def render(experiment: str, languages: Sequence[str], facts: Facts, histograms: Histograms, limits: Limits) -> str:
    """Return the page as HTML: the numbers are from ``facts``, the plots show the lengths of the training data."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"thousands": thousands, "reason": reason}
    jinja.globals |= {"percent": percent, "counts_of": counts_of, "splits": SPLITS, "corpora": CORPORA}
    return jinja.get_template("data_report.html.j2").render(
        experiment=experiment,
        languages=languages,
        sides=(*languages, ""),
        limits=limits,
        facts=facts,
        steps=steps(facts),
        losses=losses(facts),
        warnings=warnings(facts),
        plots=plots(facts, histograms, languages, limits),
    )

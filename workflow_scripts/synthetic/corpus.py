"""Distinct sentence pairs, split, counted and measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import SPLITS
from synthetic.dice import Dice
from synthetic.grammar import Grammar, Pair
from synthetic.lexicon import Lexicon

PATIENCE = 1_000  # this many repetitions in a row mean that hardly anything new is left to say
SLOPE_MINIMUM = 5  # rarer lexemes are left out of the slope: counts of 1 and 2 make steps, not a line


def distinct_pairs(draw: Callable[[], Pair], count: int, what: str) -> list[Pair]:
    """``count`` pairs of which no two share their source or their target, capitals aside.

    Targets too: a translation seen in training would give away the answer to a test sentence.

    Raises:
        UserError: the grammar repeats itself before there are so many.
    """
    pairs: list[Pair] = []
    sources: set[str] = set()
    targets: set[str] = set()
    repeated = 0
    while len(pairs) < count:
        pair = draw()
        source, target = pair.source.lower(), pair.target.lower()
        if source in sources or target in targets:
            repeated += 1
            if repeated > PATIENCE:
                raise UserError(
                    f"{count} sentences: the grammar gave only {len(pairs)} distinct ones with {what}; "
                    "ask for fewer sentences or a larger --lexicon"
                )
            continue
        repeated = 0
        sources.add(source)
        targets.add(target)
        pairs.append(pair)
    return pairs


def generate(sizes: Mapping[str, int], seed: int, lemmas: int, exponent: float) -> dict[str, list[Pair]]:
    """The corpus by split. Test and validation sentences come first: a larger training set keeps them as they are.

    Args:
        sizes: sentences of each of :data:`SPLITS`.
        seed: of every draw; the same seed and options give the same corpus on every Python version.
        lemmas: size of the lexicon.
        exponent: of Zipf's law.

    Raises:
        UserError: the lexicon or the corpus cannot be that large.
    """
    dice = Dice(seed)
    grammar = Grammar(Lexicon(lemmas, exponent, dice), dice)
    what = f"--lexicon {lemmas} and --zipf {exponent:g}"
    pairs = iter(distinct_pairs(grammar.pair, sum(sizes.values()), what))
    drawn = {split: [next(pairs) for _ in range(sizes[split])] for split in ("test", "valid", "train")}
    return {split: drawn[split] for split in SPLITS}


def zipf_slope(frequencies: Iterable[int], minimum: int = SLOPE_MINIMUM) -> float | None:
    """Least-squares slope of log frequency on log rank; ``None`` with fewer than two ranks.

    Args:
        frequencies: how often each type occurs, in any order.
        minimum: rarer types are left out.
    """
    counts = sorted((count for count in frequencies if count >= minimum), reverse=True)
    if len(counts) < 2:
        return None
    x = [math.log(rank) for rank in range(1, len(counts) + 1)]
    y = [math.log(count) for count in counts]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def statistics(corpus: Mapping[str, Sequence[Pair]]) -> dict[str, object]:
    """Sizes, mean lengths in words, distinct word types and the measured Zipf slopes. Words are split at spaces."""
    pairs = [pair for split in SPLITS for pair in corpus[split]]
    lexemes = Counter(key for pair in pairs for key in pair.lexemes)
    sides = {
        "source": [pair.source.split() for pair in pairs],
        "target": [pair.target.split() for pair in pairs],
    }
    types = {side: Counter(word for sentence in sentences for word in sentence) for side, sentences in sides.items()}
    return {
        "sentences": {split: len(corpus[split]) for split in SPLITS},
        "mean_words": {side: round(sum(map(len, sentences)) / len(sentences), 3) for side, sentences in sides.items()},
        "word_types": {side: len(counter) for side, counter in types.items()},
        "lemmas_used": len(lexemes),
        "zipf_slope": _rounded(zipf_slope(lexemes.values())),
        "zipf_slope_words": {side: _rounded(zipf_slope(counter.values())) for side, counter in types.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

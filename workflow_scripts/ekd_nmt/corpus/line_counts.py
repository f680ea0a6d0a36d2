"""What the data steps report: lines by length, and what is said of a corpus of which nothing is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

HELD_OUT = "in valid or test"  # the reason to drop a training pair that another split holds


def histogram(lengths: Counter[int]) -> dict[str, int]:
    """Length → sentences in JSON's types, ascending."""
    return {str(length): lengths[length] for length in sorted(lengths)}


def all_dropped(path: Path, lines_in: int, dropped: dict[str, int]) -> str:
    """The message for a corpus of which nothing is left."""
    counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
    if dropped.get(HELD_OUT, 0) == max(dropped.values()):
        fix = "is the training text also the validation or test set? name another, or set data.remove_overlap: false"
    else:
        fix = "loosen data.filter, and see whether the sides are exchanged"
    return f"{path}: all {lines_in} pairs were filtered out ({counts}); {fix}"

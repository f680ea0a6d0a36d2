"""The line counts in the reports of the data steps: types, histograms of lengths, and the error for an empty corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from typing_extensions import TypedDict

HELD_OUT = "in valid or test"  # why a training pair is dropped that another split contains


class LineCounts(TypedDict):
    """What one step did to the lines of one split; ``dropped`` is by reason."""

    step: str
    split: str
    lines_in: int
    lines_out: int
    dropped: dict[str, int]


def histogram(lengths: Counter[int]) -> dict[str, int]:
    """Length → number of sentences, ascending, in JSON's types."""
    return {str(length): lengths[length] for length in sorted(lengths)}


def all_dropped(path: Path, counts: LineCounts) -> str:
    """The error message for a corpus whose pairs were all dropped."""
    dropped = counts["dropped"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
    if dropped.get(HELD_OUT, 0) == max(dropped.values()):
        fix = "is the training text also the validation or test set? name another, or set data.remove_overlap: false"
    else:
        fix = "loosen data.filter, and check that the two sides are not swapped"
    return f"{path}: all {counts['lines_in']} pairs were filtered out ({reasons}); {fix}"

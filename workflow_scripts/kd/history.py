"""Records of a training's epochs, for its history file and as lines of its log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_REPORTED = {
    "train": ("loss", "nll_loss", "kd_loss", "ppl", "lr", "gnorm", "wps"),
    "valid": ("loss", "nll_loss", "kd_loss", "ppl", "bleu"),
}


def record(event: str, *, epoch: int, updates: int, seconds: float, stats: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an epoch. JSON has no infinity, so values that are not finite are left out.

    Args:
        event: ``train`` or ``valid``.
        epoch: from 1; 0 is the validation before the first.
        updates: number of updates so far.
        seconds: of training and validation so far.
        stats: fairseq's averages.
    """
    values = {key: round(float(value), 6) for key, value in stats.items() if isinstance(value, int | float | np.number)}
    values = {key: value for key, value in values.items() if math.isfinite(value)}
    reported = {key: values[key] for key in _REPORTED[event] if key in values}
    return {"event": event, "epoch": epoch, "updates": updates, "seconds": round(seconds, 2), **reported}


def describe(entry: Mapping[str, Any]) -> str:
    """A record as a line of the log."""
    shown = [f"{key} {entry[key]:g}" for key in _REPORTED[entry["event"]] if key in entry]
    head = f"epoch {entry['epoch']:3d} {entry['event']:5s} | update {entry['updates']}"
    return f"{head} | {' | '.join(shown)} | {entry['seconds']:.0f} s"

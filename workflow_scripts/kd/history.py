"""What a training reports of an epoch: a record for its history, and a line for the reader of its log."""

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
    """A record of an epoch, fit for JSON, which has no infinity as the perplexity of a large loss is.

    Args:
        event: ``train`` or ``valid``.
        epoch: its number, from 1; 0 is before the first.
        updates: made so far.
        seconds: of training and validation so far.
        stats: fairseq's averages.
    """
    values = {key: round(float(value), 6) for key, value in stats.items() if np.isscalar(value)}
    values = {key: value for key, value in values.items() if math.isfinite(value)}
    reported = {key: values[key] for key in _REPORTED[event] if key in values}
    return {"event": event, "epoch": epoch, "updates": updates, "seconds": round(seconds, 2), **reported}


def describe_owner(entry: Mapping[str, Any]) -> str:
    """A record as a line."""
    shown = [f"{key} {entry[key]:g}" for key in _REPORTED[entry["event"]] if key in entry]
    head = f"epoch {entry['epoch']:3d} {entry['event']:5s} | update {entry['updates']}"
    return f"{head} | {' | '.join(shown)} | {entry['seconds']:.0f} s"

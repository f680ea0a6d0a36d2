"""Micro-batches: the same sentences in an update, in less memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch


def split(sample: dict[str, Any], count: int, pad: int) -> Iterator[dict[str, Any]]:
    """Split a batch into micro-batches of about equal size; into fewer if it has fewer sentences.

    Their gradients and their token counts, by which an update divides, add up to those of the batch. So the update is
    the same, except for rounding and for the random numbers of dropout.

    Args:
        sample: a batch of fairseq's translation task; ``target`` is ``(B, T)``.
        count: number of micro-batches.
        pad: index of the padding symbol, which ``ntokens`` does not count.
    """
    sentences = sample["nsentences"]
    size = math.ceil(sentences / count)
    for first in range(0, sentences, size):
        micro_batch = _rows(sample, slice(first, first + size), sentences)
        micro_batch["nsentences"] = len(micro_batch["target"])
        micro_batch["ntokens"] = int(micro_batch["target"].ne(pad).sum())
        yield micro_batch


def _rows(value: Any, rows: slice, sentences: int) -> Any:
    if isinstance(value, dict):
        return {key: _rows(each, rows, sentences) for key, each in value.items()}
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == sentences:
        return value[rows]
    return value

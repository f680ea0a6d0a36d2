"""Batches in parts: the same sentences in an update, in less memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch


def split(sample: dict[str, Any], parts: int, pad: int) -> Iterator[dict[str, Any]]:
    """A batch in that many parts, as equal as they can be; fewer if it has fewer sentences.

    Gradients of parts add up to the gradient of the batch, and so do the numbers of their tokens, by which an update
    divides. So an update stays what it was, but for rounding and for what dropout draws.

    Args:
        sample: a batch of fairseq's translation task; ``target`` is (sentences, positions).
        parts: how many.
        pad: index of the padding symbol, which ``ntokens`` leaves out.
    """
    sentences = sample["nsentences"]
    size = math.ceil(sentences / parts)
    for first in range(0, sentences, size):
        rows = slice(first, first + size)
        part = _rows(sample, rows, sentences)
        part["nsentences"] = len(part["target"])
        part["ntokens"] = int(part["target"].ne(pad).sum())
        yield part


def _rows(value: Any, rows: slice, sentences: int) -> Any:
    if isinstance(value, dict):
        return {key: _rows(each, rows, sentences) for key, each in value.items()}
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == sentences:
        return value[rows]
    return value

"""Layout of a teacher cache: shards, batches, records, and the probability that these cover. Needs no model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ekd_nmt.common.files import atomic_write, sha256
from kd.cache import shard_file

MAX_SHARDS = 256  # about, of a split: training keeps them all open, so larger caches have larger shards
COVERAGE_STEPS = 10_000
_UNIFORM_SHARE = 0.01  # of the tails' distribution, so that no token has probability zero
_BLOCK_BYTES = 2**22  # of log-probabilities in one top-k operation


@dataclass(frozen=True)
class Shard:
    """Consecutive sentences of a split, ``first`` to ``end`` exclusive."""

    split: str
    number: int
    first: int
    end: int
    tokens: int

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in ``meta.json``, without size and SHA-256."""
        return {
            "file": shard_file(self.split, self.number),
            "sentences": self.end - self.first,
            "tokens": self.tokens,
        }


def plan_shards(split: str, starts: np.ndarray, record_bytes: int, shard_bytes: int) -> list[Shard]:
    """Divide a split into shards of whole sentences, each of about ``shard_bytes`` at most, or of one sentence.

    Args:
        split: train or valid.
        starts: int64 ``(sentences + 1)``, see :func:`kd.cache.starts_file`.
        record_bytes: of one target position.
        shard_bytes: raised for large splits, so that there are about ``MAX_SHARDS`` shards at most.
    """
    tokens = max(shard_bytes // record_bytes, math.ceil(starts[-1] / MAX_SHARDS))
    shards: list[Shard] = []
    first = 0
    while first < len(starts) - 1:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + tokens, side="right")) - 1)
        shards.append(Shard(split, len(shards), first, end, int(starts[end] - starts[first])))
        first = end
    return shards


def batches(source: np.ndarray, target: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Batches of sentences of similar length. A sentence longer than ``max_tokens`` is a batch of its own.

    fairseq's batching drops sentences that are too long, and the end of a corpus that fills no batch.

    Args:
        source, target: number of tokens of each sentence, int ``(B)``.
        max_tokens: source or target tokens of a batch, padding included.

    Returns:
        Indices of the sentences, each exactly once.
    """
    order = np.lexsort((source, target))
    cuts, begin, width = [], 0, 0
    for place, longest in enumerate(np.maximum(source, target)[order].tolist()):
        width = max(width, longest)
        if place > begin and (place - begin + 1) * width > max_tokens:
            cuts.append(place)
            begin, width = place, longest
    return np.split(order, cuts)


def to_records(log_probs: Tensor, record: np.dtype, tails: np.ndarray | None = None) -> np.ndarray:
    """The records of N target positions ``(N)``.

    Args:
        log_probs: float32 ``(N, V)``.
        record: see :func:`kd.cache.record_type`.
        tails: float64 ``(V)``; the probabilities of the tokens that are not stored are added to it.
    """
    records = np.empty(len(log_probs), dtype=record)
    if "id" not in (record.names or ()):
        records["logp"] = log_probs.cpu().numpy()
        return records
    (k,) = record["id"].shape
    # on a GPU in one block, because each block costs a synchronisation
    rows = max(1, _BLOCK_BYTES // (4 * log_probs.size(1)) if log_probs.device.type == "cpu" else len(log_probs))
    for begin in range(0, len(log_probs), rows):
        block = log_probs[begin : begin + rows]
        top = block.topk(k, dim=1)
        # a sum, because 1 - Σ p has no digits left where the teacher is confident
        rest = block.scatter(1, top.indices, -math.inf)
        tail = rest.logsumexp(dim=1)
        if tails is not None:
            tails += rest.exp_().sum(dim=0, dtype=torch.float64).cpu().numpy()
        place = records[begin : begin + rows]
        for name, values in (("id", top.indices), ("logp", top.values), ("tail", tail)):
            place[name] = values.cpu().numpy()
    return records


def mass_statistics(records: np.ndarray) -> dict[str, Any]:
    """Input of :func:`coverage` for a shard: sum and histogram of the stored tokens' probability, a key a step."""
    has_tail = "tail" in (records.dtype.names or ())
    mass = -np.expm1(records["tail"].astype(np.float64)) if has_tail else np.ones(len(records))
    steps, counts = np.unique(np.rint(mass * COVERAGE_STEPS).astype(int), return_counts=True)
    histogram = dict(zip(map(str, steps.tolist()), counts.tolist(), strict=True))  # JSON has no other keys
    return {"sum": float(mass.sum()), "histogram": histogram}


def coverage(statistics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Total probability of the stored tokens of a position, over all shards: mean and 5th percentile.

    The percentile is taken from a histogram, to save memory, and is exact to ``0.5 / COVERAGE_STEPS``.
    """
    histogram: Counter[int] = Counter()
    for each in statistics:
        histogram.update({int(step): count for step, count in each["histogram"].items()})
    positions, seen = histogram.total(), 0
    for step in sorted(histogram):
        seen += histogram[step]
        if seen >= 0.05 * positions:
            break
    mean = math.fsum(each["sum"] for each in statistics) / positions
    return {"mean": round(mean, 6), "p5": step / COVERAGE_STEPS}


def tails_distribution(sums: np.ndarray) -> np.ndarray:
    """The average distribution of the teacher's tails, float32 ``(V)``, positive and with a sum of one.

    Args:
        sums: float64 ``(V)``, see :func:`to_records`; all zero if every token is stored.
    """
    total = sums.sum()
    uniform = np.full(len(sums), 1 / len(sums))
    average = sums / total if total > 0 else uniform
    return ((1 - _UNIFORM_SHARE) * average + _UNIFORM_SHARE * uniform).astype("<f4")


def write_array(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write a .npy file; returns its size and SHA-256, as in ``meta.json``."""
    with atomic_write(path, "wb") as handle:
        npy.write_array_header_1_0(handle, npy.header_data_from_array_1_0(array))
        handle.write(array.view(np.uint8))  # numpy's own write hides the cause of an error, such as a full disk
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}

"""The size of teacher caches: the bytes of one target token, and of all caches of an experiment."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ekd_nmt.cluster.corpus_size import CorpusSize
    from ekd_nmt.config.experiment import Experiment

# The same arithmetic as kd.cache.record_type, which needs numpy and torch: too slow to import for every job.
SHORT_IDS = 1 << 16  # symbols that two bytes can number


def bytes_per_token(k: int | Literal["full"], vocabulary: int) -> int:
    """Bytes that a cache takes for one target token.

    Each of the k most probable tokens takes an id (2 bytes, or 4 for a vocabulary that 2 cannot number) and a
    log-probability (2 bytes); the mass of all others takes 2 bytes. ``full`` takes 4 bytes for each symbol.
    """
    if k == "full":
        return 4 * vocabulary
    id_bytes = 2 if vocabulary <= SHORT_IDS else 4
    return min(k, vocabulary) * (id_bytes + 2) + 2


def announcement(experiment: Experiment, corpus: CorpusSize) -> str:
    """One line: number and total size of the teacher caches of an experiment, exact if its corpus is binarised."""
    caches = experiment.caches().values()
    sizes = Counter(bytes_per_token(k, corpus.target_symbols) for k, _ in caches)
    factor = " + ".join(f"{size:,} bytes x {count}" for size, count in sizes.items())
    factor = f"({factor})" if len(sizes) > 1 else factor
    train, valid = corpus.target_tokens or (round(pairs * corpus.tokens) for pairs in (corpus.train, corpus.valid))
    total = amount((train + valid) * sum(size * count for size, count in sizes.items()))
    total = f"{total} in all" if corpus.target_tokens else f"about {total} in all, an estimate"
    return f"teacher caches: {len(caches)}, {total} ({train:,} + {valid:,} target tokens x {factor})"


def amount(size: int) -> str:
    """A number of bytes, formatted for reading."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"

"""How large teacher caches are: the bytes of one target token, and of all caches of an experiment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment
    from ekd_nmt.config.manifest import Dataset
    from ekd_nmt.config.models import Data

# The arithmetic of kd.cache.record_type, which needs numpy and torch: every job reads the rules, and this with them.
SHORT_IDS = 1 << 16  # symbols that two bytes can number
TOKENS_A_PAIR = 25  # of the target side, end mark included: about what BPE leaves of a sentence of news or talks


class Corpus(NamedTuple):
    """Target tokens of the two splits that are cached, end marks included, and symbols of the target dictionary."""

    train: int
    valid: int
    vocabulary: int


def bytes_per_token(k: int | Literal["full"], vocabulary: int) -> int:
    """Bytes that a cache takes for one target token.

    The k most probable tokens take an id (2 bytes, or 4 if 2 cannot number the vocabulary) and a log-probability
    (2 bytes) each, and the mass of all others takes 2 bytes. ``full`` is 4 bytes a symbol of the vocabulary.

    Args:
        k: tokens that are stored; no more than the vocabulary has are.
        vocabulary: symbols of the target dictionary.
    """
    if k == "full":
        return 4 * vocabulary
    id_bytes = 2 if vocabulary <= SHORT_IDS else 4
    return min(k, vocabulary) * (id_bytes + 2) + 2


def measured(report: str | Path, target_lang: str) -> Corpus | None:
    """What ``binarize.json`` says of the corpus; nothing if it is not there or not of this language."""
    try:
        content = json.loads(Path(report).read_text(encoding="utf-8"))
        sides = [content["splits"][split][target_lang] for split in ("train", "valid")]
        # its tokens are those of the text, and each sentence has an end mark besides
        train, valid = (side["tokens"] + side["sentences"] for side in sides)
        return Corpus(train, valid, content["dictionaries"][target_lang])
    except (OSError, ValueError, KeyError):
        return None


def published_pairs(data: Data, manifest: Mapping[str, Dataset]) -> tuple[int, int] | None:
    """Training and validation pairs before any filter, if they are known before the text is there."""
    if data.corpus == "synthetic":
        return data.synthetic.train_size, data.synthetic.valid_size
    pairs = manifest[data.corpus].pairs if data.corpus in manifest else {}
    if "all" in pairs:
        valid = data.holdout.valid_size
        return pairs["all"] - valid - data.holdout.test_size, valid
    return (pairs["train"], pairs["valid"]) if {"train", "valid"} <= pairs.keys() else None


def announcement(experiment: Experiment, manifest: Mapping[str, Dataset]) -> str:
    """One line: how many teacher caches the experiment has, and how large they are in all.

    Until the corpus is binarised, its size is an estimate or not known, and the number of BPE merges stands for that of
    the vocabulary, which is rarely larger.
    """
    corpus = measured(experiment.data_path("binarize.json"), experiment.data.target_lang)
    vocabulary = corpus.vocabulary if corpus else experiment.config.bpe.merges
    caches = experiment.caches().values()
    sizes = Counter(bytes_per_token(k, vocabulary) for k, _ in caches)
    factor = " + ".join(f"{size:,} bytes x {count}" for size, count in sizes.items())
    factor = f"({factor})" if len(sizes) > 1 else factor
    head = f"teacher caches: {len(caches)},"
    a_token = sum(size * count for size, count in sizes.items())
    if corpus:
        total = amount((corpus.train + corpus.valid) * a_token)
        return f"{head} {total} in all ({corpus.train:,} + {corpus.valid:,} target tokens x {factor})"
    if pairs := published_pairs(experiment.data, manifest):
        total = amount(sum(pairs) * TOKENS_A_PAIR * a_token)
        tokens = f"{pairs[0]:,} + {pairs[1]:,} pairs x about {TOKENS_A_PAIR} target tokens"
        return f"{head} about {total} in all, an estimate ({tokens} x {factor})"
    return f"{head} their size is known once the corpus is binarised (target tokens x {factor})"


def amount(size: int) -> str:
    """A number of bytes for reading."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"

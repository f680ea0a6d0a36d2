"""How large a corpus is, as far as that is known before it is binarised."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ekd_nmt.cluster.cache_size import TOKENS_A_PAIR, published_pairs
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.sources import input_files, is_held_out

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment
    from ekd_nmt.config.manifest import DataFile, Dataset

SYNTHETIC_TOKENS, SYNTHETIC_LONGEST = 15, 60  # of a generated sentence: on average, and at most
PIECES_A_TOKEN = 1.25  # that BPE makes of the longest sentences
CHARACTERS = 1000  # symbols of a dictionary that are no merges, at most, as a rule
BYTES_A_PAIR = 200  # of both sides, in plain text
COMPRESSED = (".tgz", ".tar.gz", ".zip", ".gz", ".bz2", ".xz", ".zst")
COMPRESSION = 2  # plain text is so much larger; more, but archives also hold other languages
UNKNOWN_FILE = 10**8  # bytes of a download whose size nobody says


class CorpusSize(NamedTuple):
    """Sentence pairs of the splits, symbols of the dictionaries, and tokens of the larger side, end marks included."""

    train: int
    valid: int
    test: int
    source_symbols: int
    target_symbols: int
    tokens: float  # of a sentence, on average
    longest: int  # tokens of a training sentence


def corpus_size(experiment: Experiment, manifest: Mapping[str, Dataset]) -> CorpusSize:
    """Sizes of the corpus: of the binarised one, or else as published, or else estimated from the size of its files."""
    data, longest = experiment.data, longest_of(experiment)
    synthetic = data.corpus == "synthetic"
    found = _binarized(experiment.data_path("binarize.json"), (data.source_lang, data.target_lang), longest)
    if found is not None:
        return found
    train, valid, test = _pairs(experiment, manifest)
    symbols = experiment.config.bpe.merges + CHARACTERS
    return CorpusSize(train, valid, test, symbols, symbols, SYNTHETIC_TOKENS if synthetic else TOKENS_A_PAIR, longest)


def longest_of(experiment: Experiment) -> int:
    """Tokens of the longest training sentence that there may be, end mark included, about."""
    if experiment.data.corpus == "synthetic":
        return SYNTHETIC_LONGEST
    return round(PIECES_A_TOKEN * experiment.data.filter.max_tokens) + 1


def _binarized(report: str, languages: tuple[str, str], longest: int) -> CorpusSize | None:
    """What ``binarize.json`` says; None if it is not there or not of these languages."""
    try:
        content = json.loads(Path(report).read_text(encoding="utf-8"))
        train, valid, test = (content["splits"][split][languages[1]]["sentences"] for split in SPLITS)
        tokens = max(content["splits"]["train"][language]["tokens"] for language in languages)
        symbols = [content["dictionaries"][language] for language in languages]
        return CorpusSize(train, valid, test, *symbols, tokens=tokens / train + 1, longest=longest)
    except (OSError, ValueError, LookupError, TypeError, ZeroDivisionError):
        return None


def _pairs(experiment: Experiment, manifest: Mapping[str, Dataset]) -> tuple[int, int, int]:
    """Pairs of the three splits before any filter."""
    data = experiment.data
    held_out = data.holdout.valid_size, data.holdout.test_size
    if data.corpus == "synthetic":
        return data.synthetic.train_size, data.synthetic.valid_size, data.synthetic.test_size
    if data.corpus == "local":
        if is_held_out(data, manifest):
            return _pairs_of_files(input_files(data, manifest, "all")), *held_out
        return tuple(_pairs_of_files(input_files(data, manifest, split)) for split in SPLITS)
    dataset = manifest[data.corpus]
    valid, test = (dataset.pairs.get(split, size) for split, size in zip(SPLITS[1:], held_out, strict=True))
    if published := published_pairs(data, manifest):
        return published[0], valid, test
    training = [file for file in dataset.files if file.split not in ("valid", "test")]
    return sum(map(_pairs_of_download, training)), valid, test


def _pairs_of_files(paths: list[str]) -> int:
    """About how many pairs a user's files hold together, at least 1."""
    return max(1, sum(_plain_size(path, _size(path)) for path in paths) // BYTES_A_PAIR)


def _pairs_of_download(file: DataFile) -> int:
    return _plain_size(file.name, file.bytes or UNKNOWN_FILE) // BYTES_A_PAIR


def _plain_size(name: str, size: int) -> int:
    """Bytes of the text in a file."""
    return size * COMPRESSION if name.endswith(COMPRESSED) else size


def _size(path: str) -> int:
    """Bytes of a file; 0 if it is not there, which is told where it is read."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0

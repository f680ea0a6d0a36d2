"""The size of an experiment's corpus: measured once it is binarised, before that published or estimated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import TypedDict

from ekd_nmt.common.json_files import read_json_if_valid
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.sources import input_files, is_held_out

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment
    from ekd_nmt.config.manifest import Dataset

TOKENS = 25  # of a sentence of news or talks after BPE, end mark included, on average
SYNTHETIC_TOKENS, SYNTHETIC_LONGEST = 15, 60  # of a generated sentence: on average, and at most
PIECES_PER_TOKEN = 1.25  # that BPE makes of the longest sentences
CHARACTERS = 1000  # symbols of a dictionary besides the merges; rarely more
BYTES_PER_PAIR = 200  # of both sides, in plain text
COMPRESSED = (".tgz", ".tar.gz", ".zip", ".gz", ".bz2", ".xz", ".zst")
COMPRESSION = 2  # plain text is larger by this factor; by more, but archives also contain other languages
UNKNOWN_FILE = 10**8  # bytes of a download of unknown size


class CorpusSize(NamedTuple):
    """Sentence pairs of the splits, symbols of the dictionaries, and tokens, end marks included."""

    train: int
    valid: int
    test: int
    source_symbols: int
    target_symbols: int
    tokens: float  # of a sentence on the longer side, on average
    longest: int  # tokens of a training sentence
    target_tokens: tuple[int, int] | None = None  # of train and valid; None unless they were counted


class _Side(TypedDict):
    sentences: int
    tokens: int  # without end marks


class _BinarizeReport(TypedDict):
    splits: dict[str, dict[str, _Side]]
    dictionaries: dict[str, int]


def corpus_size(experiment: Experiment, manifest: Mapping[str, Dataset]) -> CorpusSize:
    """Size of the corpus: measured if it is binarised, else published, else estimated from the size of its files."""
    data, longest = experiment.data, longest_of(experiment)
    report = Path(experiment.data_path("binarize.json"))
    if (measured := _measured(report, data.source_lang, data.target_lang, longest)) is not None:
        return measured
    symbols = experiment.config.bpe.merges + CHARACTERS
    tokens = SYNTHETIC_TOKENS if data.corpus == "synthetic" else TOKENS
    return CorpusSize(*_pairs(experiment, manifest), symbols, symbols, tokens, longest)


def longest_of(experiment: Experiment) -> int:
    """About how many tokens the longest training sentence can have, end mark included."""
    if experiment.data.corpus == "synthetic":
        return SYNTHETIC_LONGEST
    return round(PIECES_PER_TOKEN * experiment.data.filter.max_tokens) + 1


def _measured(path: Path, source: str, target: str, longest: int) -> CorpusSize | None:
    """The sizes in ``binarize.json``; None if it is missing, damaged or of other languages."""
    report = read_json_if_valid(path, _BinarizeReport)
    if report is None:
        return None
    try:
        train, valid, test = (report["splits"][split][target] for split in SPLITS)
        tokens = max(train["tokens"], report["splits"]["train"][source]["tokens"]) / train["sentences"] + 1
        source_symbols, target_symbols = (report["dictionaries"][language] for language in (source, target))
    except (LookupError, ZeroDivisionError):
        return None
    pairs = train["sentences"], valid["sentences"], test["sentences"]
    target_tokens = (train["tokens"] + train["sentences"], valid["tokens"] + valid["sentences"])
    return CorpusSize(*pairs, source_symbols, target_symbols, tokens, longest, target_tokens)


def _pairs(experiment: Experiment, manifest: Mapping[str, Dataset]) -> tuple[int, int, int]:
    """Pairs of the three splits before any filter."""
    data = experiment.data
    held_out = data.holdout.valid_size, data.holdout.test_size
    if data.corpus == "synthetic":
        return data.synthetic.train_size, data.synthetic.valid_size, data.synthetic.test_size
    if data.corpus == "local":
        if is_held_out(data, manifest):
            return _estimate_local(input_files(data, manifest, "all")), *held_out
        train, valid, test = (_estimate_local(input_files(data, manifest, split)) for split in SPLITS)
        return train, valid, test
    dataset = manifest[data.corpus]
    valid, test = dataset.pairs.get("valid", held_out[0]), dataset.pairs.get("test", held_out[1])
    if "all" in dataset.pairs:
        return dataset.pairs["all"] - sum(held_out), valid, test
    training = [
        (file.name, file.bytes or UNKNOWN_FILE) for file in dataset.files if file.split not in ("valid", "test")
    ]
    return dataset.pairs.get("train") or _estimate(training), valid, test


def _estimate(files: Iterable[tuple[str, int]]) -> int:
    """About how many pairs files of these names and bytes contain together, at least 1."""
    plain = sum(size * (COMPRESSION if name.endswith(COMPRESSED) else 1) for name, size in files)
    return max(1, plain // BYTES_PER_PAIR)


def _estimate_local(paths: Iterable[str]) -> int:
    """As :func:`_estimate`; a missing file counts as empty, because it is an error elsewhere."""
    return _estimate((path, os.path.getsize(path) if os.path.exists(path) else 0) for path in paths)

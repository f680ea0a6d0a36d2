"""A teacher's next-token distributions on disk: the format, its checks, and reading the rows of a batch.

A cache is a folder. ``meta.json`` says of which teacher, dictionaries and corpus it is. Each split of the corpus has
one record a target position, the end of sentence included, sentences in corpus order: whole sentences to a shard,
``{split}.{number}.npy``; where each sentence begins is in ``{split}.starts.npy``. ``tails.npy`` has the teacher's
average distribution over the tokens that a record does not name. Shards are mapped into memory and never held as a
whole, so that a training's memory does not grow with the cache, and processes share the page cache.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from kd.fused_loss import Teaching, TopK

FORMAT = 1
META = "meta.json"
TAILS = "tails.npy"  # float32 (V), positive, sums to one; of the training set
SPLITS = ("train", "valid")  # valid too, because a validation reports the distillation loss
# Pages that were read stay mapped, and count as the process's memory, until they are released; a fault maps some
# neighbours along.
_FAULT_BYTES = 2**16
_MAPPED_BYTES = 2**25


def record_type(k: int | Literal["full"], vocabulary: int) -> np.dtype:
    """What is stored of one target position.

    ``id`` and ``logp`` are the k most likely tokens, most likely first, and their natural log-probabilities; ``tail``
    is the log-probability of all others together. For ``full``, ``logp`` has all tokens in the dictionary's order, in
    single precision.
    """
    if k == "full":
        return np.dtype([("logp", "<f4", (vocabulary,))])
    stored = min(k, vocabulary)
    index = "<u2" if vocabulary <= 2**16 else "<u4"
    return np.dtype([("id", index, (stored,)), ("logp", "<f2", (stored,)), ("tail", "<f2")])


def starts_file(split: str) -> str:
    """Name of the file with the number of the first record of each sentence of a split, and their total; int64."""
    return f"{split}.starts.npy"


def shard_file(split: str, number: int) -> str:
    """Name of a shard."""
    return f"{split}.{number:05d}.npy"


def corpus_hash(data: Path, split: str, languages: Sequence[str]) -> str:
    """SHA-256 over those of the files of a binarised split.

    Args:
        data: folder of the binarised corpus.
        split: train or valid.
        languages: source and target.
    """
    stem = f"{split}.{'-'.join(languages)}"
    names = [f"{stem}.{language}.{kind}" for language in languages for kind in ("bin", "idx")]
    return hashlib.sha256("".join(sha256(data / name) for name in names).encode()).hexdigest()


@dataclass(frozen=True)
class Identity:
    """What a cache was made of, or what a training needs it to be made of."""

    teacher: str  # SHA-256 of the model file
    dictionaries: dict[str, str]  # fingerprints, by side
    vocabulary: int
    temperature: float
    corpora: dict[str, str]  # by split, as corpus_hash gives them


class TeacherCache:
    """A finished cache.

    Args:
        folder: as the workflow's step ``cache_teacher`` writes it.

    Raises:
        UserError: it is not there, or its ``meta.json`` is not of this format.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / META
        try:
            self.meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = self.meta["format"]
            self.identity = Identity(
                teacher=self.meta["teacher"],
                dictionaries=self.meta["dictionaries"],
                vocabulary=self.meta["vocabulary"],
                temperature=self.meta["temperature"],
                corpora={split: self.meta["splits"][split]["corpus"] for split in SPLITS},
            )
            self.top_k: int | Literal["full"] = self.meta["top_k"]
            entries = [self.meta["splits"][split] for split in SPLITS]
            self._parts = [
                self.meta["tails"],
                *(part for each in entries for part in (each["starts"], *each["shards"])),
            ]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); make the teacher's cache first") from error
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path}: is no teacher cache's; {_AGAIN.format(folder)}") from error
        if version != FORMAT:
            raise UserError(f"{path}: has format {version!r}, this version reads {FORMAT}; {_AGAIN.format(folder)}")

    def check(self, needed: Identity) -> None:
        """Refuse a cache of another teacher, dictionary, temperature or corpus.

        Raises:
            UserError: names what differs.
        """
        own = self.identity
        differences = [
            ("another teacher (SHA-256 {} there, {} here)", own.teacher, needed.teacher),
            ("a vocabulary of {} tokens instead of {}", own.vocabulary, needed.vocabulary),
            ("temperature {} instead of {}", own.temperature, needed.temperature),
            *(
                (f"another {side} dictionary (SHA-256 {{}} there, {{}} here)", own.dictionaries.get(side), fingerprint)
                for side, fingerprint in needed.dictionaries.items()
            ),
            *(
                (f"another {split} corpus (SHA-256 {{}} there, {{}} here)", own.corpora.get(split), fingerprint)
                for split, fingerprint in needed.corpora.items()
            ),
        ]
        for text, there, here in differences:
            if there != here:
                shown = (str(value)[:12] if "SHA" in text else value for value in (there, here))
                raise UserError(f"{self.folder}: the cache is of {text.format(*shown)}; {_AGAIN.format(self.folder)}")

    def verify(self) -> None:
        """Compare size and SHA-256 of every file with ``meta.json``.

        Raises:
            UserError: a file is missing, truncated or altered; names it.
        """
        for part in self._parts:
            path = self.folder / part["file"]
            if not path.is_file():
                problem = "is missing"
            elif (size := path.stat().st_size) != part["bytes"]:
                problem = f"has {size:,} bytes instead of {part['bytes']:,}"
            elif sha256(path) != part["sha256"]:
                problem = "was altered: its SHA-256 is not that in meta.json"
            else:
                continue
            raise UserError(f"{path}: {problem}; {_AGAIN.format(self.folder)}")

    def tails(self) -> Tensor:
        """The teacher's average distribution over the tokens that are not among the k, float32 ``(V)``."""
        return torch.from_numpy(np.load(self.folder / TAILS))

    def split(self, name: str) -> CachedSplit:
        """The rows of a split, mapped into memory; the cache should have been checked and verified."""
        entry = self.meta["splits"][name]
        return CachedSplit(
            [self.folder / part["file"] for part in entry["shards"]],
            self.folder / entry["starts"]["file"],
            [part["tokens"] for part in entry["shards"]],
            record_type(self.top_k, self.identity.vocabulary),
        )


_AGAIN = "delete {} and run again, then it is made anew"


class CachedSplit:
    """The records of one split, found by sentence.

    Args:
        shards: their files, in order.
        starts: see :func:`starts_file`.
        tokens: records in each shard.
        record: as :func:`record_type` gives it.
    """

    def __init__(self, shards: Sequence[Path], starts: Path, tokens: Sequence[int], record: np.dtype):
        self._record = record
        self._maps: list[mmap.mmap] = []
        self._starts = self._map(starts, np.dtype("<i8"))
        self._shards = [self._map(path, record).view(np.uint8).reshape(-1, record.itemsize) for path in shards]
        self._first = np.concatenate([[0], np.cumsum(tokens)[:-1]])
        self._touched = 0

    def _map(self, path: Path, expected: np.dtype) -> np.ndarray:
        with path.open("rb") as handle:
            npy.read_magic(handle)
            _, _, dtype = npy.read_array_header_1_0(handle)
            assert dtype == expected, f"{path}: {dtype} instead of {expected}"
            mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps.append(mapped)
            return np.frombuffer(mapped, dtype, offset=handle.tell())

    def __len__(self) -> int:
        """Sentences."""
        return len(self._starts) - 1

    def read(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Records of some sentences, one after the other ``(N)``, and how many each has.

        Args:
            sentences: int64 ``(B)``, rows of the binarised corpus.
        """
        begins, ends = self._starts[sentences], self._starts[sentences + 1]
        shards = np.searchsorted(self._first, begins, side="right") - 1
        lengths = ends - begins
        places = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.empty((places[-1], self._record.itemsize), dtype=np.uint8)
        begins = begins - self._first[shards]
        for shard, begin, length, place in zip(
            *(a.tolist() for a in (shards, begins, lengths, places[:-1])), strict=True
        ):
            rows[place : place + length] = self._shards[shard][begin : begin + length]
        self._release(rows.nbytes + len(sentences) * _FAULT_BYTES)
        return rows.view(self._record).reshape(-1), lengths

    def _release(self, touched: int) -> None:
        """Unmap the pages read so far, now and then; they stay in the page cache of the kernel."""
        self._touched += touched
        if self._touched > _MAPPED_BYTES:
            self._touched = 0
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def as_teaching(records: np.ndarray, device: torch.device, tails: Tensor | None = None) -> Teaching:
    """What :func:`kd.fused_loss.fused_loss` takes, from the records of N positions.

    Half precision rounds each log-probability; the k tokens and the rest are made to add up to one again.

    Args:
        records: as :meth:`CachedSplit.read` gives them.
        device: of the result.
        tails: what the rest is spread in proportion to, ``(V)`` on the same device; None makes it one event.
    """

    def tensor(name: str, dtype: type) -> Tensor:
        return torch.from_numpy(records[name].astype(dtype)).to(device)

    if "id" not in records.dtype.names:
        return tensor("logp", np.float32)
    log_probs, tail = tensor("logp", np.float32), tensor("tail", np.float32)
    total = torch.logaddexp(log_probs.logsumexp(dim=1), tail)
    return TopK(tensor("id", np.int64), log_probs - total.unsqueeze(1), tail - total, tails)

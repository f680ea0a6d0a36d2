"""The teacher cache, a teacher's next-token distributions on disk: format, checks, and reading the rows of a batch.

A cache is a folder. ``meta.json`` identifies its teacher, dictionaries and corpus. For each split it has one record a
target position, end of sentence included, in corpus order: shards of whole sentences, ``{split}.{number}.npy``, and
the first record of each sentence, ``{split}.starts.npy``. ``tails.npy`` is the teacher's average distribution over the
tokens that a record does not store. Shards are mapped into memory and never read as a whole, so a training's memory
does not grow with the cache, and processes share the page cache.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.json_files import read_json
from kd.fused_loss import Teaching, TopK

FORMAT = 1
META = "meta.json"
TAILS = "tails.npy"  # float32 (V), positive, sums to one; of the training set
CachedSplitName = Literal["train", "valid"]
SPLITS: tuple[CachedSplitName, ...] = ("train", "valid")  # valid too, because validation reports the distillation loss
# Pages that were read stay mapped, and count as the process's memory, until they are released; a page fault also maps
# neighbouring pages.
_FAULT_BYTES = 2**16
_MAPPED_BYTES = 2**25
_REBUILD = "delete {} and run again to rebuild it"


def record_type(k: int | Literal["full"], vocabulary: int) -> np.dtype:
    """The record of one target position.

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
    """Name of the file with the index of the first record of each sentence, and the total; int64 ``(B + 1)``."""
    return f"{split}.starts.npy"


def shard_file(split: str, number: int) -> str:
    """Name of a shard's file."""
    return f"{split}.{number:05d}.npy"


def corpus_hash(data: Path, split: str, languages: Sequence[str]) -> str:
    """SHA-256 of a binarised split, over the SHA-256 of each of its files.

    Args:
        data: folder of the binarised corpus.
        split: train or valid.
        languages: source and target.
    """
    stem = f"{split}.{'-'.join(languages)}"
    names = [f"{stem}.{language}.{kind}" for language in languages for kind in ("bin", "idx")]
    return hashlib.sha256("".join(sha256(data / name) for name in names).encode()).hexdigest()


class FileEntry(TypedDict):
    """A file of the cache in ``meta.json``."""

    file: str
    bytes: int
    sha256: str


class ShardEntry(TypedDict):
    """A shard of the cache in ``meta.json``, with its keys in the order in which they are written."""

    file: str
    sentences: int
    tokens: int
    bytes: int
    sha256: str


class _Split(TypedDict):
    corpus: str
    sentences: int
    tokens: int
    starts: FileEntry
    shards: list[ShardEntry]
    coverage: dict[str, float]


class _Meta(TypedDict):  # what is read of it
    format: int
    top_k: int | Literal["full"]
    vocabulary: int
    temperature: float
    teacher: str
    dictionaries: dict[str, str]
    tails: FileEntry
    splits: Annotated[dict[Literal["train", "valid"], _Split], Field(min_length=2)]


@dataclass(frozen=True)
class Identity:
    """What a cache was made from, or what a training requires it to be made from."""

    teacher: str  # SHA-256 of the model file
    dictionaries: dict[str, str]  # fingerprints, by side
    vocabulary: int
    temperature: float
    corpora: dict[str, str]  # corpus_hash, by split


class TeacherCache:
    """A finished cache.

    Args:
        folder: written by the workflow's step ``cache_teacher``.

    Raises:
        UserError: there is no cache, or its ``meta.json`` is damaged or has another format.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / META
        self.meta = read_json(path, _Meta, _REBUILD.format(folder))
        if (version := self.meta["format"]) != FORMAT:
            raise UserError(f"{path}: has format {version!r}, this version reads {FORMAT}; {_REBUILD.format(folder)}")
        splits = [self.meta["splits"][name] for name in SPLITS]
        self.identity = Identity(
            teacher=self.meta["teacher"],
            dictionaries=self.meta["dictionaries"],
            vocabulary=self.meta["vocabulary"],
            temperature=self.meta["temperature"],
            corpora={name: split["corpus"] for name, split in zip(SPLITS, splits, strict=True)},
        )
        self.top_k: int | Literal["full"] = self.meta["top_k"]
        files = [file for split in splits for file in (split["starts"], *split["shards"])]
        self._files: list[FileEntry | ShardEntry] = [self.meta["tails"], *files]

    def check(self, needed: Identity) -> None:
        """Require a cache of the same teacher, dictionaries, temperature and corpus.

        Raises:
            UserError: one of them differs.
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
                raise UserError(f"{self.folder}: the cache is of {text.format(*shown)}; {_REBUILD.format(self.folder)}")

    def verify(self) -> None:
        """Compare size and SHA-256 of every file with ``meta.json``.

        Raises:
            UserError: a file is missing, truncated or altered.
        """
        for entry in self._files:
            path = self.folder / entry["file"]
            if not path.is_file():
                problem = "is missing"
            elif (size := path.stat().st_size) != entry["bytes"]:
                problem = f"has {size:,} bytes instead of {entry['bytes']:,}"
            elif sha256(path) != entry["sha256"]:
                problem = "was altered: its SHA-256 is not that in meta.json"
            else:
                continue
            raise UserError(f"{path}: {problem}; {_REBUILD.format(self.folder)}")

    def tails(self) -> Tensor:
        """The teacher's average distribution over the tokens that are not among the k, float32 ``(V)``."""
        return torch.from_numpy(np.load(self.folder / TAILS))

    def split(self, name: CachedSplitName) -> CachedSplit:
        """The records of a split, mapped into memory; check and verify the cache before."""
        entry = self.meta["splits"][name]
        return CachedSplit(
            [self.folder / shard["file"] for shard in entry["shards"]],
            self.folder / entry["starts"]["file"],
            [shard["tokens"] for shard in entry["shards"]],
            record_type(self.top_k, self.identity.vocabulary),
        )


class CachedSplit:
    """The records of one split, looked up by sentence.

    Args:
        shards: files, in order.
        starts: see :func:`starts_file`.
        tokens: number of records in each shard.
        record: see :func:`record_type`.
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
        """The concatenated records of some sentences ``(N)``, and the number of records of each ``(B)``.

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
        """Unmap the pages read so far once they are many; they stay in the kernel's page cache."""
        self._touched += touched
        if self._touched > _MAPPED_BYTES:
            self._touched = 0
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def as_teaching(records: np.ndarray, device: torch.device, tails: Tensor | None = None) -> Teaching:
    """The argument of :func:`kd.fused_loss.fused_loss` for the records of N positions.

    Half precision rounds each log-probability, so the k tokens and the rest are normalised to a sum of one again.

    Args:
        records: see :meth:`CachedSplit.read`.
        device: of the result.
        tails: distribution ``(V)`` on the same device, in proportion to which the rest is redistributed; None makes
            the rest one event.
    """

    def tensor(name: str, dtype: type) -> Tensor:
        return torch.from_numpy(records[name].astype(dtype)).to(device)

    if "id" not in (records.dtype.names or ()):
        return tensor("logp", np.float32)
    log_probs, tail = tensor("logp", np.float32), tensor("tail", np.float32)
    total = torch.logaddexp(log_probs.logsumexp(dim=1), tail)
    return TopK(tensor("id", np.int64), log_probs - total.unsqueeze(1), tail - total, tails)

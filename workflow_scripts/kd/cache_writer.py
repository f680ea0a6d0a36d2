"""Write a teacher's cache: one pass over a corpus, shard by shard, that may be stopped or killed anywhere.

The bytes of a shard depend on the shard alone, not on what was written before it, so a run that goes on after a kill
ends in the files of an undisturbed one (on the same device, with as many threads). A finished shard has a sidecar,
written after it, with its SHA-256 and what the coverage needs; without one that fits, a shard is computed again.

The folder of unfinished work holds ``cache``, which becomes the cache by a rename, and beside it what is not published:
``sidecars``, ``seconds.json`` and the lock.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from fairseq import utils

from ekd_nmt.cluster.cache_size import amount
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256, write_json
from kd.binarized_corpus import load_task
from kd.cache import FORMAT, META, SPLITS, TAILS, corpus_hash, record_type, starts_file
from kd.cache_layout import Shard, batches, coverage, mass_statistics, plan, tails_distribution, to_records, write_array
from kd.dictionaries import fingerprints
from kd.teacher import Teacher

SHARD_BYTES = 2**24  # a kill loses the work of one shard at most, and one shard is held in memory


@dataclass(frozen=True)
class Request:
    """What to cache, and how."""

    teacher: Path  # model.pt
    data: Path  # folder of the binarised corpus
    top_k: int | Literal["full"]
    temperature: float
    max_tokens: int  # source or target tokens of a batch, padding counted
    shard_bytes: int = SHARD_BYTES  # about; whole sentences, at least one
    cpu: bool = False  # even when there is a GPU

    @property
    def cuda(self) -> bool:
        """Whether the teacher runs on a GPU."""
        return torch.cuda.is_available() and not self.cpu

    def decisive(self) -> dict[str, Any]:
        """The options that decide the bytes of the cache."""
        names = ("top_k", "temperature", "max_tokens", "shard_bytes", "cuda")
        return {"format": FORMAT} | {name: getattr(self, name) for name in names}


class Caching:
    """The writing of one cache.

    Args:
        request: what to cache.
        folder: of the unfinished work, held by this process.
        say: takes a line for the reader of the log.
        before_saving: called before files are written; may raise.
        parts: for want of memory, batches are so many times smaller.

    Raises:
        UserError: the corpus or the teacher cannot be used.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        say: Callable[[str], None] = print,
        before_saving: Callable[[], None] = lambda: None,
        parts: int = 1,
    ):
        self._started = time.perf_counter()
        self.request, self.folder, self.say = request, folder, say
        self._before_saving, self._max_tokens = before_saving, max(1, request.max_tokens // parts)
        self.task = load_task(request.data)
        self.teacher = Teacher.load(request.teacher, self.task, request.temperature)
        self.vocabulary = len(self.task.target_dictionary)
        self.record = record_type(request.top_k, self.vocabulary)
        self.starts, self.shards = {}, {}
        for split in SPLITS:
            sizes = self.task.dataset(split).tgt_sizes
            self.starts[split] = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype("<i8")
            self.shards[split] = plan(split, self.starts[split], self.record.itemsize, request.shard_bytes)
        self._cache, self._sidecars = folder / "cache", folder / "sidecars"
        for leftover in (path for part in (folder, self._cache, self._sidecars) for path in part.glob(".*.tmp")):
            leftover.unlink()  # of a write that was killed
        self._seconds_before = _read_json(folder / "seconds.json") or 0.0

    @property
    def tokens(self) -> int:
        """Target positions of all splits."""
        return sum(int(starts[-1]) for starts in self.starts.values())

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def device(self) -> str:
        """Where the teacher runs, in words."""
        return torch.cuda.get_device_name() if self.request.cuda else "cpu"

    @property
    def meta_sha256(self) -> str:
        """Hexadecimal SHA-256 of ``meta.json``, when the cache is complete and not published yet."""
        return sha256(self._cache / META)

    def run(self, before_batch: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Compute what is not there yet, and complete the cache in the folder of the unfinished work.

        Args:
            before_batch: called before each batch; may raise in order to stop.

        Returns:
            The content of ``meta.json``.

        Raises:
            UserError: not enough disk space, or the teacher's probabilities are not finite.
        """
        shards = [shard for split in SPLITS for shard in self.shards[split]]
        sidecars = {shard: sidecar for shard in shards if (sidecar := self._finished(shard)) is not None}
        missing = [shard for shard in shards if shard not in sidecars]
        left = sum(shard.tokens for shard in missing)
        size = amount(self.tokens * self.record.itemsize)
        self.say(
            f"{self.request.teacher}: top_k {self.request.top_k}, temperature {self.request.temperature}, "
            f"{self.tokens:,} target tokens, {size} in {len(shards)} shards, on {self.device}"
        )
        if self.request.top_k != "full" and self.request.top_k > self.vocabulary:
            self.say(f"warning: top_k {self.request.top_k} is above the vocabulary, {self.vocabulary}; use top_k: full")
        if sidecars:
            self.say(f"going on: {len(sidecars)} of {len(shards)} shards are there")
        self._require_room(left * self.record.itemsize)
        begun, computed = time.perf_counter(), 0
        for shard in missing:
            try:
                sidecars[shard] = self._write(shard, before_batch)
            finally:
                write_json(self.folder / "seconds.json", round(self.seconds, 2))
            computed += shard.tokens
            rate = computed / (time.perf_counter() - begun)
            self.say(
                f"{shard.entry['file']} | {shard.tokens:,} tokens | {rate:,.0f} tokens/s | "
                f"{left - computed:,} tokens left, {(left - computed) / rate:,.0f} s"
            )
        return self._complete({split: [sidecars[shard] for shard in self.shards[split]] for split in SPLITS})

    @property
    def cache(self) -> Path:
        """The folder to publish when :meth:`run` has returned."""
        return self._cache

    def _finished(self, shard: Shard) -> dict[str, Any] | None:
        """The sidecar of a shard that is complete and unaltered, else None."""
        sidecar, path = _read_json(self._sidecar(shard)), self._cache / shard.entry["file"]
        try:
            entry = sidecar["entry"]
            whole = sha256(self._tails(shard)) == sidecar["tails"] and entry == shard.entry | {
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
            return sidecar if whole else None
        except (OSError, LookupError, TypeError):
            return None

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder}: the teacher's cache takes {amount(needed)} more and {amount(free)} are free; lower "
                "distillation.top_k, make room, or set distillation.teacher_mode: online"
            )

    def _write(self, shard: Shard, before_batch: Callable[[], None]) -> dict[str, Any]:
        tails = np.zeros(self.vocabulary)
        records = self._compute(shard, tails, before_batch)
        self._before_saving()
        path = self._cache / shard.entry["file"]
        sidecar = {"entry": shard.entry | write_array(path, records), "mass": mass_statistics(records)}
        sidecar["tails"] = write_array(self._tails(shard), tails)["sha256"]
        write_json(self._sidecar(shard), sidecar)  # the last, because it says that all is there
        return sidecar

    def _compute(self, shard: Shard, tails: np.ndarray, before_batch: Callable[[], None]) -> np.ndarray:
        """The records of a shard, in corpus order; ``tails`` as for :func:`kd.cache_parts.to_records`."""
        dataset = self.task.dataset(shard.split)
        sizes = (each[shard.first : shard.end] for each in (dataset.src_sizes, dataset.tgt_sizes))
        starts = self.starts[shard.split]
        records = np.empty(shard.tokens, dtype=self.record)
        for batch in batches(*sizes, self._max_tokens):
            before_batch()
            sample = dataset.collater([dataset[shard.first + index] for index in batch.tolist()])
            ids = sample["id"].numpy()
            lengths = starts[ids + 1] - starts[ids]
            inside = torch.arange(sample["target"].size(1)) < torch.from_numpy(lengths).unsqueeze(1)
            rows = inside.flatten().nonzero().squeeze(1)
            if self.request.cuda:
                sample, rows = utils.move_to_cuda(sample), rows.cuda()
            found = to_records(
                self.teacher.teach(sample, rows, dtype=torch.float32, training=False), self.record, tails
            )
            lost = ~np.isfinite(found["logp"]).all(axis=1)
            if lost.any():
                raise UserError(
                    f"teacher {self.request.teacher}: its probabilities are not finite in line "
                    f"{np.repeat(ids, lengths)[lost][0] + 1} of {shard.split}; its training diverged, train it again"
                )
            # of each position, its place in the sentence added to the sentence's in the shard
            ends = np.cumsum(lengths)
            offsets = starts[ids] - starts[shard.first] - (ends - lengths)
            records[np.repeat(offsets, lengths) + np.arange(ends[-1])] = found
        return records

    def _complete(self, sidecars: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """Write the files beside the shards, ``meta.json`` last."""
        languages = (self.task.cfg.source_lang, self.task.cfg.target_lang)
        splits = {}
        for split, starts in self.starts.items():
            name = starts_file(split)
            splits[split] = {
                "corpus": corpus_hash(self.request.data, split, languages),
                "sentences": len(starts) - 1,
                "tokens": int(starts[-1]),
                "starts": {"file": name} | write_array(self._cache / name, starts),
                "shards": [sidecar["entry"] for sidecar in sidecars[split]],
                "coverage": coverage([sidecar["mass"] for sidecar in sidecars[split]]),
            }
        sums = sum(np.load(self._tails(shard)) for shard in self.shards["train"])
        meta = {
            "format": FORMAT,
            "top_k": self.request.top_k,
            "vocabulary": self.vocabulary,
            "temperature": self.request.temperature,
            "teacher": sha256(self.request.teacher),
            "dictionaries": fingerprints(self.task),
            "tails": {"file": TAILS} | write_array(self._cache / TAILS, tails_distribution(sums)),
            "splits": splits,
        }
        write_json(self._cache / META, meta)
        return meta

    def _sidecar(self, shard: Shard) -> Path:
        return self._sidecars / f"{shard.entry['file']}.json"

    def _tails(self, shard: Shard) -> Path:
        return self._sidecars / f"{shard.entry['file']}.tails.npy"


def _read_json(path: Path) -> Any:
    """The content of a file, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

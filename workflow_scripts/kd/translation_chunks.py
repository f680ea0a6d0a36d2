"""A translation in chunks of whole batches, each kept in a file, so that it can be stopped or killed at any time.

The chunks do not depend on the speed of the machine or on earlier interruptions. A damaged one is translated again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ekd_nmt.common.files import atomic_write
from ekd_nmt.common.logs import say
from ekd_nmt.resume.work_folder import WorkFolder
from kd.beam_search import Search, Translation

SENTENCES = 2000  # of a chunk at least, except the last one; a kill loses the work of one chunk at most
LOG_SECONDS = 30.0  # at least, between two lines of the log


def plan(batches: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Gather batches into chunks of :data:`SENTENCES` sentences or a few more."""
    chunks: list[list[np.ndarray]] = []
    room = 0
    for batch in batches:
        if room <= 0:
            chunks.append([])
            room = SENTENCES
        chunks[-1].append(batch)
        room -= len(batch)
    return chunks


class Chunks:
    """The finished chunks of a translation, each a file of JSON lines: a checksum of the rest, then the sentences.

    Args:
        work: held by this process.
        plan: the sentence numbers of each chunk, batch by batch.
    """

    def __init__(self, work: WorkFolder, plan: list[list[np.ndarray]]):
        self._folder, self._work, self.plan = work.path / "chunks", work, plan
        for temporary in self._folder.glob(".*.tmp"):
            temporary.unlink()  # of a write that was killed

    def read(self, number: int) -> list[Translation] | None:
        """The translations of a chunk in the order of its batches; None if it is missing or damaged."""
        path = self._path(number)
        try:
            head, body = path.read_bytes().split(b"\n", 1)
            rows = [json.loads(line) for line in body.split(b"\n")[:-1]]
            if json.loads(head)["sha256"] != _digest(body) or [row["id"] for row in rows] != self.ids(number):
                raise ValueError("not the chunk that was written")
            return [Translation(row["text"], row["score"]) for row in rows]
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            say(f"{path}: is damaged, so its sentences are translated again")
            return None

    def write(self, number: int, translations: list[Translation]) -> None:
        """Keep the translations of a chunk, in the order of its batches.

        Raises:
            UserError: another process has taken over.
        """
        # json writes a float with all the digits that it takes to read the same one
        rows = zip(self.ids(number), translations, strict=True)
        lines = [{"id": index, "text": found.text, "score": found.score} for index, found in rows]
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        self._work.check_lease()
        with atomic_write(self._path(number), "wb") as handle:
            handle.write(json.dumps({"sha256": _digest(body)}).encode() + b"\n" + body)

    def ids(self, number: int) -> list[int]:
        """The sentence numbers of a chunk, in the order of its batches."""
        return [index for batch in self.plan[number] for index in batch.tolist()]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.jsonl"


class ProgressLog:
    """Logs the progress of a translation now and then.

    Args:
        sizes: source tokens of each sentence; the time left is estimated by them, since short sentences come first.
        left: the batches to translate.
    """

    def __init__(self, sizes: np.ndarray, left: Sequence[np.ndarray]):
        self._sizes, self.sentences = sizes, 0
        self._all = len(sizes)
        self._before = self._all - sum(map(len, left))
        self._tokens, self._all_tokens = 0, sum(int(sizes[batch].sum()) for batch in left)
        self._started = time.perf_counter()
        self._due = self._started + LOG_SECONDS

    @property
    def seconds(self) -> float:
        """Since the start, more than 0."""
        return max(time.perf_counter() - self._started, 1e-9)

    def add(self, batch: np.ndarray) -> None:
        """A batch is translated."""
        self.sentences += len(batch)
        self._tokens += int(self._sizes[batch].sum())
        if time.perf_counter() >= self._due and self._tokens < self._all_tokens:
            self._due = time.perf_counter() + LOG_SECONDS
            left = (self._all_tokens - self._tokens) / self._tokens * self.seconds
            done, rate = self._before + self.sentences, self.sentences / self.seconds
            say(f"{done:,} of {self._all:,} sentences | {rate:,.1f} sentences/s | {left:,.0f} s left")

    def total(self) -> str:
        """A summary when all is done, in one line."""
        rate = self.sentences / self.seconds
        before = f"; {self._before} are of an earlier run" if self._before else ""
        return f"translated {self.sentences} sentences in {self.seconds:.1f} s, {rate:.1f} sentences/s{before}"


def translate_chunks(search: Search, chunks: Chunks, sizes: np.ndarray) -> tuple[list[Translation], str]:
    """Translate the missing chunks.

    Args:
        search: translates a batch.
        chunks: where chunks are kept.
        sizes: source tokens of each sentence of the split, in corpus order.

    Returns:
        All translations in corpus order, and a summary of the work in one line.

    Raises:
        UserError: a sentence does not fit into memory, or another process has taken over.
    """
    translations: dict[int, Translation] = {}

    def put(number: int, found: list[Translation]) -> None:
        translations.update(zip(chunks.ids(number), found, strict=True))

    missing, count = [], len(chunks.plan)
    for number in range(count):
        if (found := chunks.read(number)) is None:
            missing.append(number)
        else:
            put(number, found)
    if len(missing) < count:
        say(f"resuming: {count - len(missing)} of {count} chunks are there")
    log = ProgressLog(sizes, [batch for number in missing for batch in chunks.plan[number]])
    for number in missing:
        found = []
        for batch in chunks.plan[number]:
            found += search.translate(batch)
            log.add(batch)
        chunks.write(number, found)
        put(number, found)
    return [translations[index] for index in range(len(sizes))], log.total()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

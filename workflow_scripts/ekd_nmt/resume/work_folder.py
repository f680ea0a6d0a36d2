"""Unfinished work: ``…/progress/{key}``, a folder that belongs to one job and has one writer at a time.

The folder is no output of the workflow, so Snakemake does not delete it when a job fails or runs again. The key is a
hash of all that decides the result: the same job resumes where it stopped, and another job starts from scratch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256, write_json
from ekd_nmt.common.json_files import read_json, read_json_if_valid
from ekd_nmt.common.logs import say
from ekd_nmt.common.signals import ignore_stop_signals
from ekd_nmt.resume.lease import LEASE_SECONDS, LOCK, OWNER, Lease, Owner, hold
from ekd_nmt.resume.out_of_memory import killed_for_memory

JOB, HALVINGS = "job.json", "out_of_memory.json"
MOST_HALVINGS = 6  # a batch in 64 parts; what does not fit then never fits
# A process of another machine counts as running if it refreshed its lock this lately: leases, since it may be slow, and
# minutes, since the clocks of machines differ. A process of this machine can be looked at instead.
HEARTBEAT_SECONDS = max(600.0, 5 * LEASE_SECONDS)
_KEY = re.compile(r"[0-9a-f]{8,64}")
_WORK = re.compile(r"checkpoint_.+\.pt|.+\.npy|[0-9]+\.jsonl")  # checkpoints, shards of caches, chunks of translations
_CLOCK_SECONDS = 60.0  # by how much a process may seem to have started after it wrote owner.json


class Job(BaseModel):
    """All that decides the result of a job."""

    command: Literal["train", "cache_teacher", "translate"]
    revision: int  # REVISION of the command
    options: dict[str, Any]  # in JSON's types
    inputs: dict[str, str]  # path, as the job was given it, → SHA-256

    @classmethod
    def of(cls, command: str, revision: int, options: Mapping[str, Any], inputs: Iterable[Path]) -> Job:
        """The job of a command with a ``REVISION``: all options, in JSON's types, and all files that decide."""
        hashes = {str(path): sha256(path) for path in inputs}
        return cls.model_validate({"command": command, "revision": revision, "options": options, "inputs": hashes})

    @property
    def key(self) -> str:
        """A hash of the job. Paths are not part of it, so inputs may be moved."""
        decisive = {"command": self.command, "revision": self.revision, "options": self.options}
        parts = [json.dumps(decisive, sort_keys=True), *self.inputs.values()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Halving(BaseModel):
    """A time when memory ran out, after which batches were halved."""

    time: float  # seconds since the epoch
    update: int | None  # updates made before, if known
    cause: str


class WorkFolder:
    """The folder of a job's unfinished work. Only :meth:`open` and :meth:`inherited` give the right to write to it."""

    def __init__(self, path: Path, lease: Lease | None = None):
        self.path, self._lease = path, lease or Lease(path, "command", token=None)  # held by nobody

    @classmethod
    @contextlib.contextmanager
    def open(cls, parent: Path, job: Job) -> Iterator[WorkFolder]:
        """Hold ``{parent}/progress/{key}`` for the duration of a block; another process that has it is waited for.

        The folder is removed in the end if no work was done in it.

        Raises:
            UserError: another process holds it.
        """
        with hold(parent / "progress" / job.key, job.command) as lease:
            work = cls(parent / "progress" / job.key, lease)
            if work.job != job:
                write_json(work.path / JOB, job.model_dump())
            try:
                yield work
            finally:
                with contextlib.suppress(OSError):
                    if {JOB} == set(os.listdir(work.path)) - {LOCK, OWNER} and lease.is_held():
                        (work.path / JOB).unlink()

    @classmethod
    def inherited(cls, path: Path, command: str) -> WorkFolder:
        """The folder that the parent process holds and passed on with :meth:`environment`."""
        return cls(path, Lease.inherited(path, command))

    def environment(self) -> dict[str, str]:
        """The environment of a process that works in this folder on behalf of this one."""
        return self._lease.environment()

    def check_lease(self) -> None:
        """Call this before files are replaced.

        Raises:
            UserError: another process has taken over.
        """
        self._lease.check()

    def already_made(self, output: Path, is_complete: Callable[[], bool]) -> bool:
        """Whether another process has put the output in place while this one waited; if so, the folder is cleared.

        Call this only if the output did not exist when this process started: what existed then is to be replaced.
        """
        if not is_complete():
            return False
        ignore_stop_signals()
        say(f"{output}: another process has made it while this one waited, so it is kept")
        self.clear()
        return True

    @property
    def halvings(self) -> list[Halving]:
        """The times so far that memory ran out: batches are to be halved as often.

        Raises:
            UserError: the record is damaged.
        """
        file = self.path / HALVINGS
        return read_json(file, list[Halving], "delete it and run again") if file.exists() else []

    def halve_batches(self, cause: str, update: int | None = None, halvings: int | None = None) -> None:
        """Record that memory ran out, so that the next attempt takes smaller batches.

        Args:
            cause: for the reader of the provenance.
            update: updates made before, if known.
            halvings: how many there were when memory ran out; another rank may have recorded it already.

        Raises:
            UserError: batches cannot become any smaller.
        """
        entries = self.halvings
        if halvings is not None and len(entries) > halvings:
            return
        if len(entries) >= MOST_HALVINGS:
            raise UserError(
                f"{self.path}: {cause}, though batches are halved {MOST_HALVINGS} times already; request more memory, "
                "choose a smaller model, or lower data.filter.max_tokens"
            )
        entries.append(Halving(time=round(time.time(), 2), update=update, cause=cause))
        write_json(self.path / HALVINGS, [entry.model_dump() for entry in entries])

    def halve_batches_after_kill(self) -> None:
        """Record it if the previous attempt was killed because memory ran out."""
        if self._lease.previous is not None and (cause := killed_for_memory(self._lease.previous)):
            self.halve_batches(cause)

    def publish(self, made: Path, output: Path) -> None:
        """Put a result in place by a rename, the last act of a command: stop signals are ignored from here on.

        Args:
            made: a file or a folder, in this folder.
            output: on the same file system; what is there is replaced.

        Raises:
            UserError: another process has taken over.
        """
        self.check_lease()
        ignore_stop_signals()
        if output.is_dir():
            replaced = self.path / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)  # exists if an earlier process was killed in what follows
            os.replace(output, replaced)
        os.replace(made, output)

    def clear(self) -> None:
        """Remove all but the lease, as far as possible, when the work is finished."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in (LOCK, OWNER):
                with contextlib.suppress(OSError):
                    path.unlink()

    @property
    def job(self) -> Job | None:
        """The job that the work belongs to; None if ``job.json`` is missing, damaged or of another form."""
        return read_json_if_valid(self.path / JOB, Job)

    @property
    def holds_work(self) -> bool:
        """Whether there is a checkpoint, a shard or a chunk, so that removing the folder loses work."""
        return any(_WORK.fullmatch(name) for _, _, names in os.walk(self.path) for name in names)

    def running_owner(self) -> Owner | None:
        """The process that works here, or None.

        A process of another machine counts as running until its lock is older than :data:`HEARTBEAT_SECONDS`. So does
        one that has a lock and has not written ``owner.json`` yet.
        """
        owner: Owner | None = read_json_if_valid(self.path / OWNER, Owner)
        if owner is not None and owner.is_local:
            latest = time.time() if owner.since is None else owner.since + _CLOCK_SECONDS
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(owner.pid)
                if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= latest:
                    return owner
            return None
        with contextlib.suppress(OSError):  # there is no lock
            if time.time() - (self.path / LOCK).lstat().st_mtime < HEARTBEAT_SECONDS:
                return owner or Owner()
        return None


def work_folders(experiment: Path) -> list[WorkFolder]:
    """The folders of unfinished work of one experiment, sorted: of trainings, translations and caches.

    Links are not followed. A folder whose name is no key, a hexadecimal hash, is left out.

    Args:
        experiment: ``results/{experiment}``.
    """
    runs = [run for system in _folders(experiment) for run in _folders(system) if run.name.startswith("seed")]
    places = [place for run in runs for place in (*_folders(run, "cache"), run)]
    found = [folder for place in places for progress in _folders(place, "progress") for folder in _folders(progress)]
    return [WorkFolder(folder) for folder in found if _KEY.fullmatch(folder.name)]


def _folders(parent: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in parent.glob(pattern) if path.is_dir() and not path.is_symlink())

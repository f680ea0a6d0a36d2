"""A lease on a folder: one writer at a time, also where several machines share the file system.

A killed controller leaves its jobs running, and a lost node may keep writing after its job was started elsewhere. So a
process refreshes the file ``lock`` of the folder while it works there. Another process takes over once the first has
ended, or has not refreshed the lock for the length of the lease. File locks of the operating system would not do: many
network file systems have none.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout
from pydantic import BaseModel

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json
from ekd_nmt.common.json_files import read_json_if_valid
from ekd_nmt.common.logs import say
from ekd_nmt.resume.out_of_memory import oom_kill_count

LOCK, OWNER = "lock", "owner.json"
# the same for all processes that meet at a folder; long enough for a slow network file system
LEASE_SECONDS = float(os.environ.get("EKD_LEASE_SECONDS", 60))
# How long to wait for another process. In a SLURM job nobody waits at a terminal, and giving up would fail a job whose
# work is being done: there the job's time limit is the only one.
LEASE_WAIT_SECONDS = float(os.environ.get("EKD_LEASE_WAIT_SECONDS") or ("inf" if "SLURM_JOB_ID" in os.environ else 120))
_POLL_SECONDS = 0.5
_READ_SECONDS = 5.0  # to retry reading the owner; network file systems now and then fail
_TOKEN = "EKD_LEASE_TOKEN"


class Owner(BaseModel):
    """The process that holds a lease, as ``owner.json`` describes it."""

    pid: int | None = None
    host: str | None = None
    job: str | None = None  # of SLURM
    since: float | None = None  # seconds since the epoch
    command: str | None = None
    oom_kills: dict[str, Any] | None = None  # see out_of_memory.oom_kill_count

    @property
    def is_local(self) -> bool:
        """Whether it is a process of this machine."""
        return self.pid is not None and self.host == socket.gethostname()

    def __str__(self) -> str:
        job = f" in SLURM job {self.job}" if self.job else ""
        return f"process {self.pid or '?'} on {self.host or 'another machine'}{job}"


class Lease:
    """The right of this process, and of those it starts, to write to a folder.

    Attributes:
        token: identifies the lease.
        previous: the process that held the folder before and was killed, or None.
    """

    def __init__(self, folder: Path, command: str, token: str | None, previous: Owner | None = None):
        self._folder, self._command = folder, command
        self._lock = _lock(folder)
        self.token, self.previous = token, previous

    @classmethod
    def inherited(cls, folder: Path, command: str) -> Lease:
        """The lease of the parent process, which passed on :meth:`environment`."""
        return cls(folder, command, os.environ.get(_TOKEN))

    def environment(self) -> dict[str, str]:
        """The environment of a process that works for this one."""
        return os.environ | {_TOKEN: self.token or ""}

    def is_held(self) -> bool:
        """Whether no other process has taken over."""
        deadline = time.monotonic() + _READ_SECONDS
        while (owner := self._lock.owner) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return owner is not None and owner.token == self.token

    def check(self) -> None:
        """Call this before files are replaced.

        Raises:
            UserError: another process has taken over. This one was suspended or cut off from the file system for longer
                than the lease, and must not write any more.
        """
        if not self.is_held():
            raise UserError(
                f"{self._folder}: another {self._command} took over, because this one had no heartbeat for "
                f"{LEASE_SECONDS:g} s; this one stops, wait for the other"
            )


@contextlib.contextmanager
def hold(folder: Path, command: str) -> Iterator[Lease]:
    """Hold the lease of a folder. Wait for a process that has it: two minutes, in a SLURM job without a limit.

    Args:
        folder: made if it is not there, and removed in the end if it is empty.
        command: for messages.

    Raises:
        UserError: another process holds the lease.
    """
    _make(folder)
    lock = _lock(folder)
    try:
        _acquire(lock, folder, command)
    except LeaseSettingsMismatch:
        raise UserError(
            f"{folder}: another {command} runs here with a different EKD_LEASE_SECONDS; use one value for all processes"
        ) from None
    lease = Lease(folder, command, lock.token, read_json_if_valid(folder / OWNER, Owner))
    try:
        if lease.previous is not None:
            say(f"the previous {command}, {lease.previous}, was killed; resuming its work")
        write_json(folder / OWNER, _this_process(command).model_dump())
        yield lease
    finally:
        if lease.is_held():
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        for each in (folder, folder.parent, folder.parent.parent):
            with contextlib.suppress(OSError):  # not empty
                each.rmdir()


def _lock(folder: Path) -> SoftFileLease:
    return SoftFileLease(folder / LOCK, lease_duration=LEASE_SECONDS, mode=0o644, is_singleton=False)


def _acquire(lock: SoftFileLease, folder: Path, command: str) -> None:
    with contextlib.suppress(Timeout, FileNotFoundError, FileExistsError):
        lock.acquire(timeout=0)
        return

    def other() -> str:
        return f"{folder}: another {command} runs here, {read_json_if_valid(folder / OWNER, Owner) or Owner()}"

    limit = "" if math.isinf(LEASE_WAIT_SECONDS) else f" up to {LEASE_WAIT_SECONDS:g} s"
    say(f"{other()}; waiting{limit} for it to end")
    deadline = time.monotonic() + LEASE_WAIT_SECONDS
    try:
        while not lock.is_locked:
            # the other process removes the folder when its work is finished; see _make for the second error
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                _make(folder)
                left = -1 if math.isinf(deadline) else max(0.0, deadline - time.monotonic())  # filelock: -1 is no limit
                lock.acquire(timeout=left, poll_interval=_POLL_SECONDS)
    except Timeout:
        raise UserError(f"{other()}; wait for its end or stop it (make recover), and run again") from None


def _make(folder: Path) -> None:
    """Make the folder. pathlib raises FileExistsError if another process removes it at the wrong moment."""
    while True:
        try:
            return folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if os.path.lexists(folder) and not folder.is_dir():
                raise


def _this_process(command: str) -> Owner:
    return Owner(
        pid=os.getpid(),
        host=socket.gethostname(),
        job=os.environ.get("SLURM_JOB_ID"),
        since=round(time.time(), 2),
        command=command,
        oom_kills=oom_kill_count(),
    )

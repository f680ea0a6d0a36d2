"""One writer to a folder of unfinished work, also where its file system is shared by several machines.

A killed controller leaves its jobs running, a lost node may go on for a while after its job was started elsewhere: a
restart would put a second writer on the same files. So a process claims the folder by a lease: it refreshes the file
``lock`` there as long as it lives, and another process takes over when it is dead or has given no sign of life for the
time of the lease. File locks of the system would not do, since many network file systems have none.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_object, write_json
from ekd_nmt.common.logs import say
from ekd_nmt.resume.out_of_memory import kill_counter

LOCK, OWNER, JOB = "lock", "owner.json", "job.json"  # the last tells what the work is: unfinished.py
# the lease of all processes that meet at a folder must be the same; long enough for a slow network file system
LEASE_SECONDS = float(os.environ.get("EKD_LEASE_SECONDS", 60))
# To wait for another process that lives. In a job of SLURM nobody sits and waits, and to give up would fail the job
# although its work is being done: there the job's time limit is the only one.
CLAIM_SECONDS = float(os.environ.get("EKD_CLAIM_SECONDS") or ("inf" if "SLURM_JOB_ID" in os.environ else 120))
_POLL_SECONDS = 0.5
_READ_SECONDS = 5.0  # to try again to read whose the folder is; network file systems now and then fail to
_TOKEN = "EKD_CLAIM_TOKEN"


class Claim:
    """That a folder of unfinished work is this process's alone.

    Attributes:
        previous: the ``owner.json`` of a process that had the folder before and was killed, else None.
        token: that the lease is known by.
    """

    def __init__(self, progress: Path, work: str, token: str | None, previous: dict[str, Any] | None = None):
        self._progress, self._work = progress, work
        self._lease = _lease(progress)
        self.previous, self.token = previous, token

    def check(self) -> None:
        """Call this before files are replaced.

        Raises:
            UserError: another process has taken over. This one was stopped, or cut off from the file system, for longer
                than the lease; it must not write any more.
        """
        deadline = time.monotonic() + _READ_SECONDS
        while (owner := self._lease.owner) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if owner is None or owner.token != self.token:
            raise UserError(
                f"{self._progress}: another {self._work} has taken over here, because this one gave no sign of life "
                f"for {LEASE_SECONDS:g} s; it stops and leaves the work to the other"
            )


@contextlib.contextmanager
def claimed(progress: Path, work: str = "training") -> Iterator[Claim]:
    """Have a folder of unfinished work for this process alone.

    Another process that has it is waited for: two minutes, and in a job of SLURM as long as it lives.

    Args:
        progress: ``{…}/progress/{key}``; made if it is not there, and removed again if nothing came of it.
        work: what is done there, for messages.

    Raises:
        UserError: another process has it, and lives.
    """
    _make(progress)
    lease = _lease(progress)
    try:
        _acquire(lease, progress, work)
    except LeaseSettingsMismatch:
        raise UserError(
            f"{progress}: another {work} writes here with another EKD_LEASE_SECONDS; give all processes the same"
        ) from None
    try:
        previous = read_object(progress / OWNER)
        if previous is not None:
            say(f"the {work} before this one, {describe_owner(previous)}, was killed; its progress is gone on with")
        write_json(progress / OWNER, _this_process(work))
        yield Claim(progress, work, lease.token, previous)
    finally:
        with contextlib.suppress(UserError):
            Claim(progress, work, lease.token).check()
            (progress / OWNER).unlink(missing_ok=True)
        lease.release()
        _remove_if_empty(progress)


def _lease(progress: Path) -> SoftFileLease:
    return SoftFileLease(progress / LOCK, lease_duration=LEASE_SECONDS, mode=0o644, is_singleton=False)


def inherited(progress: Path) -> Claim:
    """The claim of the process that started this one and waits for it; it passed on :func:`to_inherit`."""
    return Claim(progress, "training", os.environ.get(_TOKEN))


def to_inherit(claim: Claim) -> dict[str, str]:
    """The environment of a process that works for this one."""
    return os.environ | {_TOKEN: claim.token or ""}


def _acquire(lease: SoftFileLease, progress: Path, work: str) -> None:
    with contextlib.suppress(Timeout, FileNotFoundError, FileExistsError):
        lease.acquire(timeout=0)
        return
    other = describe_owner(read_object(progress / OWNER) or {})
    limit = "" if math.isinf(CLAIM_SECONDS) else f" up to {CLAIM_SECONDS:g} s"
    say(f"{progress}: another {work} writes here, {other}; waiting{limit} for its end")
    deadline = time.monotonic() + CLAIM_SECONDS
    try:
        while not lease.is_locked:
            # the other process removes the folder when its work is finished; see _make for the second error
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                _make(progress)
                left = -1 if math.isinf(deadline) else max(0.0, deadline - time.monotonic())  # filelock: -1 is for ever
                lease.acquire(timeout=left, poll_interval=_POLL_SECONDS)
    except Timeout:
        raise UserError(
            f"{progress}: another {work} writes here, "
            f"{describe_owner(read_object(progress / OWNER) or {})}, and it is running; "
            "wait for its end or stop it (make recover), and run again"
        ) from None


def _make(progress: Path) -> None:
    """Make the folder. pathlib says that it exists, and is no folder, if another process removes it just then."""
    while True:
        try:
            return progress.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if os.path.lexists(progress) and not progress.is_dir():
                raise


def _this_process(work: str) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": round(time.time(), 2),
        "work": work,
        "kills": kill_counter(),
    }


def describe_owner(owner: Mapping[str, Any]) -> str:
    """Who an ``owner.json`` names."""
    job = f" in SLURM job {owner['job']}" if owner.get("job") else ""
    return f"process {owner.get('pid', '?')} on {owner.get('host', 'some machine')}{job}"


def clear(progress: Path) -> None:
    """Remove all that a claimed folder holds but the claim, when its work is finished; what cannot be, stays."""
    for path in progress.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (LOCK, OWNER):
            with contextlib.suppress(OSError):
                path.unlink()


def _remove_if_empty(progress: Path) -> None:
    """Leave no trace of what was refused before any work was done, or has been finished."""
    with contextlib.suppress(OSError):
        if os.listdir(progress) == [JOB]:
            (progress / JOB).unlink()
    for folder in (progress, progress.parent, progress.parent.parent):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()

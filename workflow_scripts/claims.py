"""One writer to a folder of unfinished work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from cli import UserError


@contextlib.contextmanager
def claimed(progress: Path, work: str = "training") -> Iterator[None]:
    """Have a folder of unfinished work for this process alone.

    A killed Snakemake leaves its jobs running, and a restart would start a second writer of the same files.

    Args:
        progress: ``{…}/progress/{key}``; made if it is not there, and removed again if nothing came of it.
        work: what is done there, for the message.

    Raises:
        UserError: another process has it.
    """
    progress.mkdir(parents=True, exist_ok=True)
    lock = progress / "lock"
    with lock.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UserError(
                f"{progress}: another {work} writes here, process {handle.read().strip()}; "
                "wait for its end or stop it, and run again"
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        try:
            yield
        finally:
            # refused before any work was done: leave no trace
            if progress.is_dir() and os.listdir(progress) == [lock.name]:
                lock.unlink()
                for folder in (progress, progress.parent, progress.parent.parent):
                    with contextlib.suppress(OSError):  # not empty
                        folder.rmdir()

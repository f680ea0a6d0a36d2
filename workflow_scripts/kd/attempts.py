"""The attempts of a training: how often it was started, and which updates were repeated after an interruption."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

ATTEMPTS, PULSE = "attempts.jsonl", "pulse"
_DIGITS = 12


class Attempt:
    """One start of a training, appended to ``attempts.jsonl`` in its folder.

    Args:
        folder: of the checkpoints.
        updates: number of updates in the checkpoint that training resumes from.
        first: whether this process is the rank that writes.

    Attributes:
        repeated: number of updates of the previous attempt that no checkpoint has, so that they are repeated.
    """

    def __init__(self, folder: Path, updates: int, first: bool = True):
        self._file: int | None = None
        self.repeated = 0
        if not first:
            return
        self._file = os.open(folder / PULSE, os.O_RDWR | os.O_CREAT, 0o644)
        pulse = os.pread(self._file, _DIGITS, 0)
        self.repeated = max(0, int(pulse) - updates) if pulse.strip().isdigit() else 0
        record = {
            "time": round(time.time(), 2),
            "host": socket.gethostname(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "pid": os.getpid(),
            "update": updates,
            "repeated": self.repeated,
        }
        with (folder / ATTEMPTS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        self.record(updates)

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def record(self, updates: int) -> None:
        """Write the number of updates so far, where it survives a kill."""
        if self._file is not None:
            os.pwrite(self._file, f"{updates:>{_DIGITS}}".encode(), 0)


def read(folder: Path) -> list[dict[str, Any]]:
    """The attempts so far, oldest first, without lines that a kill truncated."""
    try:
        lines = (folder / ATTEMPTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found

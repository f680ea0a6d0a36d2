"""What interruptions have cost a training: how often it was started, and which updates were made more than once."""

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
    """A start of a training, entered into ``attempts.jsonl`` of its folder.

    Args:
        folder: of the checkpoints.
        updates: that training goes on from.
        first: whether this process is the one that writes.

    Attributes:
        repeated: updates that were made before, and are made again because no checkpoint has them.
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
        self.made(updates)

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def made(self, updates: int) -> None:
        """So many updates are made; a kill later on will not hide it."""
        if self._file is not None:
            os.pwrite(self._file, f"{updates:>{_DIGITS}}".encode(), 0)


def read(folder: Path) -> list[dict[str, Any]]:
    """The attempts so far, oldest first; a line that a kill cut off is left out."""
    found = []
    try:
        for line in (folder / ATTEMPTS).read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    except FileNotFoundError:
        pass
    return found

"""The progress of a download: a bar on a terminal, otherwise a line in the log now and then.

If the terminal is closed during the download, lines follow.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import IO

from tqdm import tqdm

LOG_SECONDS = 30.0  # minimum between two lines of the log
MEGABYTE = 1e6


class Progress:
    """Count the bytes of one transfer; a context manager.

    Args:
        name: of the file.
        received: bytes before the transfer.
        total: bytes of the whole file, ``None`` if unknown.
        descriptor: of the terminal for the bar; if it is not a terminal, lines go to standard error.
    """

    def __init__(self, name: str, received: int, total: int | None, descriptor: int):
        self._name, self._received, self._total = name, received, total
        self._first, self._started = received, time.monotonic()
        self._due = self._started + LOG_SECONDS
        self._descriptor = descriptor
        self._terminal: IO[str] | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        if os.isatty(self._descriptor):
            self._terminal = open(self._descriptor, "w", closefd=False)
            self._bar = tqdm(
                desc=self._name,
                initial=self._received,
                total=self._total,
                file=self._terminal,
                dynamic_ncols=True,
                unit="B",
                unit_scale=True,
                leave=False,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None and self._terminal is not None:
            with contextlib.suppress(OSError):  # the terminal was closed; tqdm ignores it too when it draws
                self._bar.close()
                self._terminal.close()

    def add(self, count: int) -> None:
        """Count ``count`` received bytes."""
        self._received += count
        if self._bar is not None:
            self._bar.update(count)
        if (now := time.monotonic()) >= self._due:
            self._due = now + LOG_SECONDS
            if not os.isatty(self._descriptor):
                print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        speed = (self._received - self._first) / MEGABYTE / max(now - self._started, 1e-9)
        done = f"{self._received / MEGABYTE:.1f}"
        if self._total:
            done = f"{100 * self._received / self._total:.0f} %, {done} of {self._total / MEGABYTE:.1f}"
        return f"{self._name}: {done} MB, {speed:.1f} MB/s"

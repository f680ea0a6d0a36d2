"""What steps write to their logs, and what the workflow reads from them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: unfinished, progress saved, run it again
INTERRUPTED_MARK = f"(exit status {EXIT_INTERRUPTED})"  # in the log line of a step that can be resumed


def say(line: str) -> None:
    """Write a line to the log, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def error_lines(logs: Iterable[Path], since: float) -> list[str]:
    """Why steps failed, for each log written after a time (seconds since the epoch), with its path.

    These are its ``error:`` lines and the line of a step that was interrupted and can resume. The log of a step that
    crashed or was killed has none; then its last lines.
    """
    found = []
    for path in dict.fromkeys(logs):
        if path.exists() and path.stat().st_mtime >= since:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("error: ") or INTERRUPTED_MARK in line]
            last = (
                [f"last lines of {path}:", *(f"    {line}" for line in lines[-10:])] if lines else [f"{path} is empty"]
            )
            found += [f"{line}  [{path}]" for line in dict.fromkeys(errors)] or last
    return found

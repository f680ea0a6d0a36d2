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
    """The lines that the user must see of the logs written after a time (seconds since the epoch), each with its path.

    These are ``error:`` lines, and those of interrupted steps that can be resumed.
    """
    found = []
    for path in logs:
        if path.stat().st_mtime >= since:
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if line.startswith("error: ") or INTERRUPTED_MARK in line]
            found += [f"{line}  [{path}]" for line in lines]
    return found

"""Stop signals, and the exit status of an interrupted step."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ekd_nmt.common.logs import EXIT_INTERRUPTED, INTERRUPTED_MARK, say

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # sent by a user or by a cluster
Handler = Callable[[int, Any], Any] | signal.Handlers


def handle_stop_signals(handler: Handler) -> dict[signal.Signals, Any]:
    """Set the handler of all stop signals; returns the previous handlers."""
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


@contextmanager
def stop_signals_handled(handler: Handler) -> Iterator[None]:
    """Set the handler of all stop signals for the duration of a block."""
    previous = handle_stop_signals(handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def stopping_between_batches() -> Iterator[Callable[[], None]]:
    """Delay stop signals until the next batch or the end of the block.

    Yields a function to call before each batch. It exits if a signal has come.
    """
    received: list[int] = []

    def check() -> None:
        if received:
            exit_on_signal(received[0])

    with stop_signals_handled(lambda number, frame: received.append(number)):
        yield check
        check()


def ignore_stop_signals() -> None:
    """Ignore stop signals from here to the end of this process. Call it just before the result is put in place.

    Snakemake deletes the result of a step that exits with another status than 0, and by then the progress from which it
    could be made again is gone.
    """
    handle_stop_signals(signal.SIG_IGN)


def exit_unfinished(reason: str) -> NoReturn:
    """Log why this step ends, and exit with the status of a step that can be resumed."""
    say(f"{reason}; run the same command again to resume {INTERRUPTED_MARK}")
    sys.exit(EXIT_INTERRUPTED)


def exit_on_signal(number: int, frame: Any = None) -> NoReturn:
    """A signal handler that exits at once; for times at which all progress is saved."""
    exit_unfinished(f"{signal.Signals(number).name}: progress is saved")

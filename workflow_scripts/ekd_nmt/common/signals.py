"""Stop signals, and the exit status of a step that was interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ekd_nmt.common.logs import EXIT_INTERRUPTED, INTERRUPTED_MARK, say

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # asked to stop: by a user, by a cluster
Handler = Callable[[int, Any], Any] | signal.Handlers


def handle_stop_signals(handler: Handler) -> dict[signal.Signals, Any]:
    """Handle all stop signals so; returns the handlers that they had."""
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


@contextmanager
def stop_signals_handled(handler: Handler) -> Iterator[None]:
    """Handle all stop signals so for the time of a block, and give back the handlers that they had."""
    previous = handle_stop_signals(handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def stopping_between_batches() -> Iterator[Callable[[], None]]:
    """Let stop signals wait for the next batch; gives what to call before each, which leaves if one has come.

    So does the end of the block.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            exit_on_signal(asked[0])

    with stop_signals_handled(lambda number, frame: asked.append(number)):
        yield check
        check()


def ignore_stop_signals() -> None:
    """Ignore stop signals from here to the end of this process; to be called just before its result is put in place.

    A step that left with another status than 0 after that would have its result deleted by Snakemake, when the progress
    from which it was made is gone already. A signal that came before is heeded if its handler leaves at once.
    """
    handle_stop_signals(signal.SIG_IGN)


def exit_unfinished(reason: str) -> NoReturn:
    """Tell the reader of the log why this step ends, that it can go on, and end it with the status that says so."""
    say(f"{reason}; run the same command again to go on {INTERRUPTED_MARK}")
    sys.exit(EXIT_INTERRUPTED)


def exit_on_signal(number: int, frame: Any = None) -> NoReturn:
    """End this process for a stop signal, its progress being saved; a handler of signals."""
    exit_unfinished(f"{signal.Signals(number).name}: progress is saved")

"""Restores stop-signal handlers: a step that is called in a test's process would set them for all later tests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ekd_nmt.common.signals import STOP_SIGNALS


@contextmanager
def given_back() -> Iterator[None]:
    """Restore the handlers at the end of a block."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

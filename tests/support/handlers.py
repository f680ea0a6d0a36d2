"""Steps set handlers of stop signals for the rest of their process; one that is called in a test's process must not."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ekd_nmt.common.signals import STOP_SIGNALS


@contextmanager
def given_back() -> Iterator[None]:
    """At the end of the block the handlers are those of its beginning."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

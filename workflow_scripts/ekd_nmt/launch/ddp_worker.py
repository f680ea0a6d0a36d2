"""A rank, one of several processes that train together: its connections to the leader, see ``ddp_launcher.py``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ekd_nmt.common.errors import Interrupted, UserError
from ekd_nmt.common.files import write_json
from ekd_nmt.common.logs import EXIT_INTERRUPTED
from ekd_nmt.common.signals import ignore_stop_signals, stop_signals_handled

_COLLECTIVES = "torch/distributed/distributed_c10d.py"


@contextlib.contextmanager
def as_rank(outcomes: Path) -> Iterator[None]:
    """Run a block as a rank, and end this process.

    Its outcome is written to ``{outcomes}/{rank}.json``: ``time`` (seconds since the epoch) and ``kind``:
      - ``finished``;
      - ``Interrupted``, ``TooLarge``, ``UserError`` or ``OSError``, with the ``arguments`` of this exception;
      - ``stopped``: a stop signal came while there was nothing to save;
      - ``lost``: the connection to another rank broke, with ``traceback``;
      - ``failed``: any other exception, with ``traceback``.
    """
    rank = os.environ["RANK"]
    os.dup2(1, 2)
    if os.environ["LOCAL_RANK"] == "0":  # one a node: the ranks agree on stopping
        threading.Thread(target=_pass_on_signals, daemon=True).start()
    if rank != "0":  # rank 0 logs the same, except for errors
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")

    def leave(status: int, kind: str, **details: Any) -> NoReturn:
        ignore_stop_signals()  # torchrun sends one to each rank when another one has failed
        write_json(outcomes / f"{rank}.json", {"kind": kind, "time": time.time(), **details})
        # without Python's cleanup, in which the threads of a process group now and then crash
        sys.stderr.flush()
        os._exit(status)

    try:
        yield
        leave(0, "finished")
    except SystemExit:
        leave(EXIT_INTERRUPTED, "stopped")
    except (Interrupted, UserError) as error:
        # torchrun lets the others end after status 0, and ends them otherwise: those that wait for this one
        status = 0 if type(error) is Interrupted else 2
        leave(status, type(error).__name__, arguments=error.args)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            leave(2, "OSError", arguments=[error.errno, error.strerror, error.filename])
        ignore_stop_signals()
        frames = traceback.extract_tb(error.__traceback__)
        kind = "lost" if any(frame.filename.endswith(_COLLECTIVES) for frame in frames) else "failed"
        leave(1, kind, traceback=traceback.format_exc())


@contextlib.contextmanager
def default_stop_signals(ranks: int) -> Iterator[None]:
    """Let stop signals end this process at once, if it is one of several ranks.

    Python's handlers run only after a wait for another rank, which may be gone.
    """
    with stop_signals_handled(signal.SIG_DFL) if ranks > 1 else contextlib.nullcontext():
        yield


def _pass_on_signals() -> None:
    """Raise in this process the signals that come through standard input, and SIGTERM at its end."""
    while number := os.read(0, 1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGTERM)

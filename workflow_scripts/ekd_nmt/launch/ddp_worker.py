"""A rank, one of several processes that train together: its connections to the leader, see ``ddp_launcher.py``."""

from __future__ import annotations

import contextlib
import fcntl
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

from ekd_nmt.common.errors import Interrupted, TooLarge, UserError
from ekd_nmt.common.files import write_json
from ekd_nmt.common.logs import EXIT_INTERRUPTED
from ekd_nmt.common.signals import ignore_stop_signals, stop_signals_handled
from ekd_nmt.launch.ddp_launcher import RANKS_LOCK

_COLLECTIVES = "torch/distributed/distributed_c10d.py"


@contextlib.contextmanager
def as_rank(outcomes: Path) -> Iterator[None]:
    """Run a block as a rank, and end this process.

    Its outcome is written to ``{outcomes}/{rank}.json``: ``kind``, ``time`` (seconds since the epoch), and
      - ``finished``: nothing else;
      - ``interrupted``: the message of Interrupted as ``text``. Exit status 0, so that torchrun lets the others end;
      - ``refused``: the message of a UserError as ``text``;
      - ``os_error``: number, message and path of an OSError as ``arguments``;
      - ``stopped``: a stop signal came while there was nothing to save;
      - ``lost``: the connection to another rank broke, with ``traceback``;
      - ``failed``: any other exception, with ``traceback``.
    """
    rank = os.environ["RANK"]
    lock = os.open(outcomes.parent / RANKS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)  # until this process ends, however it does
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
    except TooLarge as stop:
        leave(EXIT_INTERRUPTED, "interrupted", text=str(stop))  # torchrun then ends the others, which wait for this one
    except Interrupted as stop:
        leave(0, "interrupted", text=str(stop))
    except UserError as error:
        leave(2, "refused", text=str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            leave(2, "os_error", arguments=[error.errno, error.strerror, error.filename])
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

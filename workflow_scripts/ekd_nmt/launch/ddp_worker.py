"""What one of several processes that train together, a rank, does for the process that started it; see launch.py."""

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

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json
from ekd_nmt.common.signals import EXIT_INTERRUPTED, ignore_stop_signals, stop_signals_handled
from ekd_nmt.launch.ddp_launcher import RANKS_LOCK, Interrupted, TooLarge

_COLLECTIVES = "torch/distributed/distributed_c10d.py"


@contextlib.contextmanager
def as_rank(outcomes: Path) -> Iterator[None]:
    """What a rank does, with its connections to the process that waits for it; ends this process.

    ``{outcomes}/{rank}.json`` says how: ``kind``, ``time`` (seconds since the epoch), and
      - ``finished``: nothing else;
      - ``interrupted``: the message of Interrupted as ``text``. The exit status is 0, lest torchrun end the others;
      - ``refused``: the message of a UserError as ``text``;
      - ``hindered``: number, message and path of an OSError as ``arguments``;
      - ``stopped``: a stop signal came while there was nothing to save;
      - ``lost``: the connection to another rank is, with ``traceback``;
      - ``failed``: any other exception, with ``traceback``.
    """
    rank = os.environ["RANK"]
    lock = os.open(outcomes.parent / RANKS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)  # until this process ends, however it does
    os.dup2(1, 2)
    if os.environ["LOCAL_RANK"] == "0":  # one a node: the ranks agree on stopping
        threading.Thread(target=_pass_on_signals, daemon=True).start()
    if rank != "0":  # all that is not wrong, rank 0 says as well
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")

    def leave(status: int, kind: str, **details: Any) -> NoReturn:
        ignore_stop_signals()  # torchrun sends one to each rank when another one has failed
        write_json(outcomes / f"{rank}.json", {"kind": kind, "time": time.time(), **details})
        _exit(status)

    try:
        yield
        leave(0, "finished")
    except SystemExit:
        leave(EXIT_INTERRUPTED, "stopped")
    except TooLarge as stop:
        leave(EXIT_INTERRUPTED, "interrupted", text=str(stop))  # torchrun is to end the others, which wait for this one
    except Interrupted as stop:
        leave(0, "interrupted", text=str(stop))
    except UserError as error:
        leave(2, "refused", text=str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            leave(2, "hindered", arguments=[error.errno, error.strerror, error.filename])
        ignore_stop_signals()
        frames = traceback.extract_tb(error.__traceback__)
        kind = "lost" if any(frame.filename.endswith(_COLLECTIVES) for frame in frames) else "failed"
        leave(1, kind, traceback=traceback.format_exc())


@contextlib.contextmanager
def default_stop_signals(ranks: int) -> Iterator[None]:
    """Have stop signals end this process at once, if it is one of several ranks.

    Python's handlers have to wait as long as a rank waits for another one, which may be gone.
    """
    with stop_signals_handled(signal.SIG_DFL) if ranks > 1 else contextlib.nullcontext():
        yield


def _exit(status: int) -> NoReturn:
    """End this process without Python's tidying up, in which the threads of a process group now and then crash."""
    sys.stderr.flush()
    os._exit(status)


def _pass_on_signals() -> None:
    """Raise in this process the signals that come through standard input, and SIGTERM at its end."""
    while number := os.read(0, 1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGTERM)

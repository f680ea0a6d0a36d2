"""Runs a daemon as a subreaper, so that stopping the keeper leaves no process and no zombie behind.

``python keeper.py COMMAND …`` prints the daemon's process id, waits until it and all its descendants have ended, and
exits with the daemon's exit status, or 128 plus the number of the signal that killed it. Detached helpers, such as
slurmd's, become children of the keeper. SIGTERM terminates the daemon, kills it after some seconds, and then kills the
remaining descendants. The death of the keeper's own parent has the same effect.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 5  # seconds between SIGTERM and SIGKILL
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def descendants(process: int) -> list[int]:
    """Process ids of all descendants except zombies."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(status.parent.name))
    found, pending = [], [process]
    while pending:
        new = children.get(pending.pop(), [])
        found += new
        pending += new
    return found


def keep(command: list[str]) -> int:
    """Run a command until it and all its descendants have ended; returns its exit status."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    stopping, running, exit_status = False, True, 0

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if running:
            os.kill(daemon.pid, signal.SIGTERM)
            signal.alarm(PATIENCE)
        else:
            kill()

    def kill(*_: object) -> None:
        for process in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        signal.alarm(1)  # processes started in the meantime

    signal.signal(signal.SIGALRM, kill)
    libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    daemon = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, [])
    )
    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    print(daemon.pid, flush=True)
    if os.getppid() != parent:
        stop()
    while True:
        try:
            process, status = os.wait()
        except ChildProcessError:
            return exit_status
        if process == daemon.pid:
            running = False
            exit_status = os.waitstatus_to_exitcode(status)
            exit_status = 128 - exit_status if exit_status < 0 else exit_status
            if stopping:
                kill()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))

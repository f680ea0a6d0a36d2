"""One training on several GPUs: start its processes, stop them, and tell how they ended.

Each GPU has a process of its own, a rank. ``torchrun`` starts those of a node and ends all when one fails. The process
that the user started waits, and keeps the folder of the checkpoints claimed. The ranks talk to it in three ways:
  - their standard input is a pipe from it: a byte is the number of a signal to stop for, and its end means that the
    process is gone, so that no rank outlives it. Signals to torchrun would not do: it kills the ranks seconds later;
  - their log goes to their standard output, which is its standard error. That of torchrun is kept for emergencies;
  - a rank that is not killed leaves a file that says how it ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from cli import EXIT_INTERRUPTED, STOP_SIGNALS, UserError, write_json

_FIRST_PORT, _PORTS = 20000, 10000  # below those that Linux gives to outgoing connections
_COLLECTIVES = "torch/distributed/distributed_c10d.py"


class Interrupted(Exception):
    """Training was asked to stop, and has saved its progress."""


def count_ranks(training: Mapping[str, Any]) -> int:
    """Processes that train together, one a GPU."""
    return training["gpus"] * training["nodes"]


def torchrun(call: list[str], gpus: int, nodes: int = 1, host: str = "", key: str = "") -> list[str]:
    """The command that starts the ranks of one node.

    Args:
        call: a Python script and its arguments, for each rank.
        gpus: ranks of this node.
        nodes: on each of which this command is run.
        host: name of the node where they find each other; for several nodes only.
        key: hexadecimal; tells this start from others that meet there.
    """
    if nodes == 1:
        meeting = ["--standalone"]
    else:
        port = _FIRST_PORT + int(key, 16) % _PORTS
        meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{host}:{port}", "--rdzv-id", key]
    size = ["--nnodes", str(nodes), "--nproc-per-node", str(gpus)]
    # SIGUSR1 beside its own: a cluster may send it to all processes of a job, and this one would die of it
    signals = ["--max-restarts", "0", "--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    return [sys.executable, "-m", "torch.distributed.run", *size, *meeting, *signals, *call]


def srun(call: list[str], nodes: int, threads: int) -> list[str]:
    """The command that runs another one once on each node of a SLURM job, with so many CPUs.

    It shares the nodes with the step that it is started in (``--overlap``). A step without ``--cpus-per-task`` would
    have one CPU. The standard input goes to all nodes, which is srun's default.
    """
    tasks = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1", "--cpus-per-task", str(threads)]
    return ["srun", "--overlap", "--kill-on-bad-exit=1", *tasks, *call]


def nodes_of_job(nodes: int) -> list[str]:
    """Names of the nodes of the SLURM job that this is run in.

    Raises:
        UserError: there is no such job, or it has too few nodes.
    """
    names = os.environ.get("SLURM_JOB_NODELIST")
    if names is None:
        raise UserError(
            f"training.nodes: {nodes} nodes are reached through SLURM, and this is no SLURM job; "
            "run the workflow on a cluster, or set training.nodes: 1"
        )
    hosts = subprocess.run(["scontrol", "show", "hostnames", names], check=True, capture_output=True, text=True)
    if len(found := hosts.stdout.split()) < nodes:
        raise UserError(
            f"training.nodes: {nodes}, but the SLURM job has {len(found)} ({names}); ask for as many, or set fewer"
        )
    return found


def launch(call: list[str], training: Mapping[str, Any], threads: int, progress: Path) -> None:
    """Run a training of several ranks to its end.

    One node is tested from end to end, several only as far as the text of the commands goes.

    Args:
        call: script and arguments of each rank; ``--outcomes FOLDER`` is added.
        training: options, with ``gpus`` (a node) and ``nodes``.
        threads: for the ranks of a node.
        progress: folder of the checkpoints, claimed; on a file system that all nodes share.

    Raises:
        Interrupted: a stop signal came; progress is saved.
        UserError: what a rank raised, or a rank was killed.
        OSError: what a rank raised.
        SystemExit: a rank raised something else, which is printed.
    """
    nodes, outcomes = training["nodes"], progress / "ranks"
    call = [*call, "--outcomes", str(outcomes)]
    if nodes == 1:
        command = torchrun(call, training["gpus"])
    else:
        host = nodes_of_job(nodes)[0]
        # not a name of the training: what is left of an earlier start must not be met
        command = srun(torchrun(call, training["gpus"], nodes, host, secrets.token_hex(8)), nodes, threads)
    shutil.rmtree(outcomes, ignore_errors=True)  # of a run that was killed
    outcomes.mkdir()
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as noise:
            status, asked = _run(command, noise)
            noise.seek(0)
            found = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in outcomes.glob("*.json")}
            judge(found, count_ranks(training), status=status, asked=asked, noise=noise.read())
    finally:
        shutil.rmtree(outcomes)


def _run(command: list[str], noise: Any) -> tuple[int, bool]:
    """Run torchrun; returns its exit status, and whether it was asked to stop."""
    asked = False
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, stderr=noise, start_new_session=True) as launcher:

        def ask(number: int, frame: Any) -> None:
            nonlocal asked
            asked = True
            with contextlib.suppress(OSError):  # it has just ended
                os.write(launcher.stdin.fileno(), bytes([number]))

        previous = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
        launcher.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return launcher.returncode, asked


def judge(found: Mapping[int, Mapping[str, Any]], ranks: int, *, status: int, asked: bool, noise: str) -> None:
    """Return if the ranks have finished, and otherwise end as they did.

    Args:
        found: what ranks have left, by their numbers: see :func:`as_rank`.
        ranks: how many there were.
        status: exit status of torchrun.
        asked: whether they were asked to stop.
        noise: what torchrun said.

    Raises:
        Interrupted, UserError, OSError: see :func:`launch`.
        SystemExit: a rank raised something else, which is printed.
    """
    by_time = sorted(found.values(), key=lambda outcome: outcome["time"])
    # that a rank has lost another one follows from what happened there
    for outcome in (outcome for outcome in by_time if outcome["kind"] in _REASONS):
        _REASONS[outcome["kind"]](outcome)
    if status == 0:
        return
    silent = [str(rank) for rank in range(ranks) if rank not in found]
    if asked or (not silent and any(outcome["kind"] == "stopped" for outcome in by_time)):
        raise Interrupted("stopped while no update was under way: progress is saved")
    if len(silent) == ranks:
        print(noise, file=sys.stderr)
        raise UserError(
            f"none of the {ranks} ranks of this training says how it ended: they were killed, or could not meet "
            "(torchrun's words are above); run the same command again to go on from the last checkpoint"
        )
    if silent:
        raise UserError(
            f"rank {' and '.join(silent)} of {ranks} ended without a word, as a process does that is killed, for want "
            "of memory say; run the same command again to go on from the last checkpoint"
        )
    print(next(outcome["traceback"] for outcome in by_time if "traceback" in outcome), file=sys.stderr)
    raise UserError(f"the {ranks} processes of this training cannot work together (see above)")


def _interrupted(outcome: Mapping[str, Any]) -> NoReturn:
    raise Interrupted(outcome["text"])


def _refused(outcome: Mapping[str, Any]) -> NoReturn:
    raise UserError(outcome["text"])


def _hindered(outcome: Mapping[str, Any]) -> NoReturn:
    raise OSError(*outcome["arguments"])


def _failed(outcome: Mapping[str, Any]) -> NoReturn:
    print(outcome["traceback"], file=sys.stderr)
    sys.exit(1)


_REASONS = {"interrupted": _interrupted, "refused": _refused, "hindered": _hindered, "failed": _failed}


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
    os.dup2(1, 2)
    if os.environ["LOCAL_RANK"] == "0":  # one a node: the ranks agree on stopping
        threading.Thread(target=_pass_on_signals, daemon=True).start()
    if rank != "0":  # all that is not wrong, rank 0 says as well
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")

    def leave(status: int, kind: str, **details: Any) -> NoReturn:
        _ignore_stop_signals()  # torchrun sends one to each rank when another one has failed
        write_json(outcomes / f"{rank}.json", {"kind": kind, "time": time.time(), **details})
        _exit(status)

    try:
        yield
        leave(0, "finished")
    except SystemExit:
        leave(EXIT_INTERRUPTED, "stopped")
    except Interrupted as stop:
        leave(0, "interrupted", text=str(stop))
    except UserError as error:
        leave(2, "refused", text=str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            leave(2, "hindered", arguments=[error.errno, error.strerror, error.filename])
        _ignore_stop_signals()
        frames = traceback.extract_tb(error.__traceback__)
        kind = "lost" if any(frame.filename.endswith(_COLLECTIVES) for frame in frames) else "failed"
        leave(1, kind, traceback=traceback.format_exc())


@contextlib.contextmanager
def mortal(ranks: int) -> Iterator[None]:
    """Have stop signals end this process at once, if it is one of several ranks.

    Python's handlers have to wait as long as a rank waits for another one, which may be gone.
    """
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS if ranks > 1}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit(status: int) -> NoReturn:
    """End this process without Python's tidying up, in which the threads of a process group now and then crash."""
    sys.stderr.flush()
    os._exit(status)


def _ignore_stop_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _pass_on_signals() -> None:
    """Raise in this process the signals that come through standard input, and SIGTERM at its end."""
    while number := os.read(0, 1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGTERM)

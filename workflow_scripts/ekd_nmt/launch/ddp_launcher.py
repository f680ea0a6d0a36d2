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
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ekd_nmt.cluster.processes import TORCHRUN
from ekd_nmt.common.errors import Interrupted, TooLarge, UserError
from ekd_nmt.common.signals import handle_stop_signals, ignore_stop_signals
from ekd_nmt.config.types import count_ranks
from ekd_nmt.launch.torchrun_entry import UNHEEDED
from ekd_nmt.resume import out_of_memory
from ekd_nmt.resume.lease import Claim, to_inherit
from ekd_nmt.resume.out_of_memory import kill_counter, killed_for_memory

_FIRST_PORT, _PORTS = 20000, 10000  # below those that Linux gives to outgoing connections
RANKS_LOCK, _RANKS_SECONDS = "ranks.lock", 120


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
    ignoring = ["sh", "-c", f'trap "" {" ".join(UNHEEDED)}; exec "$@"', "torchrun"]
    script = str(Path(__file__).with_name(TORCHRUN))
    return [*ignoring, sys.executable, script, *size, *meeting, "--max-restarts", "0", *call]


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
    if names is None and (job := os.environ.get("SLURM_JOB_ID")):
        # Snakemake's executor leaves a job of several nodes its number alone
        asked = ["squeue", "--noheader", "--jobs", job, "--format", "%N"]
        names = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    if not names:
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


def launch(call: list[str], training: Mapping[str, Any], threads: int, progress: Path, claim: Claim) -> None:
    """Run a training of several ranks to its end, after which this process heeds no stop signal.

    One node is tested from end to end, several only as far as the text of the commands goes.

    Args:
        call: script and arguments of each rank; ``--outcomes FOLDER`` is added.
        training: options, with ``gpus`` (a node) and ``nodes``.
        threads: for the ranks of a node.
        progress: folder of the checkpoints, on a file system that all nodes share.
        claim: to that folder.

    Raises:
        Interrupted: a stop signal came, or memory did not suffice; progress is saved.
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
    wait_for_ranks(progress)  # of a run that was killed
    shutil.rmtree(outcomes, ignore_errors=True)
    outcomes.mkdir()
    before = {"pid": "of a rank", "kills": kill_counter()}
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as noise:
            status, asked = _run(command, noise, to_inherit(claim))
            wait_for_ranks(progress)
            noise.seek(0)
            found = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in outcomes.glob("*.json")}
            if len(found) < count_ranks(training) and (cause := killed_for_memory(before, None)):
                out_of_memory.add(progress, cause, None, len(out_of_memory.read(progress)))
                raise TooLarge(f"{cause}: the next attempt takes batches half as large, and twice as many an update")
            judge(found, count_ranks(training), status=status, asked=asked, noise=noise.read())
            ignore_stop_signals()
    finally:
        shutil.rmtree(outcomes)


def _run(command: list[str], noise: Any, environment: Mapping[str, str]) -> tuple[int, bool]:
    """Run torchrun; returns its exit status, and whether it was asked to stop.

    A stop signal that comes later has no effect: how the ranks ended is known by then, and is told soon.
    """
    asked = False
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=2, stderr=noise, start_new_session=True, env=environment
    ) as launcher:

        def ask(number: int, frame: Any) -> None:
            nonlocal asked
            asked = True
            with contextlib.suppress(OSError, ValueError):  # it has ended
                os.write(launcher.stdin.fileno(), bytes([number]))

        handle_stop_signals(ask)
        launcher.wait()
    return launcher.returncode, asked


def wait_for_ranks(progress: Path) -> None:
    """Return when no rank of this node lives any more: if torchrun alone is killed, they end at their next update."""
    deadline = time.monotonic() + _RANKS_SECONDS
    with (progress / RANKS_LOCK).open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            except OSError:  # a file system without locks
                break
            if time.monotonic() > deadline:
                raise UserError(
                    f"{progress}: torchrun has ended, and ranks of this training still run after {_RANKS_SECONDS} s; "
                    "stop them, and run the same command again to go on from the last checkpoint"
                )
            time.sleep(0.1)
    (progress / RANKS_LOCK).unlink()


def judge(found: Mapping[int, Mapping[str, Any]], ranks: int, *, status: int, asked: bool, noise: str) -> None:
    """Return if the ranks have finished, and otherwise end as they did.

    Args:
        found: what ranks have left, by their numbers: see :func:`rank.as_rank`.
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

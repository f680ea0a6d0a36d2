"""One training on several GPUs: start its processes, stop them, and end as they did.

Each GPU has a process of its own, a rank. ``torchrun`` starts the ranks of a node and ends all of them when one fails.
The process that the user started, the leader, waits and holds the lease of the work folder. It is connected to the
ranks in three ways:
  - their standard input is a pipe from the leader. A byte is the number of a stop signal, and the end of the pipe means
    that the leader is gone, so that no rank outlives it. A signal to torchrun would not do: it kills the ranks seconds
    later;
  - they log to their standard output, which is the leader's standard error. torchrun's own log is printed only if no
    rank has left an outcome;
  - a rank that is not killed writes its outcome to a file.
"""

from __future__ import annotations

import contextlib
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
from typing import IO, Any

import psutil

from ekd_nmt.common.errors import Interrupted, TooLarge, UserError
from ekd_nmt.common.signals import handle_stop_signals, ignore_stop_signals
from ekd_nmt.config.types import count_ranks
from ekd_nmt.launch import torchrun_entry
from ekd_nmt.resume.lease import Owner
from ekd_nmt.resume.out_of_memory import killed_for_memory, oom_kill_count
from ekd_nmt.resume.work_folder import WorkFolder

_FIRST_PORT, _PORTS = 20000, 10000  # below those that Linux gives to outgoing connections
_RANKS_SECONDS = 120
_ERRORS = {kind.__name__: kind for kind in (Interrupted, TooLarge, UserError, OSError)}


def torchrun(call: list[str], gpus: int, nodes: int = 1, host: str = "", key: str = "") -> list[str]:
    """The command that starts the ranks of one node.

    Args:
        call: a Python script and its arguments, for each rank.
        gpus: ranks of this node.
        nodes: on each of which this command is run.
        host: name of the node where the ranks meet; for several nodes only.
        key: hexadecimal; distinguishes this start from others that meet there.
    """
    if nodes == 1:
        meeting = ["--standalone"]
    else:
        port = _FIRST_PORT + int(key, 16) % _PORTS
        meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{host}:{port}", "--rdzv-id", key]
    size = ["--nnodes", str(nodes), "--nproc-per-node", str(gpus)]
    ignoring = ["sh", "-c", f'trap "" {" ".join(torchrun_entry.IGNORED)}; exec "$@"', "torchrun"]
    return [*ignoring, sys.executable, torchrun_entry.__file__, *size, *meeting, "--max-restarts", "0", *call]


def srun(call: list[str], nodes: int, threads: int) -> list[str]:
    """The command that runs another one once on each node of a SLURM job, with so many CPUs.

    It shares the nodes with the step in which it is started (``--overlap``). A step without ``--cpus-per-task`` would
    have one CPU. The standard input goes to all nodes, which is srun's default.
    """
    tasks = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1", "--cpus-per-task", str(threads)]
    return ["srun", "--overlap", "--kill-on-bad-exit=1", *tasks, *call]


def nodes_of_job(nodes: int) -> list[str]:
    """Names of the nodes of the current SLURM job.

    Raises:
        UserError: there is no such job, or it has too few nodes.
    """
    names = os.environ.get("SLURM_JOB_NODELIST")
    if names is None and (job := os.environ.get("SLURM_JOB_ID")):
        # of a job of several nodes, Snakemake's executor passes on the number alone
        query = ["squeue", "--noheader", "--jobs", job, "--format", "%N"]
        names = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    if not names:
        raise UserError(
            f"training.nodes: {nodes} nodes need SLURM, and this is no SLURM job; "
            "run the workflow on a cluster, or set training.nodes: 1"
        )
    hosts = subprocess.run(["scontrol", "show", "hostnames", names], check=True, capture_output=True, text=True)
    if len(found := hosts.stdout.split()) < nodes:
        raise UserError(
            f"training.nodes: {nodes}, but the SLURM job has {len(found)} ({names}); request as many, or set fewer"
        )
    return found


def run_ranks(call: list[str], training: Mapping[str, Any], threads: int, work: WorkFolder) -> None:
    """Run a training of several ranks to its end. Stop signals are ignored from then on.

    Tested from end to end on one node; of several nodes, only the commands are tested.

    Args:
        call: script and arguments of each rank; ``--outcomes FOLDER`` is added.
        training: options, with ``gpus`` (a node) and ``nodes``.
        threads: for the ranks of a node.
        work: held by this process, on a file system that all nodes share.

    Raises:
        Interrupted: a stop signal came, or memory ran out; progress is saved.
        UserError: what a rank raised, or a rank was killed.
        OSError: what a rank raised.
        SystemExit: a rank raised something else, which is printed.
    """
    nodes, ranks, outcomes = training["nodes"], count_ranks(training), work.path.resolve() / "ranks"
    call = [*call, "--outcomes", str(outcomes)]
    if nodes == 1:
        command = torchrun(call, training["gpus"])
    else:
        host = nodes_of_job(nodes)[0]
        # a random key, not the training's: ranks of an earlier start must not be met
        command = srun(torchrun(call, training["gpus"], nodes, host, secrets.token_hex(8)), nodes, threads)
    wait_for_ranks(outcomes)  # of a run that was killed
    shutil.rmtree(outcomes, ignore_errors=True)
    outcomes.mkdir()
    before = Owner(oom_kills=oom_kill_count())
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            status, stopped = _run(command, log, work.environment())
            wait_for_ranks(outcomes)
            log.seek(0)
            found = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in outcomes.glob("*.json")}
            if len(found) < ranks and (cause := killed_for_memory(before)):
                work.halve_batches(cause)
                raise TooLarge(f"{cause}: the next attempt takes batches half as large, and twice as many an update")
            check_outcomes(found, ranks, status=status, stopped=stopped, torchrun_log=log.read())
            ignore_stop_signals()
    finally:
        shutil.rmtree(outcomes)


def _run(command: list[str], log: IO[str], environment: Mapping[str, str]) -> tuple[int, bool]:
    """Run torchrun; returns its exit status, and whether a stop signal was passed on to the ranks.

    A signal that comes after torchrun has ended has no effect: the ranks' outcomes are known by then.
    """
    stopped = False
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=2, stderr=log, start_new_session=True, env=environment
    ) as launcher:
        pipe = launcher.stdin
        assert pipe is not None

        def pass_on(number: int, frame: Any) -> None:
            nonlocal stopped
            stopped = True
            assert launcher.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it has ended
                os.write(pipe.fileno(), bytes([number]))

        handle_stop_signals(pass_on)
        launcher.wait()
    return launcher.returncode, stopped


def wait_for_ranks(outcomes: Path) -> None:
    """Return when no rank runs on this machine any more: if torchrun alone is killed, they end at their next update.

    Args:
        outcomes: their folder, an absolute path; it is on the command line of torchrun and of each rank.

    Raises:
        UserError: some still run after two minutes.
    """
    deadline = time.monotonic() + _RANKS_SECONDS
    while any(str(outcomes) in (each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])):
        if time.monotonic() > deadline:
            raise UserError(
                f"{outcomes.parent}: ranks of this training still run after {_RANKS_SECONDS} s; stop them, and run the "
                "same command again to resume from the last checkpoint"
            )
        time.sleep(0.1)


def check_outcomes(
    found: Mapping[int, Mapping[str, Any]], ranks: int, *, status: int, stopped: bool, torchrun_log: str
) -> None:
    """Return if the ranks have finished, and otherwise end as they did.

    Args:
        found: the outcomes by rank, see :func:`ekd_nmt.launch.ddp_worker.as_rank`.
        ranks: how many there were.
        status: exit status of torchrun.
        stopped: whether a stop signal was passed on to them.
        torchrun_log: printed if no rank has left an outcome.

    Raises:
        Interrupted, UserError, OSError: see :func:`run_ranks`.
        SystemExit: a rank raised something else, which is printed.
    """
    by_time = sorted(found.values(), key=lambda outcome: outcome["time"])
    for outcome in by_time:  # ``stopped`` and ``lost`` may follow from what happened to another rank
        if error := _ERRORS.get(outcome["kind"]):
            raise error(*outcome["arguments"])
        if outcome["kind"] == "failed":
            print(outcome["traceback"], file=sys.stderr)
            sys.exit(1)
    if status == 0:
        return
    silent = [str(rank) for rank in range(ranks) if rank not in found]
    if stopped or (not silent and any(outcome["kind"] == "stopped" for outcome in by_time)):
        raise Interrupted("stopped while no update was under way: progress is saved")
    if len(silent) == ranks:
        print(torchrun_log, file=sys.stderr)
        raise UserError(
            f"none of the {ranks} ranks of this training left an outcome: they were killed, or could not meet "
            "(torchrun's log is above); run the same command again to resume from the last checkpoint"
        )
    if silent:
        raise UserError(
            f"rank {' and '.join(silent)} of {ranks} was killed, perhaps because memory ran out; run the same command "
            "again to resume from the last checkpoint"
        )
    print(next(outcome["traceback"] for outcome in by_time if "traceback" in outcome), file=sys.stderr)
    raise UserError(f"the {ranks} ranks of this training cannot communicate (see above)")

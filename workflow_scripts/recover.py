#!/usr/bin/env python3
"""Go on after Snakemake itself was killed: stop what it left running, remove its lock, start it again.

What is left are jobs of SLURM, steps on this machine, half-written files, and the lock of the folder. Finished jobs and
the checkpoints of trainings stay. Call it in the folder of the workflow.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from ekd_nmt.cluster.orphans import BUILT, Left, look, refuse_second_copies
from ekd_nmt.cluster.processes import Process, controllers
from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.resume.lease import describe_owner
from ekd_nmt.resume.work_folder import remove, silent_seconds, temporaries

LOCKS = Path(".snakemake/locks")
SNAKEMAKE = (sys.executable, "-m", "snakemake")
CORES = ("--cores", "-c", "--jobs", "-j")
KILLED_SECONDS = 30.0  # after which a killed process should be gone


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="stop what is left running without asking")
    parser.add_argument(
        "--keep", action="store_true", help="let long steps run, whose second copies wait for them; not beside others"
    )
    parser.add_argument("--no-restart", action="store_true", help="do not start Snakemake again")
    parser.add_argument("--prefix", default="ekd", help="of the jobs' names, see slurm/ (default: %(default)s)")
    seconds = {"type": positive_number("seconds", float, "a number"), "metavar": "SECONDS"}
    parser.add_argument(
        "--kill-after",
        **seconds,
        default=60.0,
        help="kill processes that are there still (default: %(default)g)",
    )
    parser.add_argument(
        "--wait", **seconds, default=180.0, help="give up when jobs of SLURM are there still (default: %(default)g)"
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for snakemake, after --")
    return parser.parse_args(arguments)


def show(left: Left) -> None:
    """Print what is left."""
    tell("a controller on another machine cannot be seen from here; see that none works in this folder")
    if left.problem is not None:
        tell(f"jobs of SLURM cannot be seen: {left.problem}")
    if left.jobs or left.processes:
        tell("still running:")
    for line in (*left.jobs, *(f"process {process.pid}, {task}" for process, task in left.processes.items())):
        tell(f"  {line}")
    for progress, owner in left.claims.items():
        quiet = silent_seconds(progress) or 0
        tell(
            f"{progress}: claimed by {describe_owner(owner)}, last sign of life {quiet:.0f} s ago; it "
            "cannot be stopped from here, and the same job waits for it"
        )
    for job in left.others:
        tell(f"left alone with its steps, because its name is another: {job} ({job.name}); is it a controller?")


def agreed(arguments: argparse.Namespace, running: bool) -> bool:
    """Whether the user wants to have stopped what was shown, or knows of no controller on another machine.

    Args:
        arguments: of the command line.
        running: whether something was shown; if not, Snakemake's lock is all there is.

    Raises:
        UserError: there is nobody to ask.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(
            "nobody is there to be asked, and nothing was stopped: run this on a terminal, add --yes (make recover "
            "YES=1) to stop all of the above, or --keep (KEEP=1) to go on beside it"
            if running
            else "Snakemake's lock is here, and nobody is there to be asked: see that no Snakemake works in this "
            "folder on another machine, and run this on a terminal or add --yes (make recover YES=1)"
        )
    question = (
        "Stop what is still running, and go on? Trainings save their progress."
        if running
        else "Snakemake's lock is here. Go on, because no Snakemake works in this folder on another machine?"
    )
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def stop(left: Left, folder: Path, arguments: argparse.Namespace) -> None:
    """Stop jobs and processes, and wait until they are gone.

    Args:
        left: what the user has agreed to stop; processes of its jobs that outlive them are stopped as well.
        folder: of the workflow.
        arguments: of the command line.

    Raises:
        UserError: something does not end, or other work has begun meanwhile.
    """
    numbers, said = {job.id for job in left.jobs}, ""
    if numbers:
        said = subprocess.run(["scancel", *sorted(numbers)], capture_output=True, text=True, check=False).stderr.strip()
    begun, pause = time.monotonic(), 0.2
    asked: dict[Process, float] = {}
    while True:
        now = look(folder, arguments.prefix)
        waited = time.monotonic() - begun
        jobs = left.jobs if numbers and now.problem is not None else [job for job in now.jobs if job.id in numbers]
        ours = [process for process in now.processes if process in left.processes or process.job in numbers]
        if not jobs and not ours:
            break
        for process in ours:
            late = waited - asked.setdefault(process, waited)
            if late > arguments.kill_after + KILLED_SECONDS:
                raise UserError(f"process {process.pid} does not end, though it was killed; see what it waits for")
            if late > arguments.kill_after:
                _signal(process, signal.SIGKILL)
            elif not late and not process.is_led:
                # ranks are told by their leader; torchrun, told itself, would kill them while they save
                _signal(process, signal.SIGTERM)
        if jobs and waited > arguments.wait:
            names = ", ".join(job.id for job in jobs)
            raise UserError(
                f"SLURM has not ended {names} {arguments.wait:g} s after scancel {f'({said}) ' if said else ''}"
                f"{f'({now.problem}) ' if now.problem else ''}; see scontrol show job {jobs[0].id}, and run again"
            )
        time.sleep(pause)
        pause = min(2 * pause, 3.0)
    if now.jobs or now.processes:
        found = [*map(str, now.jobs), *(f"process {process.pid}, {task}" for process, task in now.processes.items())]
        raise UserError(f"meanwhile something else has begun here ({found[0]}): is there another controller? stop it")
    tell("all of it has ended")


def remove_temporaries(claims: dict[Path, dict[str, Any]]) -> None:
    """Remove what steps that were killed have left half-written; not in the runs of living processes of elsewhere."""
    spared = {progress.parent.parent for progress in claims}
    for path in (path for place in BUILT for path in temporaries(Path(place), spared)):
        remove(path)
        tell(f"removed {path}, which was half-written")


def unlock(snakemake: list[str]) -> None:
    """Remove Snakemake's lock of the folder.

    Raises:
        UserError: Snakemake refused.
    """
    answer = subprocess.run([*SNAKEMAKE, "--unlock", *snakemake], capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = " ".join(answer.stderr.strip().splitlines()[-3:])
        raise UserError(f"snakemake --unlock {' '.join(snakemake)}: {reason}; correct the arguments and run again")
    tell("Snakemake's lock is removed")


def restart(snakemake: list[str]) -> NoReturn:
    """Become the Snakemake that goes on."""
    command = ["--rerun-incomplete", *snakemake]
    tell(f"snakemake {' '.join(command)}")
    sys.stdout.flush()
    os.execv(SNAKEMAKE[0], [*SNAKEMAKE, *command])


def tell(line: str) -> None:
    """Tell the user at once."""
    print(line, flush=True)


def main() -> None:
    """Look, ask, stop, clean up, unlock, restart."""
    arguments = parse_arguments()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C at the question needs no traceback
    folder, given = Path.cwd().resolve(), arguments.arguments
    if any(word.split("=")[0] in ("--directory", "-d") for word in given):
        raise UserError("--directory: call this in that folder, without --directory")
    has_cores = any(word.startswith(CORES[1::2]) or word.split("=")[0] in CORES for word in given)
    snakemake = [*([] if has_cores else ["--cores", "all"]), *given]
    for controller in controllers(folder):
        raise UserError(
            f"{folder}: {controller.name} runs here, process {controller.pid} on {os.uname().nodename}; wait for its "
            f"end or stop it (kill -INT {controller.pid}), and run again"
        )
    left = look(folder, arguments.prefix)
    show(left)
    if left.is_blind and not (arguments.yes or arguments.keep):
        raise UserError(
            f"{left.problem}: jobs may still run, and second copies of them would write the same files; run again when "
            "it answers, or add --yes (make recover YES=1) or --keep (KEEP=1) if you know that none does"
        )
    running, locked = bool(left.jobs or left.processes or left.others), any(LOCKS.glob("*.lock"))
    unseen = left.is_blind or (locked and arguments.keep)
    if arguments.keep:
        refuse_second_copies(left, folder)
    elif running or locked:
        if not agreed(arguments, running):
            tell(
                "nothing was stopped or changed. --keep (make recover KEEP=1) goes on beside what runs: a second copy "
                "of a training, a caching, a translation or a download waits for the first"
            )
            sys.exit(1)
        if running:
            stop(left, folder, arguments)
            running = bool(left.others)
    if running or unseen:
        tell("half-written files stay, because some may be of what still runs")
    else:
        remove_temporaries(left.claims)
    unlock(snakemake)
    if not arguments.no_restart:
        restart(snakemake)


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(process.pid, number)


if __name__ == "__main__":
    run(main)

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from cli import UserError, above_zero, run
from processes import Process, controllers, steps
from unfinished import in_words, living_owner, progress_folders, remove, silent_seconds, temporaries

BUILT = ("results", "resources")  # where steps write
SNAKEMAKE = (sys.executable, "-m", "snakemake")
CORES = ("--cores", "-c", "--jobs", "-j")
QUERY_SECONDS = 60.0  # SLURM may take so long to answer
FORMAT = "%A|%T|%M|%j|%Z|%k"  # id, state, time, name, folder, comment
KILLED_SECONDS = 30.0  # after which a killed process should be gone


class Job(NamedTuple):
    """A job of SLURM."""

    id: str
    state: str
    time: str
    name: str
    comment: str

    def __str__(self) -> str:
        return f"SLURM job {self.id}, {self.state.lower()}, {self.time}, {self.comment or self.name}"


@dataclass(frozen=True)
class Left:
    """What a controller has left behind in a folder.

    Attributes:
        jobs: of SLURM, that it submitted.
        others: the user's other jobs of SLURM that work in the folder; they are left alone.
        problem: why nothing is known of SLURM's jobs, or None.
        processes: steps that run on this machine outside of these jobs → what each does.
        claims: folders of unfinished work that a living process of elsewhere has → its ``owner.json``.
    """

    jobs: list[Job]
    others: list[Job]
    problem: str | None
    processes: dict[Process, str]
    claims: dict[Path, dict[str, Any]]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="stop what is left running without asking")
    parser.add_argument("--keep", action="store_true", help="let it run: a second copy of a long step waits for it")
    parser.add_argument("--no-restart", action="store_true", help="do not start Snakemake again")
    parser.add_argument("--prefix", default="ekd", help="of the jobs' names, see slurm/ (default: %(default)s)")
    seconds = {"type": above_zero("seconds", float, "a number"), "metavar": "SECONDS"}
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


def queue(folder: Path, prefix: str) -> tuple[list[Job], list[Job], str | None]:
    """This user's jobs of SLURM that work in a folder: the workflow's, others, and why these are not known."""
    command = ["squeue", "--me", "--noheader", f"--format={FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=QUERY_SECONDS)
    except FileNotFoundError:
        return [], [], "there is no squeue on this machine"
    except subprocess.TimeoutExpired:
        return [], [], f"squeue gave no answer for {QUERY_SECONDS:g} s"
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [], [], f"squeue failed: {reason}"
    own, others = [], []
    for line in answer.stdout.splitlines():
        number, state, elapsed, name, rest = [*map(str.strip, line.split("|", 4)), *[""] * 5][:5]
        place, _, comment = rest.rpartition("|")
        if place and Path(place).resolve() == folder:
            job = Job(number, state, elapsed, name, "" if comment == "(null)" else comment)
            (own if name.startswith(f"{prefix}_") else others).append(job)
    return own, others, None


def look(folder: Path, prefix: str) -> Left:
    """What is left running of the workflow in a folder; a job of SLURM is not listed again as a process or a claim."""
    jobs, others, problem = queue(folder, prefix)
    numbers = {job.id for job in (*jobs, *others)}
    running = {process: task for process, task in steps(folder).items() if process.job not in numbers}
    here = {process.pid for process in running}
    claims = {}
    for progress in (each for experiment in _experiments() for each in progress_folders(experiment)):
        owner = living_owner(progress)
        listed = owner is None or str(owner.get("job")) in numbers
        if not listed and not (owner.get("host") == os.uname().nodename and owner.get("pid") in here):
            claims[progress] = owner
    return Left(jobs, others, problem, running, claims)


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
            f"{progress}: claimed by {in_words(owner)}, last sign of life {quiet:.0f} s ago; it cannot be stopped from "
            "here, and the same job waits for it"
        )
    for job in left.others:
        tell(f"left alone with its steps, because its name is another: {job} ({job.name}); is it a controller?")


def agreed(arguments: argparse.Namespace) -> bool:
    """Whether the user wants to have stopped what was shown.

    Raises:
        UserError: there is nobody to ask.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(
            "nobody is there to be asked, and nothing was stopped: run this on a terminal, add --yes (make recover "
            "YES=1) to stop all of the above, or --keep (KEEP=1) to go on beside it"
        )
    print("Stop what is still running, and go on? Trainings save their progress. [y/N] ", end="", flush=True)
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
            _signal(process, signal.SIGKILL if late > arguments.kill_after else signal.SIGTERM if not late else None)
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
    running = bool(left.jobs or left.processes or left.others)
    if running and not arguments.keep:
        if not agreed(arguments):
            tell(
                "nothing was stopped or changed. --keep (make recover KEEP=1) goes on beside what runs: a second copy "
                "of a training, a caching or a translation waits for the first"
            )
            sys.exit(1)
        stop(left, folder, arguments)
        running = bool(left.others)
    if running:
        tell("half-written files stay, because some may be of what still runs")
    else:
        remove_temporaries(left.claims)
    unlock(snakemake)
    if not arguments.no_restart:
        restart(snakemake)


def _experiments() -> list[Path]:
    return sorted(path for path in Path(BUILT[0]).glob("*") if path.is_dir() and not path.is_symlink())


def _signal(process: Process, number: signal.Signals | None) -> None:
    if number is not None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(process.pid, number)


if __name__ == "__main__":
    run(main)

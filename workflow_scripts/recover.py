#!/usr/bin/env python3
"""Recover after Snakemake itself was killed: stop what still runs, remove Snakemake's lock, start it again.

Jobs of SLURM and steps on this machine may still run. Results and checkpoints stay. Call this in the folder of the
workflow.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil

from ekd_nmt.cluster.orphans import Orphans, find_orphans, queue, refuse_second_copies
from ekd_nmt.cluster.processes import Process, refuse_beside_controller, steps
from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError

LOCKS = Path(".snakemake/locks")
SNAKEMAKE = (sys.executable, "-m", "snakemake")
STOP_SECONDS = 60.0  # that a process has to save and end before it is killed
KILLED_SECONDS = 30.0  # after which a killed process should be gone
SCANCEL_SECONDS = 180.0  # that SLURM has to end jobs


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="stop what still runs without asking")
    parser.add_argument(
        "--keep", action="store_true", help="let steps that hold a lease run: second copies wait. Refused if others run"
    )
    parser.add_argument("--no-restart", action="store_true", help="do not start Snakemake again")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for snakemake, after --")
    return parser.parse_args(arguments)


def show(orphans: Orphans) -> None:
    """Print what still runs."""
    report("a controller on another machine cannot be seen from here; make sure that none works in this folder")
    if orphans.problem is not None:
        report(f"jobs of SLURM cannot be seen: {orphans.problem}")
    for line in orphans.running:
        report(f"still running: {line}")
    for job in orphans.others:
        report(f"left alone, because Snakemake did not submit it: {job} ({job.name}); is it a controller?")


def confirm(running: bool) -> bool:
    """Ask the user to stop what was shown, or if nothing was, to confirm that no controller runs on another machine.

    Raises:
        UserError: there is no terminal to ask on.
    """
    question = (
        "Stop what is still running, and continue? Trainings save their progress."
        if running
        else "Snakemake's lock is here. Is it certain that no Snakemake works in this folder on another machine?"
    )
    if not sys.stdin.isatty():
        raise UserError(
            f"there is no terminal to ask on, so nothing was changed: {question} Run this on a terminal, add --yes "
            "(make recover YES=1) to agree, or --keep (KEEP=1) to let it run"
        )
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def stop(orphans: Orphans, folder: Path) -> None:
    """Stop jobs and processes, and wait until they have ended.

    Args:
        orphans: what the user has agreed to stop. Processes of its jobs that outlive them are stopped as well.
        folder: of the workflow.

    Raises:
        UserError: something does not end, or other work has started meanwhile.
    """
    numbers = sorted(job.id for job in orphans.jobs)
    if numbers:
        done = subprocess.run(["scancel", *numbers], capture_output=True, text=True, check=False)
        problem = done.stderr.strip()
    end_processes(lambda: [each for each in steps(folder) if each in orphans.processes])
    if numbers:

        def queued() -> bool:
            nonlocal problem
            jobs, _, unknown = queue(folder)
            problem = unknown or problem
            return unknown is not None or any(job.id in numbers for job in jobs)

        if lasts(queued, SCANCEL_SECONDS):
            raise UserError(
                f"SLURM has not ended {', '.join(numbers)} {SCANCEL_SECONDS:g} s after scancel ({problem or 'no error'}"
                f"); see scontrol show job {numbers[0]}, and run again"
            )
        end_processes(lambda: [each for each in steps(folder) if each.job in numbers])
    for started in find_orphans(folder).running:
        raise UserError(f"something else has started here meanwhile ({started}): stop its controller")
    report("all of it has ended")


def end_processes(running: Callable[[], list[Process]]) -> None:
    """Send SIGTERM to processes, and SIGKILL to those that have not ended a minute later.

    Args:
        running: lists those of them that still run.

    Raises:
        UserError: a process runs after SIGKILL.
    """
    for process in running():
        if not process.is_rank:  # ranks are stopped by their leader; torchrun would kill them while they save
            send(process, signal.SIGTERM)
    if lasts(running, STOP_SECONDS):
        for process in running():
            send(process, signal.SIGKILL)
        if lasts(running, KILLED_SECONDS):
            raise UserError(f"process {running()[0].pid} was killed and does not end; find out what it waits for")


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.handle.send_signal(number)


def lasts(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition no longer holds; returns whether it still holds after some seconds."""
    deadline = time.monotonic() + seconds
    while condition():
        if time.monotonic() > deadline:
            return True
        time.sleep(0.5)
    return False


def unlock(snakemake: list[str]) -> None:
    """Remove Snakemake's lock of the folder.

    Raises:
        UserError: Snakemake refused.
    """
    answer = subprocess.run([*SNAKEMAKE, "--unlock", *snakemake], capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = " ".join(answer.stderr.strip().splitlines()[-3:])
        raise UserError(f"snakemake --unlock {' '.join(snakemake)}: {reason}; correct the arguments and run again")
    report("Snakemake's lock is removed")


def restart(snakemake: list[str]) -> NoReturn:
    """Replace this process by the Snakemake that continues."""
    command = ["--rerun-incomplete", *snakemake]
    report(f"snakemake {' '.join(command)}")
    sys.stdout.flush()
    os.execv(SNAKEMAKE[0], [*SNAKEMAKE, *command])


def report(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> None:
    """Look, ask, stop, clean up, unlock, restart."""
    arguments = parse_arguments()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C at the question needs no traceback
    folder, given = Path.cwd().resolve(), arguments.arguments
    if any(word.split("=")[0] in ("--directory", "-d") for word in given):
        raise UserError("--directory: call this in that folder, without --directory")
    snakemake = given if "--cores" in given else ["--cores", "all", *given]  # of two numbers, the last one counts
    refuse_beside_controller(folder)
    orphans = find_orphans(folder)
    show(orphans)
    if orphans.may_miss_jobs and not (arguments.yes or arguments.keep):
        raise UserError(
            f"{orphans.problem}: jobs may still run, and second copies of them would write the same files; run again "
            "when SLURM answers, or add --yes (make recover YES=1) or --keep (KEEP=1) if you know that none runs"
        )
    running = bool(orphans.running or orphans.others)
    if arguments.keep:
        refuse_second_copies(orphans, folder)
    elif running or any(LOCKS.glob("*.lock")):
        if not (arguments.yes or confirm(running)):
            report(
                "nothing was stopped or changed. --keep (make recover KEEP=1) continues beside what runs: a second "
                "copy of train, cache_teacher, translate or fetch waits for the first"
            )
            sys.exit(1)
        if orphans.running:
            stop(orphans, folder)
    unlock(snakemake)
    if not arguments.no_restart:
        restart(snakemake)


if __name__ == "__main__":
    run(main)

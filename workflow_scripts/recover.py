#!/usr/bin/env python3
"""Recover after Snakemake itself was killed: stop what still runs, remove Snakemake's lock, start it again.

Jobs of SLURM and steps on this machine may still run, and half-written files are left. Results and checkpoints stay.
Call this in the folder of the workflow.
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
from typing import NoReturn

import psutil

from ekd_nmt.cluster.orphans import BUILT, Orphans, find_orphans, refuse_second_copies
from ekd_nmt.cluster.processes import Process, controllers
from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.resume.cleanup import remove, temporaries

LOCKS = Path(".snakemake/locks")
SNAKEMAKE = (sys.executable, "-m", "snakemake")
CORES = ("--cores", "-c", "--jobs", "-j")
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
    if orphans.running:
        report("still running:")
    for line in orphans.running:
        report(f"  {line}")
    for work, owner in orphans.elsewhere:
        report(
            f"{work.path}: held by {owner}, last heartbeat {work.heartbeat_age() or 0:.0f} s ago; it cannot be stopped "
            "from here, and the same job waits for it"
        )
    for job in orphans.others:
        report(f"left alone, because Snakemake did not submit it: {job} ({job.name}); is it a controller?")


def confirm(arguments: argparse.Namespace, running: bool) -> bool:
    """Whether the user agrees to stop what was shown, or confirms that no controller runs on another machine.

    Args:
        arguments: of the command line.
        running: whether something was shown; if not, there is only Snakemake's lock.

    Raises:
        UserError: there is no terminal to ask on.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(
            "there is no terminal to ask on, so nothing was stopped: run this on a terminal, add --yes (make recover "
            "YES=1) to stop all of the above, or --keep (KEEP=1) to let it run"
            if running
            else "Snakemake's lock is here, and there is no terminal to ask on: make sure that no Snakemake works in "
            "this folder on another machine, and run this on a terminal or add --yes (make recover YES=1)"
        )
    question = (
        "Stop what is still running, and continue? Trainings save their progress."
        if running
        else "Snakemake's lock is here. Is it certain that no Snakemake works in this folder on another machine?"
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
    numbers, reason = {job.id for job in orphans.jobs}, ""
    if numbers:
        done = subprocess.run(["scancel", *sorted(numbers)], capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    started, pause = time.monotonic(), 0.2
    signalled: dict[Process, float] = {}
    while True:
        now = find_orphans(folder)
        waited = time.monotonic() - started
        jobs = orphans.jobs if numbers and now.problem is not None else [job for job in now.jobs if job.id in numbers]
        ours = [process for process in now.processes if process in orphans.processes or process.job in numbers]
        if not jobs and not ours:
            break
        for process in ours:
            late = waited - signalled.setdefault(process, waited)
            if late > STOP_SECONDS + KILLED_SECONDS:
                raise UserError(f"process {process.pid} does not end, though it was killed; find out what it waits for")
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if late > STOP_SECONDS:
                    process.handle.kill()
                elif not late and not process.is_rank:
                    # ranks are stopped by their leader; torchrun would kill them while they save
                    process.handle.terminate()
        if jobs and waited > SCANCEL_SECONDS:
            names = ", ".join(job.id for job in jobs)
            raise UserError(
                f"SLURM has not ended {names} {SCANCEL_SECONDS:g} s after scancel {f'({reason}) ' if reason else ''}"
                f"{f'({now.problem}) ' if now.problem else ''}; see scontrol show job {jobs[0].id}, and run again"
            )
        time.sleep(pause)
        pause = min(2 * pause, 3.0)
    if now.running:
        raise UserError(f"something else has started here meanwhile ({now.running[0]}): stop its controller")
    report("all of it has ended")


def remove_temporaries(orphans: Orphans) -> None:
    """Remove the half-written files of killed steps, except in runs where processes of other machines work."""
    excluded = {work.path.parent.parent for work, _ in orphans.elsewhere}
    for path in (path for place in BUILT for path in temporaries(Path(place), excluded)):
        remove(path)
        report(f"removed {path}, which was half-written")


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
    has_cores = any(word.startswith(CORES[1::2]) or word.split("=")[0] in CORES for word in given)
    snakemake = [*([] if has_cores else ["--cores", "all"]), *given]
    for controller in controllers(folder):
        raise UserError(
            f"{folder}: {controller.name} runs here, process {controller.pid} on {os.uname().nodename}; wait for its "
            f"end or stop it (kill -INT {controller.pid}), and run again"
        )
    orphans = find_orphans(folder)
    show(orphans)
    if orphans.may_miss_jobs and not (arguments.yes or arguments.keep):
        raise UserError(
            f"{orphans.problem}: jobs may still run, and second copies of them would write the same files; run again "
            "when SLURM answers, or add --yes (make recover YES=1) or --keep (KEEP=1) if you know that none runs"
        )
    running, locked = bool(orphans.running or orphans.others), any(LOCKS.glob("*.lock"))
    unseen = orphans.may_miss_jobs or (locked and arguments.keep)
    if arguments.keep:
        refuse_second_copies(orphans, folder)
    elif running or locked:
        if not confirm(arguments, running):
            report(
                "nothing was stopped or changed. --keep (make recover KEEP=1) continues beside what runs: a second "
                "copy of train, cache_teacher, translate or fetch waits for the first"
            )
            sys.exit(1)
        if running:
            stop(orphans, folder)
            running = bool(orphans.others)
    if running or unseen:
        report("half-written files stay, because some may belong to what still runs")
    else:
        remove_temporaries(orphans)
    unlock(snakemake)
    if not arguments.no_restart:
        restart(snakemake)


if __name__ == "__main__":
    run(main)

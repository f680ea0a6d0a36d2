#!/usr/bin/env python3
"""Fault injection: does a run that is killed at random moments end with the same results, to the bit?

    python benchmarks/faults.py --faults 20 --seed 1 --output results/faults.md

The experiment of ``--config`` runs once without faults, then with the profile in slurm/ on a one-node SLURM cluster
that is started for this (needs root, slurm-wlm, slurmdbd and MariaDB). There trainings, jobs, the node's daemon and
Snakemake itself are killed. If the workflow ends before all faults are injected, it runs again in another folder. All
models, hypotheses, scores, caches and tables must equal those of the uninterrupted run, and no fault may make a
training repeat more updates than lie between two checkpoints; otherwise the exit status is 1.

The seed determines kinds, waiting times and targets. What is running at a given moment depends on the speed of the
machine, so a fault without a target is postponed and later ones come first.

``--local`` needs no SLURM: the steps are processes of this machine, with the kinds of fault that apply to them.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fault_kinds import KINDS, LOCAL, Injector, draw
from fault_report import attempts_of, attribute, differences, digests, markdown
from fault_target import ROOT, Planned, Target

from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.common.logs import say
from project_copy import copy_project
from slurm_cluster import Cluster, missing

OVERLAY = "faults.yaml"
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
CPUS, GPUS, MEMORY_MB = 4, 3, 16000  # of the node, as SLURM sees it


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def number(flag: str, kind: type, default: float, text: str) -> None:
        parse = positive_number(flag, kind, "a number")
        parser.add_argument(flag, type=parse, default=default, metavar="N", help=f"{text} (default: %(default)s)")

    number("--faults", int, 100, "number of faults")
    parser.add_argument(
        "--seed", type=int, default=1, help="of kinds, waiting times and targets (default: %(default)s)"
    )
    number("--mean", float, 12.0, "mean seconds between two faults")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"of {', '.join(KINDS)}")
    number("--interval", int, 10, "updates between two checkpoints")
    parser.add_argument("--config", type=Path, default=ROOT / "benchmarks" / OVERLAY, metavar="FILE", help="experiment")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="a project in which the experiment has run without faults"
    )
    parser.add_argument("--local", action="store_true", help="without SLURM")
    number("--cores", int, 2, "for Snakemake without SLURM, and for the run without faults")
    number("--minutes", float, 60.0, "time limit of the runs with faults")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="of the report, in Markdown (default: standard output)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="of the data of the report")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="run there and keep everything; the path must be short"
    )
    return parser.parse_args(arguments)


def check(args: argparse.Namespace) -> None:
    """Reject what cannot run here; choose the kinds if none is named.

    Raises:
        UserError: with the reason.
    """
    if not args.config.is_file():
        raise UserError(f"--config {args.config}: no such file; name a configuration")
    if args.reference and not (args.reference / "results").is_dir():
        raise UserError(f"--reference {args.reference}: has no results; name a project in which the experiment has run")
    if not args.local and (reason := missing(accounting=True)):
        raise UserError(f"{reason}; --local needs no SLURM")
    args.kinds = args.kinds or list(LOCAL if args.local else KINDS)
    if args.local and (others := [kind for kind in args.kinds if kind not in LOCAL]):
        raise UserError(f"--kinds {others[0]}: needs SLURM; remove --local, or choose from {', '.join(LOCAL)}")
    if args.folder and args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise UserError(f"--folder {args.folder}: is not empty; name a new folder")


def run_uninterrupted(folder: Path, cores: int, arguments: list[str]) -> None:
    """Run the workflow in a copy of the project.

    Raises:
        UserError: it fails.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments]
    with contextlib.closing(Target(folder, [], folder)) as target:  # so that an interrupt leaves no step running
        done = subprocess.run(command, cwd=folder, env=target.environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the uninterrupted run failed: {' '.join(done.stderr.strip().splitlines()[-5:])}")


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """The folder to run in: the given one, or a temporary one that is kept after a failure."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="ekd-"))
    try:
        yield made
    except BaseException:
        say(f"kept for inspection: {made}")
        raise
    shutil.rmtree(made)


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    check(args)
    # run all `finally` blocks; a shell starts background processes with SIGINT ignored, and their children inherit that
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    plan = draw(args.seed, args.faults, args.kinds, args.mean)
    with workplace(args.folder) as base:
        result = compare(args, plan, base)
        text = markdown(result)
        if args.json:
            write_json(args.json, result)
        if args.output:
            with atomic_write(args.output) as handle:
                handle.write(text)
        else:
            print(text)
        if problems := result["problems"]:
            raise SystemExit(f"error: {len(problems)} problems, the first: {problems[0]}; kept for inspection: {base}")


def compare(args: argparse.Namespace, plan: list[Planned], base: Path) -> dict[str, Any]:
    """Run with and without faults and compare; returns the data of the report."""
    copies = base / "copy"  # so that later edits of the sources do not matter
    copy_project(copies)
    shutil.copy2(args.config, copies / OVERLAY)
    arguments = ["--configfile", OVERLAY]
    began = time.monotonic()
    reference = args.reference
    if reference is None:
        say("run without faults")
        reference = base / "uninterrupted"
        shutil.copytree(copies, reference)
        run_uninterrupted(reference, args.cores, arguments)
    seconds, expected = time.monotonic() - began, digests(reference)
    say(f"{len(expected)} files to compare, made in {seconds:.0f} s")
    arguments += [
        "--config",
        f"checkpoints={{every_updates: {args.interval}}}",
        "--retries",
        "100",
        "--rerun-incomplete",
    ]
    with contextlib.ExitStack() as stack:
        cluster = None
        if args.local:
            arguments += ["--cores", str(args.cores)]
        else:
            size = {"gpus": GPUS, "cpus": CPUS, "memory_mb": MEMORY_MB}
            cluster = stack.enter_context(Cluster(base / "slurm", accounting=True, **size))
            arguments += ["--cores", "all", *SLURM]
        began = time.monotonic()
        injector = Injector(plan, began + 60 * args.minutes)
        runs, problems, attempts = 0, [], []
        while not problems and (injector.remaining or not runs):
            runs += 1
            folder, logs = base / f"run-{runs}", base / f"logs-{runs}"
            shutil.copytree(copies, folder)
            logs.mkdir()
            target = Target(folder, arguments, logs, cluster)
            try:
                with contextlib.closing(target):
                    injector.run(target)
                problems += [f"run {runs}: {line}" for line in differences(expected, digests(folder))]
            except (UserError, RuntimeError, KeyboardInterrupt) as error:
                reason = str(error) or "interrupted"
                problems.append(f"run {runs}, stopped after {len(injector.done)} faults: {reason}")
            attempts += attempts_of(folder, runs)
    attribute(attempts, injector.done)
    problems += [
        f"run {each['run']}: {each['folder']} repeated {each['repeated']} updates after {each['cause']}"
        for each in attempts
        if each["repeated"] > args.interval
    ]
    return {
        "command": shlex.join(["python", "benchmarks/faults.py", *sys.argv[1:]]),
        "seed": args.seed,
        "mean": args.mean,
        "kinds": args.kinds,
        "local": args.local,
        "interval": args.interval,
        "uninterrupted_seconds": round(seconds, 1),
        "seconds_with_faults": round(time.monotonic() - began, 1),
        "runs": runs,
        "compared": expected,
        "faults": [asdict(fault) for fault in injector.done],
        "started": injector.started,
        "attempts": attempts,
        "unplanned_exits": injector.unplanned_exits,
        "problems": problems,
    }


if __name__ == "__main__":
    run(main)
